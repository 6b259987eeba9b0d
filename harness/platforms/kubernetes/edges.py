"""Emulated edges in a pod, as the harness reads and replaces what they hold."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import aiohttp

from harness.faults.victim import HarnessTrouble
from harness.platforms.edge_emulator import EdgeEmulator, LoggedRequest
from harness.platforms.edges.edge import Edge
from harness.wire.control import RelayControl
from harness.wire.links import Address, Tls

Json = dict[str, Any]


class EdgeGroup(Protocol):
    """All edges of one EMCO: what they hold is read, and written, in one go. Raises HarnessTrouble."""

    def edge(self, name: str) -> Edge:
        """One of them."""

    async def objects(self) -> Mapping[str, tuple[Json, ...]]:
        """What each edge holds."""

    async def restore(self, wanted: Mapping[str, Sequence[Json]]) -> None:
        """Make each of these edges hold exactly this."""

    def recovered(self, name: str) -> None:
        """One of them was away on purpose, and is back."""

    async def close(self) -> None:
        """Let go of them."""


class EdgesPod:
    """Emulated edges, in one pod; implements EdgeGroup."""

    def __init__(self, names: Sequence[str], address: Address, *, limit: float = 30.0) -> None:
        self.names = tuple(names)
        self._url = "http://{}:{}/edges".format(*address)
        self._idle: set[str] = set()  # where workloads do not run
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=limit))

    def edge(self, name: str) -> Edge:
        return PodEdge(name, self, upstream=("edges", 0))

    def recovered(self, name: str) -> None:
        """The emulator remembers no trouble."""

    async def close(self) -> None:
        await self._session.close()

    async def objects(self) -> Mapping[str, tuple[Json, ...]]:
        """What each edge holds. Raises HarnessTrouble."""
        held = await self._ask("GET")
        return {name: tuple(held.get(name, ())) for name in self.names}

    async def restore(self, wanted: Mapping[str, Sequence[Json]]) -> None:
        """Make each of these edges hold exactly this. Raises HarnessTrouble."""
        await self._ask("PUT", {name: list(objects) for name, objects in wanted.items()})
        self._idle -= set(wanted)

    def runs(self, name: str) -> bool:
        """Whether workloads run on one of them."""
        return name not in self._idle

    async def let_run(self, name: str, *, runs: bool) -> None:
        """Let them run there, or not. Raises HarnessTrouble."""
        await self._ask("PUT", runs, f"/{name}/runs")
        self._idle = self._idle - {name} if runs else self._idle | {name}

    async def delete(self, name: str, thing: Json) -> None:
        """Delete an object there. Raises HarnessTrouble."""
        await self._ask("POST", thing, f"/{name}/delete")

    async def _ask(self, method: str, body: Any = None, path: str = "") -> Json:
        try:
            async with self._session.request(method, f"{self._url}{path}", json=body) as answer:
                if answer.status >= 400:
                    raise HarnessTrouble(f"the emulated edges answer {answer.status}: {(await answer.text())[:200]}")
                held: Json = await answer.json() if answer.status == 200 else {}
                return held
        except (aiohttp.ClientError, TimeoutError) as error:
            raise HarnessTrouble(f"the emulated edges do not answer: {type(error).__name__} {error}") from error


def emulated_kubeconfig(name: str, listen: Address) -> str:
    """The kubeconfig with which EMCO reaches an emulated edge at this address."""
    return EdgeEmulator(name).kubeconfig("http://{}:{}".format(*listen))


class PodEdge:
    """One of them; implements Edge. upstream: where the relay finds it."""

    identity = ""

    def __init__(self, name: str, pod: EdgesPod, *, upstream: Address) -> None:
        self.name = name
        self.upstream = upstream
        self._pod = pod

    def tls(self, listen: Address) -> Tls | None:  # noqa: ARG002  as the Protocol has it
        return None

    def kubeconfig(self, listen: Address) -> str:
        return emulated_kubeconfig(self.name, listen)

    def follow(self, relay: RelayControl) -> None:
        """It sees every request itself."""

    async def objects(self) -> list[Json]:
        return list((await self._pod.objects())[self.name])

    async def restore(self, objects: Sequence[Json]) -> None:
        await self._pod.restore({self.name: objects})

    @property
    def runs(self) -> bool:
        return self._pod.runs(self.name)

    async def let_run(self, *, runs: bool) -> None:
        await self._pod.let_run(self.name, runs=runs)

    async def delete(self, thing: Json) -> None:
        await self._pod.delete(self.name, thing)

    def requests(self) -> tuple[LoggedRequest, ...]:
        raise HarnessTrouble(f"edge {self.name}: emulated edges in a pod show no log of their requests")

    async def stop(self) -> None:
        """It goes with its pod."""
