"""A set of kind clusters: a hub that EMCO runs in, and edges that it deploys to.

Each set has a folder below the state folder, with a kubeconfig of its own for every cluster; the user's own kubeconfig
is neither read nor written. kind labels its containers with the cluster's name, so they are found again, and removed,
whatever became of the harness that made them.
"""

import asyncio
import contextlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from filelock import FileLock, Timeout

from harness.faults.journal import MARKER, Journal, UndoFails
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.commands import CommandFails, command, need
from harness.platforms.kind.turns import made_at_once, turn
from harness.platforms.settings import WORKERS_SET, KindSettings
from harness.platforms.together import all_of

_CREATE_LIMIT = 300.0
_DELETE_LIMIT = 120.0
_ASK_LIMIT = 30.0
_EXPORT_LIMIT = 120.0
_SURE_LIMIT = 30.0
_AGAIN = 0.5
_WAIT = "180s"
_TRIES = 3
_LABEL = "io.x-k8s.kind.cluster"
_SET_FILE = "set.json"
_TURNS = ".turns"  # no name of a set
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
# What a cluster takes: measured 450 MiB when it idles; the hub's EMCO, stores and relay come on top.
_HUB_MIB, _EDGE_MIB = 1200, 600


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster. name: as kind knows it;  kubeconfig: a file with this cluster alone."""

    name: str
    kubeconfig: Path

    @property
    def context(self) -> str:
        """Name of the kubeconfig's context."""
        return f"kind-{self.name}"

    @property
    def node(self) -> str:
        """The container that is its node, and its name on kind's network."""
        return f"{self.name}-control-plane"


@dataclass(frozen=True, slots=True)
class ClusterSet:
    """A hub with its edges, and the folder that belongs to them."""

    name: str
    folder: Path
    edge_count: int

    @property
    def hub(self) -> Cluster:
        return self._cluster("hub")

    @property
    def edges(self) -> tuple[Cluster, ...]:
        return tuple(self._cluster(f"edge-{number + 1}") for number in range(self.edge_count))

    @property
    def all(self) -> tuple[Cluster, ...]:
        """The hub first."""
        return (self.hub, *self.edges)

    def _cluster(self, part: str) -> Cluster:
        return Cluster(f"{self.name}-{part}", self.folder / f"{part}.kubeconfig")


def check_kind(settings: KindSettings, *, available_mib: int, workers: int = 1) -> None:
    """Whether kind clusters can be made here, as far as it can be told beforehand. Raises UsageError; makes nothing.

    workers: each has a set of its own
    """
    names = [settings.of_worker(number).name for number in range(workers)] if workers > 1 else [settings.name]
    if not all(map(_NAME.fullmatch, names)):
        longest = f", the -w{workers - 1} of a worker included" if workers > 1 else ""
        raise UsageError(
            f"--cluster {settings.name}: small letters, digits and dashes are expected, at most 40{longest}"
        )
    need("docker", "the platform kind")
    need("kind", "the platform kind")
    if settings.reuse:
        return  # what was left has its memory already
    needed = workers * (_HUB_MIB + settings.edges * _EDGE_MIB)
    if available_mib < needed:
        each = f"a hub and {settings.edges} edges"
        each = f"{workers} workers, each with {each}," if workers > 1 else each
        raise UsageError(f"too little memory: {available_mib} MiB are available, {each} need {needed} MiB")


