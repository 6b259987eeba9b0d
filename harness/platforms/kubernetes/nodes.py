"""What is done to containers where they run: on a node within reach, or with the API server alone."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from harness.faults.victim import HarnessTrouble
from harness.platforms.kind.node import Exit
from harness.platforms.kubernetes.pods import Pod, Pods

MISSING = (
    "the cluster's nodes are out of reach; with --node-access auto the harness reaches that of a kind cluster of one "
    "node which runs in this machine's docker"
)
# kubelet needs 2 s, on a busy node 5. Not much more may pass: a client library that waits for a frozen store long
# enough ends its connections by itself, which is no sign of death then. mongo's driver waits 30 s, grpc for ever.
_END_LIMIT = 15.0


class NodeAccess(Protocol):
    """Use begin() first, close() at the end. Containers are named by their ids."""

    @property
    def missing(self) -> str:
        """Why containers cannot be paused and folders not removed; empty where they can."""

    async def begin(self) -> None:
        """Tell of every container's end from now on."""

    async def close(self) -> None: ...

    async def kill(self, container: str) -> Exit:
        """End a container's process at once, and tell what was seen of its end. Raises HarnessTrouble without proof."""

    async def pause(self, container: str) -> None:
        """Stop its processes from running, without ending them. Raises HarnessTrouble where that cannot be done."""

    async def resume(self, container: str) -> None:
        """Let them run again."""

    async def remove(self, folder: str) -> None:
        """Remove a folder of the node with all it holds. Raises HarnessTrouble where that cannot be done."""


class Freezer(Protocol):
    """Who keeps a service from doing anything, and sees its connections end: a relay."""

    @property
    def instances(self) -> Mapping[str, str]:
        """Where each service's instance is that was let in."""

    def freeze(self, source: str) -> None: ...

    async def synced(self) -> None: ...

    async def ended(self, source: str, *, limit: float) -> tuple[int, int]: ...


class NoNode:
    """A cluster whose nodes are out of reach: pods are deleted, and ends are seen from outside.

    A pod that is deleted with grace period 0 is gone for the API server at once, and its process lives on: kubelet lets
    it know (SIGTERM) and kills it after 2 s. It can do nothing in that time, since the relay holds all its traffic, and
    its end shows by its connections: they are ended by its node, while those that the relay ended itself say nothing.

    ended: is called with every end of a container's process, as the states of pods tell of it
    """

    def __init__(self, pods: Pods, relay: Freezer, *, ended: Callable[[Exit], None], limit: float = _END_LIMIT) -> None:
        self._pods = pods
        self._relay = relay
        self._ended = ended
        self._limit = limit
        self._seen: dict[str, Pod] = {}

    @property
    def missing(self) -> str:
        return MISSING

    async def begin(self) -> None:
        self._seen = {pod.uid: pod for pod in self._pods.there}
        self._pods.follow(self._look)

    async def close(self) -> None:
        self._pods.unfollow(self._look)

    async def kill(self, container: str) -> Exit:
        """Delete its pod with grace period 0, its traffic held. Proven by its connections' end, and the pod's."""
        pod = next((one for one in self._pods.there if one.container == container), None)
        if pod is None or self._relay.instances.get(pod.app) != pod.address:
            name = f"the pod {pod.name} is" if pod is not None else f"the container {container[:12]} is"
            raise HarnessTrouble(f"{name} no service's that the relay let in, and cannot be killed: {MISSING}")
        clock = asyncio.get_running_loop().time
        self._relay.freeze(pod.app)  # which it is already at a boundary
        await self._relay.synced()
        begun = clock()
        await self._pods.delete(pod)
        connections, gone = await self._relay.ended(pod.app, limit=self._limit)
        seconds = clock() - begun
        if gone < connections or not connections:
            seen = f"only {gone} of its {connections} connections" if connections else "no connection of it"
            raise HarnessTrouble(
                f"the pod {pod.name} was deleted with grace period 0, but {seen} ended within {self._limit:g} s: "
                "nothing proves that its process is dead"
            )
        if not await self._pods.gone(pod.uid, limit=self._limit):
            raise HarnessTrouble(
                f"the pod {pod.name} was deleted with grace period 0, but is there still: a finalizer?"
            )
        status = self._status(pod)
        how = (
            f"pod {pod.name} deleted with grace period 0, its connections ended after {seconds:.1f} s, until when a "
            "replacement may have run beside it, held at the relay; "
            f"exit status {'unknown' if status is None else status}"
        )
        return Exit(container, 0, status or 0, how, round(seconds, 2))

    def _status(self, pod: Pod) -> int | None:
        """What the last word on a pod says of the container that was killed."""
        last = self._pods.last_seen(pod.uid)
        return last.exit_code if last is not None and last.ended == pod.container else None

    async def pause(self, container: str) -> None:
        raise HarnessTrouble(f"the container {container[:12]} cannot be paused: {MISSING}")

    async def resume(self, container: str) -> None:
        raise HarnessTrouble(f"the container {container[:12]} cannot be resumed: {MISSING}")

    async def remove(self, folder: str) -> None:
        raise HarnessTrouble(f"the folder {folder} of a node cannot be removed: {MISSING}")

    def _look(self) -> None:
        """Tell of the containers that ended since the last look; a pod that is gone ended with its container."""
        before, self._seen = self._seen, {pod.uid: pod for pod in self._pods.there}
        for uid in {**before, **self._seen}:
            for exit_ in _ends(before.get(uid), self._seen.get(uid)):
                self._ended(exit_)


def _ends(before: Pod | None, now: Pod | None) -> tuple[Exit, ...]:
    """The containers of one pod that ended between two moments."""
    ended = []
    was, last = (before.container, before.ended) if before is not None else ("", "")
    told = now.ended if now is not None else ""
    if was and (now is None or now.container != was):
        ended.append(Exit(was, 0, (now.exit_code or 0) if now is not None and told == was else 0))
    if now is not None and told not in ("", was, last):
        ended.append(Exit(told, 0, now.exit_code or 0))
    return tuple(ended)
