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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from filelock import FileLock, Timeout

from harness.faults.journal import MARKER, Journal
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.commands import CommandFails, command, need
from harness.platforms.settings import KindSettings

_CREATE_LIMIT = 300.0
_DELETE_LIMIT = 120.0
_ASK_LIMIT = 30.0
_EXPORT_LIMIT = 120.0
_WAIT = "180s"
_LABEL = "io.x-k8s.kind.cluster"
_SET_FILE = "set.json"
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


def check_kind(settings: KindSettings, *, available_mib: int) -> None:
    """Whether kind clusters can be made here, as far as it can be told beforehand. Raises UsageError; makes nothing."""
    if not _NAME.fullmatch(settings.name):
        raise UsageError(f"--cluster {settings.name}: small letters, digits and dashes are expected, at most 40")
    need("docker", "the platform kind")
    need("kind", "the platform kind")
    needed = 0 if settings.reuse else _HUB_MIB + settings.edges * _EDGE_MIB  # what was left has its memory already
    if available_mib < needed:
        raise UsageError(
            f"too little memory: {available_mib} MiB are available, a hub and {settings.edges} edges need {needed} MiB"
        )


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
            raise UsageError(f"--reuse: there are no clusters {settings.name}; make them by `emco-chaos up`")
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
        undos = [journal.record("folder", path=str(wanted.folder))]
        undos += [journal.record(UNDO, cluster=cluster.name) for cluster in wanted.all]
        wanted.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (wanted.folder / MARKER).touch()
        made = await asyncio.gather(
            *(_create(cluster, settings, config_folder) for cluster in wanted.all), return_exceptions=True
        )
        if failed := [one for one in made if isinstance(one, BaseException)]:
            await self.delete(wanted, journal, tuple(undos))
            raise failed[0]
        return wanted, tuple(undos)

    def keep(self, made: ClusterSet, journal: Journal, undos: tuple[int, ...]) -> None:
        """Let a set be found again, and outlive the run that made it."""
        path = made.folder / _SET_FILE
        path.write_text(json.dumps({"edges": made.edge_count}), encoding="utf-8")
        for number in undos:
            journal.done(number)

    async def delete(self, made: ClusterSet, journal: Journal | None = None, undos: tuple[int, ...] = ()) -> None:
        """Remove the clusters with their volumes and kubeconfigs; kind's network stays, as kind has it."""
        await asyncio.gather(
            *(
                command(
                    "kind", "delete", "cluster", "--name", one.name, "--kubeconfig", str(one.kubeconfig),
                    limit=_DELETE_LIMIT,
                )
                for one in made.all
            )
        )  # fmt: skip
        if made.folder.exists():
            shutil.rmtree(made.folder)
        if journal is not None:
            for number in undos:
                journal.done(number)


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


async def _nodes(*, running_only: bool) -> Mapping[str, str]:
    """Containers of kind's clusters, with the name of their cluster."""
    everything = () if running_only else ("--all",)
    form = '{{.Names}}\t{{.Label "' + _LABEL + '"}}'
    listed = await command(
        "docker", "ps", *everything, "--filter", f"label={_LABEL}", "--format", form, limit=_ASK_LIMIT
    )
    return dict(line.split("\t") for line in listed.splitlines() if line)


def _remove_cluster(arguments: Mapping[str, str]) -> str:
    """Remove all containers of a cluster, with their volumes; for `emco-chaos rollback`."""
    name = arguments["cluster"]
    asked = ["docker", "ps", "--all", "--quiet", "--filter", f"label={_LABEL}={name}"]
    listed = subprocess.run(asked, capture_output=True, text=True, timeout=_ASK_LIMIT, check=True)
    containers = listed.stdout.split()
    if not containers:
        return f"cluster {name} was gone already"
    removal = ["docker", "rm", "--force", "--volumes", *containers]
    subprocess.run(removal, capture_output=True, timeout=_DELETE_LIMIT, check=True)
    return f"cluster {name} removed"


UNDO = "kind-cluster"
KIND_UNDOERS: Mapping[str, Callable[[Mapping[str, str]], str]] = MappingProxyType({UNDO: _remove_cluster})
"""For journals that hold kind clusters: what plays their undo."""
