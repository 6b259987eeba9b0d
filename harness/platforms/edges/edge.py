"""The seam between the lab and whatever an edge is, and the emulator behind it."""

from collections.abc import Sequence
from typing import Any, Protocol

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

    def requests(self) -> tuple[LoggedRequest, ...]:
        """What was asked of it, oldest first, without what the harness asked. Raises HarnessTrouble without a log."""

    async def stop(self) -> None:
        """Let go of it."""


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

    def requests(self) -> tuple[LoggedRequest, ...]:
        return self.emulator.request_log

    async def stop(self) -> None:
        await self.emulator.stop()
