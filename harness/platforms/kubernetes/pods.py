"""The pods of a namespace as the API server tells of them, kept up to date by a watch."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.client import ApiClient
from harness.wire.bell import Bell

Json = dict[str, Any]
_AT_ONCE = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
_AGAIN = 0.2
_MOST_GONE = 64
_MOST_LEFT = 1024
_ENDED = frozenset({"CrashLoopBackOff", "Error", "Completed", "OOMKilled"})
_NEVER_RAN = frozenset({"StartError", "ContainerCannotRun"})  # as the runtime says of a program that it cannot start


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod.

    path:      in the API
    made:      when the API server made it, as it writes times: those compare as text
    container: id of its only container, empty while that does not run
    started:   when that container started, empty while it does not run
    ended:     id of the container before this one, or of this one when it has ended
    waiting:   why the container does not run
    restarts:  how often the container was started again
    exit_code: of the container that `ended` names; None where nobody said
    beside:    names of containers that run beside it
    """

    name: str
    path: str
    uid: str
    app: str
    address: str
    container: str
    waiting: str
    restarts: int
    made: str = ""
    started: str = ""
    ended: str = ""
    exit_code: int | None = None
    beside: tuple[str, ...] = ()

    @property
    def has_run(self) -> bool:
        """Whether its program was started, now or before: what never was can say nothing of itself."""
        return bool(self.container or self.ended)

    @property
    def is_stale(self) -> bool:
        """Whether its container has ended: kubelet starts it again later and later."""
        return not self.container and self.waiting in _ENDED


class Pods:
    """Use begin() before anything else, close() at the end."""

    def __init__(self, api: ApiClient, namespace: str) -> None:
        self._api = api
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._known: dict[str, Pod] = {}
        self._deleted: set[str] = set()
        self._gone: dict[str, Pod] = {}  # the latest, as they were when the API server told of them for the last time
        self._left: dict[str, None] = {}  # addresses of those that are gone, the latest last
        self._bell = Bell()
        self._followers: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None

    def follow(self, changed: Callable[[], None]) -> None:
        """Have this called whenever something became of one of them."""
        self._followers.append(changed)

    def unfollow(self, changed: Callable[[], None]) -> None:
        """Have it called no more."""
        self._followers.remove(changed)

    async def begin(self) -> None:
        """List them, and keep up with what becomes of them."""
        version = await self._list()
        self._task = asyncio.ensure_future(self._keep_up(version))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def of(self, app: str) -> tuple[Pod, ...]:
        """Those of one workload that were not deleted."""
        return tuple(pod for pod in self._known.values() if pod.app == app and pod.uid not in self._deleted)

    @property
    def there(self) -> tuple[Pod, ...]:
        """All that the API server has, those that were deleted and go on for a while included."""
        return tuple(self._known.values())

    async def without(self, containers: Collection[str], *, limit: float) -> tuple[Pod, ...]:
        """Wait until no pod's container is one of these; those that still have one after `limit` seconds."""
        deadline = asyncio.get_running_loop().time() + limit
        while old := tuple(pod for pod in self._known.values() if pod.container in containers):
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            await self._bell.wait(left)
        return old

    def forget_addresses(self) -> None:
        """Where deleted pods were says nothing any more: the cluster gives all addresses out anew."""
        self._left.clear()

    async def gone(self, uid: str, *, limit: float) -> bool:
        """Wait until the API server has a pod no more; False when it still has it after `limit` seconds."""
        deadline = asyncio.get_running_loop().time() + limit
        while uid in self._known:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            await self._bell.wait(left)
        return True

    def last_seen(self, uid: str) -> Pod | None:
        """A pod as the API server told of it last, also when it is gone since a short while."""
        return self._known.get(uid) or self._gone.get(uid)

    def only(self, app: str) -> Pod:
        """The one of a workload that has but one. Raises HarnessTrouble when there are more, or none."""
        found = self.of(app)
        if len(found) != 1:
            names = ", ".join(pod.name for pod in found) or "none"
            raise HarnessTrouble(f"{app} was to have one pod, it has {names}")
        return found[0]

    async def running(self, app: str, *, limit: float, address: str = "") -> Pod | None:
        """A workload's pod whose container runs, once it is known; None when it is not within `limit` seconds.

        address: of the pod, where there may be several. Raises HarnessTrouble for a pod of more than one container
        """
        deadline = asyncio.get_running_loop().time() + limit
        while True:
            for pod in self.of(app):
                if pod.container and address in ("", pod.address):
                    _check_alone(pod)
                    return pod
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return None
            await self._bell.wait(left)

    async def at(self, app: str, address: str, *, limit: float) -> Pod | None:
        """A workload's pod at an address, whether its container runs or not; None when it is not known in time."""
        deadline = asyncio.get_running_loop().time() + limit
        while True:
            for pod in self.of(app):
                if pod.address == address:
                    return pod
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return None
            await self._bell.wait(left)

    def is_gone(self, address: str) -> bool:
        """Whether the pod that was at an address was deleted. Whoever is not known yet is not gone."""
        return address in self._left and all(
            pod.address != address for pod in self._known.values() if pod.uid not in self._deleted
        )

    def _leaves(self, address: str) -> None:
        self._left.pop(address, None)
        if address:
            self._left[address] = None
        if len(self._left) > _MOST_LEFT:
            del self._left[next(iter(self._left))]

    async def delete(self, pod: Pod) -> Mapping[str, int]:
        """Delete at once, without grace; its workload makes another. The process may live on for seconds.

        Exit codes of its containers that have ended, by their ids, as far as the API server tells them still.
        """
        self._deleted.add(pod.uid)
        body = {**_AT_ONCE, "preconditions": {"uid": pod.uid}}
        try:
            told = await self._api.ask("DELETE", f"{self._path}/{pod.name}", body, accept=(404, 409))
        except BaseException:  # it is there still, for all that is known
            self._deleted.discard(pod.uid)
            raise
        self._leaves(pod.address)
        return exit_codes(told) if told.get("kind") != "Status" else {}  # it was gone already

    async def _list(self) -> str:
        listed = await self._api.ask("GET", self._path)
        self._known = {one["metadata"]["uid"]: _pod(one) for one in listed.get("items") or ()}
        self._deleted &= set(self._known)
        self._changed()
        return str(listed["metadata"]["resourceVersion"])

    async def _keep_up(self, version: str) -> None:
        """Whatever ends a watch, what was missed since is learned from a list: a watch tells of no earlier deletion."""
        while True:
            try:
                async for event in self._api.watch(self._path, query="", since=version):
                    self._told(event)
            except HarnessTrouble:  # whoever asks the same server hears of it
                await asyncio.sleep(_AGAIN)
            version = await self._listed()

    async def _listed(self) -> str:
        while True:
            try:
                return await self._list()
            except HarnessTrouble:  # as above
                await asyncio.sleep(_AGAIN)

    def _told(self, event: Json) -> None:
        thing = event.get("object") or {}
        if event.get("type") == "ERROR" or "metadata" not in thing:
            raise HarnessTrouble(f"the watch of pods ended: {thing.get('message', 'it said what cannot be read')}")
        uid = thing["metadata"]["uid"]
        if event["type"] == "DELETED":
            self._known.pop(uid, None)
            self._deleted.discard(uid)
            self._gone[uid] = _pod(thing)
            if len(self._gone) > _MOST_GONE:
                del self._gone[next(iter(self._gone))]
            self._leaves(_pod(thing).address)
        else:
            pod = self._known[uid] = _pod(thing)
            if uid not in self._deleted:
                self._left.pop(pod.address, None)
        self._changed()

    def _changed(self) -> None:
        self._bell.ring()
        for follower in self._followers:
            follower()


