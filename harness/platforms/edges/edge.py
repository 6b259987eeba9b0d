"""The seam between the lab and whatever an edge is, and the emulator behind it."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol

from harness.faults.victim import HarnessTrouble
from harness.platforms.edge_emulator import EdgeEmulator, LoggedRequest
from harness.wire.control import RelayControl
from harness.wire.links import Address, Tls

Json = dict[str, Any]


class Edge(Protocol):
    """A cluster that EMCO deploys to. EMCO reaches it through a relay, the harness directly."""

    @property
    def name(self) -> str:
        """`provider+cluster`, the name of the relay's target."""

    @property
    def identity(self) -> str:
        """What snapshots depend on beside addresses, as the authority in a kubeconfig; empty for nothing."""

    @property
    def upstream(self) -> Address:
        """Where the relay reaches it."""

    def tls(self, listen: Address) -> Tls | None:
        """What the relay that listens at this address ends TLS with; None where nobody speaks it."""

    def kubeconfig(self, listen: Address) -> str:
        """The kubeconfig (YAML) with which EMCO reaches it through the relay at this address."""

    def follow(self, relay: RelayControl) -> None:
        """Tell it of the relay, once that is open: whatever EMCO writes passes there."""

    async def objects(self) -> list[Json]:
        """All objects that EMCO made or changed, as they are now. Raises HarnessTrouble."""

    async def restore(self, objects: Sequence[Json]) -> None:
        """Hold exactly these of EMCO's objects, as `objects` returned them. Raises HarnessTrouble."""

    @property
    def runs(self) -> bool:
        """Whether workloads run there, as far as the harness has a say in it."""

    async def let_run(self, *, runs: bool) -> None:
        """Let all workloads run, those that are there and those to come, or none, as where no node is left.

        Raises HarnessTrouble where controllers that are not the harness's decide on that.
        """

    async def delete(self, thing: Json) -> None:
        """Delete an object of EMCO's, as anyone may who has access to the cluster. Raises HarnessTrouble."""

    def requests(self) -> tuple[LoggedRequest, ...]:
        """What was asked of it, oldest first, without what the harness asked. Raises HarnessTrouble without a log."""

    async def stop(self) -> None:
        """Let go of it."""


async def let_all_run(edges: Iterable[Edge], name: str = "*") -> list[str]:
    """Let workloads run again on the edges of this name (a pattern) where they do not; what was done, in words."""
    idle = [edge for edge in edges if fnmatchcase(edge.name, name) and not edge.runs]
    for edge in idle:
        await edge.let_run(runs=True)
    return [f"workloads run again on {edge.name}" for edge in idle]


class EmulatedEdge:
    """The emulator as an Edge: plain HTTP in the harness's own event loop."""

    def __init__(self, emulator: EdgeEmulator) -> None:
        self.emulator = emulator
        self.name = emulator.name
        self.identity = ""

    @property
    def upstream(self) -> Address:
        return self.emulator.address

    def tls(self, listen: Address) -> Tls | None:  # noqa: ARG002  as the Protocol has it
        return None

    def kubeconfig(self, listen: Address) -> str:
        return self.emulator.kubeconfig("http://{}:{}".format(*listen))

    def follow(self, relay: RelayControl) -> None:
        """It sees every request itself."""

    async def objects(self) -> list[Json]:
        return self.emulator.objects()

    async def restore(self, objects: Sequence[Json]) -> None:
        await self.emulator.restore(list(objects))

    @property
    def runs(self) -> bool:
        return self.emulator.is_ready

    async def let_run(self, *, runs: bool) -> None:
        self.emulator.set_ready(ready=runs)

    async def delete(self, thing: Json) -> None:
        try:
            self.emulator.delete(thing)
        except ValueError as error:
            raise HarnessTrouble(f"edge {self.name}: {error}") from error

    def requests(self) -> tuple[LoggedRequest, ...]:
        return self.emulator.request_log

    async def stop(self) -> None:
        await self.emulator.stop()
