"""The pods of a namespace as the API server tells of them, kept up to date by a watch."""

import asyncio
from dataclasses import dataclass
from typing import Any

from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.client import ApiClient
from harness.wire.bell import Bell

Json = dict[str, Any]
_AT_ONCE = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
_AGAIN = 0.2
_LONGEST_WAIT = 60.0
_ENDED = frozenset({"CrashLoopBackOff", "Error", "Completed", "OOMKilled"})


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod.

    path:      in the API
    container: id of its only container, empty while that does not run
    waiting:   why the container does not run
    restarts:  how often the container was started again
    """

    name: str
    path: str
    uid: str
    app: str
    address: str
    container: str
    waiting: str
    restarts: int

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
        self._bell = Bell()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """List them, and follow what becomes of them."""
        version = await self._list()
        self._task = asyncio.ensure_future(self._follow(version))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def of(self, app: str) -> tuple[Pod, ...]:
        """Those of one workload that were not deleted."""
        return tuple(pod for pod in self._known.values() if pod.app == app and pod.uid not in self._deleted)

    def only(self, app: str) -> Pod:
        """The one of a workload that has but one. Raises HarnessTrouble when there are more, or none."""
        found = self.of(app)
        if len(found) != 1:
            names = ", ".join(pod.name for pod in found) or "none"
            raise HarnessTrouble(f"{app} was to have one pod, it has {names}")
        return found[0]

    async def running(self, app: str, *, limit: float, address: str = "") -> Pod | None:
        """A workload's pod whose container runs, once it is known; None when it is not within `limit` seconds.

        address: of the pod, where there may be several
        """
        deadline = asyncio.get_running_loop().time() + limit
        while True:
            for pod in self.of(app):
                if pod.container and address in ("", pod.address):
                    return pod
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return None
            await self._bell.wait(left)

    async def changed(self) -> None:
        """Wait until something becomes of one of them."""
        await self._bell.wait(_LONGEST_WAIT)

    async def delete(self, pod: Pod) -> None:
        """Delete at once, without grace; its workload makes another. The process may live on for seconds."""
        self._deleted.add(pod.uid)
        body = {**_AT_ONCE, "preconditions": {"uid": pod.uid}}
        await self._api.ask("DELETE", f"{self._path}/{pod.name}", body, accept=(404, 409))

    async def _list(self) -> str:
        listed = await self._api.ask("GET", self._path)
        self._known = {one["metadata"]["uid"]: _pod(one) for one in listed.get("items") or ()}
        self._deleted &= set(self._known)
        self._bell.ring()
        return str(listed["metadata"]["resourceVersion"])

    async def _follow(self, version: str) -> None:
        while True:
            try:
                async for event in self._api.watch(self._path, query="", since=version):
                    self._told(event)
                version = await self._list()
            except HarnessTrouble:  # whoever asks the same server hears of it
                await asyncio.sleep(_AGAIN)
                version = "0"

    def _told(self, event: Json) -> None:
        thing = event["object"]
        if event["type"] == "ERROR":
            raise HarnessTrouble(f"the watch of pods ended: {thing.get('message')}")
        uid = thing["metadata"]["uid"]
        if event["type"] == "DELETED":
            self._known.pop(uid, None)
            self._deleted.discard(uid)
        else:
            self._known[uid] = _pod(thing)
        self._bell.ring()


def _pod(thing: Json) -> Pod:
    metadata, status = thing["metadata"], thing.get("status") or {}
    container: Json = next(iter(status.get("containerStatuses") or ()), {})
    state = container.get("state") or {}
    running = container.get("containerID", "") if "running" in state else ""
    waiting = state.get("waiting") or state.get("terminated") or {}
    return Pod(
        name=metadata["name"],
        path=f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}",
        uid=metadata["uid"],
        app=(metadata.get("labels") or {}).get("app", ""),
        address=status.get("podIP", ""),
        container=str(running).rpartition("//")[2],
        waiting=str(waiting.get("reason", "")),
        restarts=int(container.get("restartCount", 0)),
    )
