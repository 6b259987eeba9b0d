"""A cluster as small as the lab can see one: an API with pods of two services, their node, and a relay before stores.

The gates are those of the real relay; pods connect as soon as their container runs, as EMCO's services do.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from harness.emco.endpoints import Endpoints
from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.client import ApiClient
from harness.platforms.kind.environment import KIND_LIMITS
from harness.platforms.kind.machine import Machine
from harness.platforms.kind.node import Exit
from harness.platforms.kubernetes.install import why_not_ready
from harness.platforms.kubernetes.lab import ClusterParts, KubernetesLab
from harness.platforms.kubernetes.pods import Pods
from harness.platforms.kubernetes.wiring import Wiring
from harness.platforms.settings import Settings
from harness.wire.conditions import Condition, Healthy
from harness.wire.instances import Instances
from harness.wire.links import Arrival, Link

Json = dict[str, Any]
SERVICES = ("clm", "dcm")
PATIENCE = 0.3  # of a start, in place of a minute and a half


class SmallApi:
    """Pods, one a service at work and one that waits, as a Deployment keeps them."""

    def __init__(self, begun: Callable[[Json], None]) -> None:
        self.pods: dict[str, Json] = {}
        self.events: list[Json] = []
        self.deleted: list[str] = []
        self.refuses = ""
        self.silent = False  # whether the watch tells of nothing
        self.deleting: Callable[[], None] = lambda: None  # what happens while a pod is deleted
        self._told: asyncio.Queue[Json | None] = asyncio.Queue()
        self.numbers = itertools.count(1)
        self._begun = begun

    async def ask(self, method: str, path: str, *_: object, **more: Any) -> Json:
        if self.refuses and method == self.refuses:
            raise HarnessTrouble(f"no answer to {method}")
        if path.endswith("/events"):
            return {"items": self.events}
        if method == "DELETE":
            self.deleting()
            was = self.pods.get(path.rpartition("/")[2])
            self.remove(path.rpartition("/")[2])
            return {"kind": "Pod", **was} if was else {"kind": "Status", "status": "Failure", "code": 404}
        wanted = str(more.get("query", "")).rpartition("%3D")[2]
        items = [pod for pod in self.pods.values() if wanted in ("", pod["metadata"]["labels"]["app"])]
        return {"items": items, "metadata": {"resourceVersion": "1"}}

    async def watch(self, _: str, *, query: str, since: str) -> AsyncIterator[Json]:
        while event := await self._told.get():
            yield event
        raise HarnessTrouble("the watch broke")

    def break_watch(self) -> None:
        self._told.put_nowait(None)

    def make(self, app: str, status: Json | None = None) -> Json:
        """A new pod; its container runs unless a status says something else."""
        number = next(self.numbers)
        name = f"{app}-{number}"
        metadata = {"name": name, "namespace": "emco", "uid": f"uid-{name}", "labels": {"app": app}}
        metadata["creationTimestamp"] = f"2026-01-01T00:00:{number:02}Z"
        pod = {"metadata": metadata, "status": running(number) if status is None else status}
        self.pods[name] = pod
        self._tell("ADDED", pod)
        self._begun(pod)
        return pod

    def change(self, pod: Json, status: Json) -> None:
        pod["status"] = status
        self._tell("MODIFIED", pod)

    def remove(self, name: str) -> None:
        pod = self.pods.pop(name, None)
        if pod is not None:
            self.deleted.append(name)
            self._tell("DELETED", pod)
            self.make(pod["metadata"]["labels"]["app"], self.next_status)

    next_status: Json | None = None

    def _tell(self, kind: str, pod: Json) -> None:
        if not self.silent:
            self._told.put_nowait({"type": kind, "object": {**pod}})


def running(number: int, container: str = "", before: str = "") -> Json:
    """A pod's state whose container runs. before: the container that ran in it before, and ended."""
    state: Json = {"containerID": f"containerd://{container or f'c{number}'}", "state": {"running": {}}}
    if before:
        state |= {
            "lastState": {"terminated": {"reason": "Error", "exitCode": 1, "containerID": f"containerd://{before}"}}
        }
    return {"phase": "Running", "podIP": f"10.0.0.{number}", "containerStatuses": [state]}