def available_mib() -> int:
    """Memory that new programs can have, in MiB."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    raise HarnessTrouble("/proc/meminfo does not say how much memory is available")


async def check_docker(settings: KindSettings) -> None:
    """Whether the container daemon answers and has the images. Raises UsageError."""
    try:
        await command("docker", "version", "--format", "{{.Server.Version}}", limit=_ASK_LIMIT)
    except CommandFails as error:
        raise UsageError(f"the container daemon does not answer: {error}") from error
    for option, image in (
        ("--node-image", settings.node_image),
        ("EMCO_CHAOS_PYTHON_IMAGE", settings.python_image),
    ):
        if not image:
            continue  # kind's own default, which kind pulls
        try:
            await command("docker", "image", "inspect", "--format", "{{.Id}}", image, limit=_ASK_LIMIT)
        except CommandFails as error:
            raise UsageError(f"{option} {image}: no such image here; pull or load it first") from error


class Sets:
    """The sets of one user, below the state folder. A set is locked while somebody makes, uses or removes it."""

    def __init__(self, state_folder: Path) -> None:
        self._folder = state_folder / "kind"

    @property
    def turns(self) -> Path:
        """Folder of the locks by which runs side by side make one thing after the other."""
        return self._folder / _TURNS

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Have a set for oneself. Raises UsageError when somebody else has it."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(self._folder / f"{name}.lock", thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                f"the clusters {name} are in use by another run; choose others by --cluster NAME"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def names(self) -> tuple[str, ...]:
        """All sets that are kept."""
        return tuple(sorted(path.parent.name for path in self._folder.glob(f"*/{_SET_FILE}")))

    def called(self, name: str) -> tuple[str, ...]:
        """Those that are kept under a name: the set of this very name, and those of the workers of such runs."""
        return tuple(one for one in self.names() if one == name or WORKERS_SET.fullmatch(one.removeprefix(name)))

    def get(self, name: str) -> ClusterSet | None:
        """A set that was made and kept; None when there is none of this name."""
        path = self._folder / name / _SET_FILE
        if not path.is_file():
            return None
        return ClusterSet(name, path.parent, int(json.loads(path.read_text(encoding="utf-8"))["edges"]))

    async def reuse(self, settings: KindSettings) -> ClusterSet:
        """The kept set, when it runs and has the edges that are needed. Raises UsageError."""
        found = self.get(settings.name)
        if found is None:
            raise UsageError(f"--reuse: there are no clusters {settings.name}; make them by {_made_by(settings.name)}")
        if found.edge_count < settings.edges:
            raise UsageError(f"--reuse: {settings.name} has {found.edge_count} edges, {settings.edges} are needed")
        running = await _nodes(running_only=True)
        if down := [cluster.name for cluster in found.all if cluster.name not in running.values()]:
            raise UsageError(
                f"--reuse: the cluster {down[0]} does not run (any more); remove the set by `emco-chaos down`"
            )
        return found

    async def create(
        self, settings: KindSettings, journal: Journal, *, config_folder: Path
    ) -> tuple[ClusterSet, tuple[int, ...]]:
        """Make a set, all clusters at once; and the numbers of its undos, which are journaled before.

        Raises UsageError when its name is taken.
        """
        wanted = ClusterSet(settings.name, self._folder / settings.name, settings.edges)
        taken = set((await _nodes(running_only=False)).values())
        if clash := [cluster.name for cluster in wanted.all if cluster.name in taken]:
            raise UsageError(
                f"there is a cluster {clash[0]} already; use it by --reuse, remove it by `emco-chaos down`, "
                "or choose another name by --cluster"
            )
        undos = [journal.record(UNDO_SET, path=str(wanted.folder))]
        undos += [journal.record(UNDO, cluster=one.name, set=str(wanted.folder)) for one in wanted.all]
        wanted.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (wanted.folder / MARKER).touch()
        (wanted.folder / _SET_FILE).unlink(missing_ok=True)  # of one that was removed by hand
        try:
            await all_of(self._in_turn(_create(cluster, settings, config_folder)) for cluster in wanted.all)
            containers = await _containers(wanted)
        except BaseException as error:  # whoever interrupts the longest wait of all leaves nothing either
            await self.take_back(wanted, journal, tuple(undos), error)
            raise
        # from now on it is known which containers are meant, whoever may have the names later
        known = [
            journal.record(UNDO, cluster=one.name, set=str(wanted.folder), containers=" ".join(containers[one.name]))
            for one in wanted.all
        ]
        for number in undos[1:]:
            journal.done(number)
        return wanted, (undos[0], *known)

    async def _in_turn(self, making: Coroutine[Any, Any, None]) -> None:
        """Make a cluster when it is its turn: those of other sets, of other workers as well, are made beside it."""
        try:
            async with turn(self.turns, "clusters", at_once=made_at_once()):
                await making
        finally:
            making.close()  # of no effect where it had its turn

    def keep(self, made: ClusterSet, journal: Journal, undos: tuple[int, ...]) -> None:
        """Let a set be found again, and outlive the run that made it."""
        path = made.folder / _SET_FILE
        path.write_text(json.dumps({"edges": made.edge_count}), encoding="utf-8")
        for number in undos:
            journal.done(number)

    async def take_back(self, made: ClusterSet, journal: Journal, undos: tuple[int, ...], why: BaseException) -> None:
        """Remove what something went wrong with. Where that fails too, HarnessTrouble says both."""
        try:
            await to_the_end(self.delete(made, journal, undos))
        except HarnessTrouble as error:
            left = f"the clusters {made.name} could not be removed ({error}); `emco-chaos rollback` does it"
            why.add_note(left)
            if isinstance(why, Exception):
                raise HarnessTrouble(f"{why}; besides, {left}") from why

    async def delete(self, made: ClusterSet, journal: Journal | None = None, undos: tuple[int, ...] = ()) -> None:
        """Remove the clusters with their volumes and kubeconfigs; kind's network stays, as kind has it.

        Raises HarnessTrouble when one is there still: docker may be at work for a client that was killed.
        """
        left, tries = made.all, _TRIES
        while left and tries:
            tries -= 1
            await all_of(_delete(one) for one in left)
            there = set((await _nodes(running_only=False)).values())
            left = tuple(one for one in left if one.name in there)
        if left:
            raise HarnessTrouble(f"the cluster {left[0].name} is there still, although it was removed {_TRIES} times")
        if made.folder.exists():
            shutil.rmtree(made.folder)
        if journal is not None:
            for number in undos:
                journal.done(number)


def _made_by(name: str) -> str:
    """The command that makes a set, for whoever misses it."""
    worker = WORKERS_SET.search(name)
    return f"`emco-chaos up --workers {int(worker[1]) + 1}`" if worker else "`emco-chaos up`"


async def is_running(cluster: Cluster) -> bool:
    """Whether its node is a running container."""
    return cluster.name in (await _nodes(running_only=True)).values()


async def export_logs(cluster: Cluster, folder: Path) -> None:
    """What kind gathers of a cluster's nodes: logs of kubelet, the runtime, all containers. Raises CommandFails."""
    await command("kind", "export", "logs", str(folder), "--name", cluster.name, limit=_EXPORT_LIMIT)


