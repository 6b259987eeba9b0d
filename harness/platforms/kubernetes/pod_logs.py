"""What the services in their pods have logged, kept in a file for each."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from harness.platforms.kubernetes.instances import Instance
from harness.platforms.kubernetes.pods import Pod, Pods
from harness.platforms.kubernetes.streams import Streams

_KNOWN_LIMIT = 5.0  # until the API server tells where a pod is that is at work already
_TAIL = 4000


class PodLogs:
    """folder: for the files. Use close() at the end."""

    def __init__(self, pods: Pods, streams: Streams, folder: Path) -> None:
        self._pods = pods
        self._streams = streams
        self._folder = folder
        self._following: set[asyncio.Task[None]] = set()

    def tail(self, service: str) -> str:
        """The end of what a service's instances have logged."""
        path = self._file(service)
        if not path.exists():
            return ""
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _TAIL))
            return log.read().decode("utf-8", "backslashreplace")

    def add(self, service: str, text: str) -> None:
        """Keep what was read otherwise."""
        with self._file(service).open("a", encoding="utf-8") as file:
            file.write(text)

    async def words(self, pod: Pod) -> str:
        """The end of a pod's log."""
        return (await self._streams.log(pod.path))[-_TAIL:].decode("utf-8", "backslashreplace")

    def follow(self, service: str, instance: Instance, *, known: Callable[[], None]) -> None:
        """Keep what an instance logs from now on. known: is called once its pod is, which is noted there."""
        task = asyncio.ensure_future(self._follow(service, instance, known))
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _follow(self, service: str, instance: Instance, known: Callable[[], None]) -> None:
        pod = await self._pods.running(service, address=instance.address, limit=_KNOWN_LIMIT)
        pod = pod or await self._pods.at(service, instance.address, limit=0)
        if pod is not None:
            instance.pod = pod
            known()  # its end may be known already
            self._streams.follow_log(pod.path, self._file(service))

    async def close(self) -> None:
        for task in tuple(self._following):
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)

    def _file(self, service: str) -> Path:
        return self._folder / f"{service}.log"