def exited(number: int) -> Json:
    """A pod's state whose container ended, and waits to be started again."""
    was = {"reason": "Error", "exitCode": 1, "containerID": f"containerd://c{number}"}
    state = {"containerID": f"containerd://c{number}", "state": {"terminated": was}}
    return {"phase": "Running", "podIP": f"10.0.0.{number}", "containerStatuses": [state]}


def waiting(reason: str, message: str = "") -> Json:
    """A pod's state whose container never ran."""
    return {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": reason, "message": message}}}]}


class SmallRelay:
    """Lets instances in as the real one does.

    deaf: addresses at which nobody answers on its ports;  lost: a service about which it cannot be asked
    """

    def __init__(self) -> None:
        self.instances: dict[str, str] = dict.fromkeys(SERVICES, "")
        self.deaf: set[str] = set()
        self.lost = ""
        self.let_in: list[str] = []
        self.banned: list[str] = []
        self.is_lost = False
        self.link, self.broken = Link("dcm", "mongo", "mongo", ("", 0), ("", 0)), cast("Condition", Healthy())
        self._gates = Instances(SERVICES, clock=lambda: 0.0, changed=self._changed)

    def come(self, source: str, address: str, is_there: Callable[[], bool]) -> None:
        arrival = Arrival((address, 1), lambda: self.let_in.append(address), lambda: None, is_there)
        self._gates.gate(source)(arrival)

    def lose(self) -> None:
        """Another relay comes in its place; whoever was let in has to come again."""
        self.is_lost = True
        self._gates = Instances(SERVICES, clock=lambda: 0.0, changed=self._changed)

    async def reconnect(self, *, limit: float) -> None:
        assert limit > PATIENCE
        self.is_lost = False
        self.instances.update(dict.fromkeys(SERVICES, ""))

    def links(self) -> tuple[Link, ...]:
        return (self.link,)

    def condition(self, _: Link) -> Condition:
        return self.broken

    def heal(self, _: Link) -> None:
        self.broken = Healthy()

    async def count_unaccepted(self, _: Sequence[Link], *, counted: bool) -> None:
        assert not counted

    def _changed(self, source: str) -> None:
        self.instances[source] = self._gates.address(source)

    def want(self, source: str) -> None:
        assert not self.is_lost
        self._gates.want(source)

    def beside(self, source: str) -> None:
        self._gates.beside(source)

    def retire_older(self, source: str) -> None:
        self._gates.retire_older(source)

    def drop(self, source: str) -> None:
        self.instances[source] = ""
        self._gates.retire(source)

    def ban(self, address: str) -> None:
        self.banned.append(address)
        self._gates.ban(address)

    async def synced(self) -> None:
        await asyncio.sleep(0)

    async def answers(self, source: str, ports: Sequence[int], *, limit: float) -> str:
        assert ports
        assert limit > PATIENCE
        if source == self.lost:
            raise HarnessTrouble(f"nobody can tell whether {source} answers")
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while asyncio.get_running_loop().time() < deadline:
            address = self._gates.address(source)
            if address and address not in self.deaf:
                return ""
            await asyncio.sleep(0.005)
        return (
            f"{source} does not answer on its ports" if self._gates.address(source) else f"no instance of {source} came"
        )


class SmallNode:
    """Kills, unless something is wrong with it."""

    def __init__(self) -> None:
        self.trouble = ""
        self.missing = ""
        self.killed: list[str] = []
        self.asked: list[str] = []

    async def kill(self, container: str) -> Exit:
        if self.trouble:
            raise HarnessTrouble(self.trouble)
        self.killed.append(container)
        return Exit(container, 1, 137)

    async def begin(self) -> None:
        self.asked.append("begin")

    async def close(self) -> None:
        self.asked.append("close")

    async def remove(self, folder: str) -> None:
        raise AssertionError(f"nobody was to remove {folder}")


class SmallStreams:
    """Logs: every pod says its name, and that it knows the schema."""

    def __init__(self) -> None:
        self.followed: list[str] = []
        self.of_schema = "successfully processed the referential schema"

    async def log(self, pod: str) -> bytes:
        return f"{self.of_schema}\nlog of {pod.rpartition('/')[2]}".encode()

    def follow_log(self, pod: str, _: Path) -> None:
        self.followed.append(pod.rpartition("/")[2])


class SmallStore:
    """An empty one."""

    claimed = 0

    async def snapshot(self) -> Json:
        return {}

    async def restore(self, _: object) -> None: ...

    async def claim(self) -> None:
        self.claimed += 1


class SmallCluster:
    """A lab over all of it. Use open_cluster()."""

    def __init__(self, folder: Path) -> None:
        self.relay = SmallRelay()
        self.node = SmallNode()
        self.streams = SmallStreams()
        self.store = SmallStore()
        self.api = SmallApi(self._begun)
        self.pods = Pods(cast("ApiClient", self.api), "emco")
        workload = folder / "workload.yaml"
        workload.touch()
        self._settings, self._logs = Settings(workload), folder
        self.labs: list[KubernetesLab] = []

    def restart(self) -> None:
        """All containers end, and others run in the same pods, at other addresses; the relay is another one, too."""
        self.relay.lose()
        for pod in self.api.pods.values():
            was = pod["status"]["containerStatuses"][0]["containerID"].rpartition("//")[2]
            self.api.change(pod, running(next(self.api.numbers), before=was))
            self._begun(pod)

    def lab(self) -> KubernetesLab:
        lab = KubernetesLab(self._settings, KIND_LIMITS, self.parts({}))
        self.labs.append(lab)
        return lab

    def parts(self, machines: Mapping[str, Machine], hub: Machine | None = None) -> ClusterParts:
        return ClusterParts(
            wiring=Wiring(SERVICES, ()),
            pods=self.pods,
            streams=cast("Any", self.streams),
            node=cast("Any", self.node),
            mongo=cast("Any", self.store),
            etcd=cast("Any", self.store),
            edges=None,
            relay=cast("Any", self.relay),
            doors={},
            endpoints=Endpoints({}, {}),
            logs=self._logs,
            kubeconfig=(self._logs, ""),
            evidence=None,
            machines=machines,
            hub=hub,
            undo=cast("Any", None),  # nothing here is paused or told to have no pods
            why_not_ready=lambda app: why_not_ready(cast("ApiClient", self.api), "emco", app),
        )

    def _begun(self, pod: Json) -> None:
        """Its container runs: it connects to its stores."""
        if "running" in str(pod["status"]):
            metadata = pod["metadata"]
            self.relay.come(
                metadata["labels"]["app"], pod["status"]["podIP"], lambda: metadata["name"] in self.api.pods
            )

    def pod_at_work(self, service: str) -> Json:
        """The pod of the instance that was let in."""
        (found,) = (
            one for one in self.api.pods.values() if one["status"].get("podIP") == self.relay.instances[service]
        )
        return found


@asynccontextmanager
async def open_cluster(folder: Path, *, pods: int = 2, status: Json | None = None) -> AsyncIterator[SmallCluster]:
    """A cluster with so many pods of each service. status: of each of them; empty: their containers run."""
    cluster = SmallCluster(folder)
    cluster.api.next_status = status
    for service in SERVICES:
        for _ in range(pods):
            cluster.api.make(service, status)
    await cluster.pods.begin()
    try:
        yield cluster
    finally:
        for lab in cluster.labs:
            await lab.close()
        await cluster.pods.close()


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  whatever it is: most of it rings no bell
            await asyncio.sleep(0.005)