async def versions() -> Mapping[str, str]:
    """Of what clusters are made with. Raises CommandFails."""
    docker = await command("docker", "version", "--format", "{{.Server.Version}}", limit=_ASK_LIMIT)
    return {"docker": docker.strip(), "kind": (await command("kind", "version", limit=_ASK_LIMIT)).strip()}


async def _create(cluster: Cluster, settings: KindSettings, config_folder: Path) -> None:
    kind_of = "hub" if cluster.name.endswith("-hub") else "edge"
    image = ("--image", settings.node_image) if settings.node_image else ()
    await command(
        "kind", "create", "cluster", "--name", cluster.name, "--kubeconfig", str(cluster.kubeconfig),
        "--config", str(config_folder / f"{kind_of}.yaml"), "--wait", _WAIT, *image,
        limit=_CREATE_LIMIT,
    )  # fmt: skip


async def _delete(cluster: Cluster) -> None:
    await command(
        "kind", "delete", "cluster", "--name", cluster.name, "--kubeconfig", str(cluster.kubeconfig),
        limit=_DELETE_LIMIT,
    )  # fmt: skip


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Do something to its end, also where whoever waits for it is cancelled meanwhile."""
    task, interrupted = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            interrupted = True
    task.result()
    if interrupted:
        raise asyncio.CancelledError


async def _containers(made: ClusterSet) -> Mapping[str, list[str]]:
    """Ids of each cluster's containers."""
    return {one.name: (await command(*_listing(one.name), limit=_ASK_LIMIT)).split() for one in made.all}