class Gates(Protocol):
    """What keeps pods from talking to the stores: a relay."""

    @property
    def instances(self) -> Mapping[str, str]: ...
    def ban(self, address: str) -> None: ...
    def drop(self, source: str) -> None: ...


async def replace_older(relay: Pod, services: Sequence[str], pods: Pods, gates: Gates) -> None:
    """Replace every service's pod whose container did not start after that of the relay.

    A relay before it, in this pod or in another, may have let them in: nobody knows any more what they have seen.
    """
    for pod in [pod for service in services for pod in pods.of(service)]:
        if pod.container and (not relay.started or pod.started <= relay.started):
            gates.ban(pod.address)
            if gates.instances.get(pod.app) == pod.address:
                gates.drop(pod.app)
            await pods.delete(pod)


def _check_alone(pod: Pod) -> None:
    """Of several containers nobody could say whose death ended a connection."""
    if pod.beside:
        raise HarnessTrouble(
            f"the pod {pod.name} of {pod.app} has other containers beside the service ({', '.join(pod.beside)}), as a "
            "proxy that is put into pods: which of them was killed could not be proven. Keep them out of this namespace"
        )


def exit_codes(thing: Json) -> Mapping[str, int]:
    """Exit codes of a pod's containers that have ended, by their ids; a container before the present one, too."""
    states: list[Json] = []
    for one in (thing.get("status") or {}).get("containerStatuses") or ():
        states += [one.get("state") or {}, one.get("lastState") or {}]
    ended = [state["terminated"] for state in states if state.get("terminated")]
    return {_id(one): int(one["exitCode"]) for one in ended if one.get("containerID")}


def _id(container: Json) -> str:
    """Without the name of the runtime before it."""
    return str(container.get("containerID", "")).rpartition("//")[2]


def _pod(thing: Json) -> Pod:
    metadata, status = thing["metadata"], thing.get("status") or {}
    containers = status.get("containerStatuses") or ()
    container: Json = next(iter(containers), {})
    helpers = [one for one in status.get("initContainerStatuses") or () if "running" in (one.get("state") or {})]
    state = container.get("state") or {}
    running = state.get("running") if "running" in state else None
    waiting = state.get("waiting") or state.get("terminated") or {}
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    return Pod(
        name=metadata["name"],
        path=f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}",
        uid=metadata["uid"],
        app=(metadata.get("labels") or {}).get("app", ""),
        address=status.get("podIP", ""),
        container=_id(container) if running is not None else "",
        waiting=str(waiting.get("reason", "")),
        restarts=int(container.get("restartCount", 0)),
        made=str(metadata.get("creationTimestamp", "")),
        started=str((running or {}).get("startedAt", "")),
        ended="" if ended.get("reason") in _NEVER_RAN else _id(ended),
        exit_code=ended.get("exitCode"),
        beside=tuple(str(one.get("name", "")) for one in (*containers[1:], *helpers)),
    )