def _listing(cluster: str) -> tuple[str, ...]:
    """The command that prints the ids of a cluster's containers."""
    return "docker", "ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={_LABEL}={cluster}"


async def _nodes(*, running_only: bool) -> Mapping[str, str]:
    """Containers of kind's clusters, with the name of their cluster."""
    everything = () if running_only else ("--all",)
    form = '{{.Names}}\t{{.Label "' + _LABEL + '"}}'
    listed = await command(
        "docker", "ps", *everything, "--filter", f"label={_LABEL}", "--format", form, limit=_ASK_LIMIT
    )
    return dict(line.split("\t") for line in listed.splitlines() if line)


def _remove_cluster(arguments: Mapping[str, str]) -> str:
    """Remove a cluster's containers, with their volumes; for `emco-chaos rollback`.

    Those that the journal names; where it was written before there were any, all that have the cluster's name. A set
    that is kept was made by somebody else since: what is in the journal never was.
    """
    name, meant = arguments["cluster"], arguments.get("containers", "").split()
    with _held(Path(arguments["set"])) as kept:
        if kept:
            return f"cluster {name} left: it was made anew since, and is kept"
        if not (left := _those_of(name, meant)):
            return f"cluster {name} was gone already"
        deadline = time.monotonic() + _SURE_LIMIT
        while left:  # docker may be starting one for a client that was killed: it says that it removed it, and has it
            _docker("docker", "rm", "--force", "--volumes", *left, limit=_DELETE_LIMIT)
            if (left := _those_of(name, meant)) and time.monotonic() > deadline:
                raise UndoFails(f"the cluster {name} is there still, whenever it is removed")
            time.sleep(_AGAIN if left else 0)  # docker does not tell when it has done what it does; bounded
    return f"cluster {name} removed"


def _those_of(cluster: str, meant: Sequence[str]) -> list[str]:
    """Ids of a cluster's containers that are there. meant: of these alone, all where none is named."""
    found = _docker(*_listing(cluster), limit=_ASK_LIMIT).split()
    return [one for one in found if one in meant or not meant]


def _remove_set(arguments: Mapping[str, str]) -> str:
    """Remove a set's folder, unless the set in it is kept; for `emco-chaos rollback`."""
    path = Path(arguments["path"])
    with _held(path) as kept:
        if kept:
            return f"folder {path} left: its clusters were made anew since, and are kept"
        if not path.exists():
            return f"folder {path} was gone already"
        if not (path / MARKER).exists():
            return f"folder {path} left: it is not the harness's"
        shutil.rmtree(path)
    return f"folder {path} removed"


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Have a set for oneself, and whether it is kept. Raises UndoFails when somebody else has it."""
    sets = Sets(folder.parents[1])
    try:
        with sets.locked(folder.name):
            yield sets.get(folder.name) is not None
    except UsageError as error:
        raise UndoFails(str(error)) from error


def _docker(*arguments: str, limit: float) -> str:
    """Raises UndoFails with what docker said, OSError and SubprocessError."""
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=limit, check=False)
    if ended.returncode != 0:
        raise UndoFails(f"`{' '.join(arguments)}` ended with exit code {ended.returncode}: {ended.stderr.strip()}")
    return ended.stdout


UNDO, UNDO_SET = "kind-cluster", "kind-set"
KIND_UNDOERS: Mapping[str, Callable[[Mapping[str, str]], str]] = MappingProxyType(
    {UNDO: _remove_cluster, UNDO_SET: _remove_set}
)
"""For journals that hold kind clusters: what plays their undo."""
