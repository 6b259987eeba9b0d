"""A kind node as a machine: off the network and on it again, switched off and on."""

import asyncio
import subprocess
from collections.abc import Callable, Mapping
from types import MappingProxyType

from harness.faults.journal import Journal, UndoFails
from harness.faults.victim import HarnessTrouble
from harness.platforms.commands import command
from harness.platforms.edges.access import Access
from harness.platforms.edges.client import ApiClient

NETWORK = "kind"
UNDO = "kind-network"
_LIMIT = 60.0
_READY_LIMIT = 120.0
_PAUSE = 0.2
_GRACE = "3"  # seconds that its processes get to end


class Machine:
    """One node, a container here.

    access: to its API server, which has to answer before it counts as there again
    """

    def __init__(self, node: str, access: Access, journal: Journal) -> None:
        self._node = node
        self._access = access
        self._journal = journal
        self._off: tuple[str, int] | None = None  # its address, and the number of the undo

    @property
    def is_off(self) -> bool:
        """Whether it is off the network."""
        return self._off is not None

    async def disconnect(self) -> str:
        """Take it off kind's network; the address that it had. Raises HarnessTrouble when it is not on it."""
        if self._off is not None:
            raise HarnessTrouble(f"{self._node} is off the network already")
        address = await self._address()
        if not address:
            raise HarnessTrouble(f"{self._node} has no address on the network {NETWORK}")
        self._off = address, self._journal.record(UNDO, node=self._node, address=address)
        await command("docker", "network", "disconnect", NETWORK, self._node, limit=_LIMIT)
        return address

    async def connect(self) -> None:
        """Put it on the network again, where it was, and return when its API server answers."""
        await self.rejoin()
        await self.answers()

    async def rejoin(self) -> None:
        """Put it on the network again, where it was. Raises HarnessTrouble when it is somewhere else then."""
        if self._off is None:
            raise HarnessTrouble(f"{self._node} is on the network")
        address, undo = self._off
        # Without naming the address: docker takes one only where somebody chose the subnet. It gives the lowest that is
        # free, which this one was a moment ago.
        await command("docker", "network", "connect", NETWORK, self._node, limit=_LIMIT)
        self._off = None
        self._journal.done(undo)
        if (now := await self._address()) != address:
            raise HarnessTrouble(
                f"{self._node} was at {address} and is at {now} now, as somebody else took its address meanwhile; its "
                "certificates do not name that one: make the clusters anew"
            )

    async def _address(self) -> str:
        form = "{{with index .NetworkSettings.Networks " + f'"{NETWORK}"' + "}}{{.IPAddress}}{{end}}"
        return (await command("docker", "inspect", "--format", form, self._node, limit=_LIMIT)).strip()

    async def restart(self) -> None:
        """Switch it off and on, and return when its API server answers."""
        await command("docker", "restart", "--time", _GRACE, self._node, limit=_LIMIT)
        await self.answers()

    async def answers(self) -> None:
        """Wait until its API server is ready. Raises HarnessTrouble with what it says."""
        api = ApiClient(self._node, self._access)
        deadline = asyncio.get_running_loop().time() + _READY_LIMIT
        try:
            while True:
                try:
                    await api.text("/readyz")
                except HarnessTrouble as trouble:
                    if asyncio.get_running_loop().time() > deadline:
                        raise HarnessTrouble(
                            f"{self._node} is not there again within {_READY_LIMIT:g} s: {trouble}"
                        ) from trouble
                    await asyncio.sleep(_PAUSE)  # nothing announces an API server; bounded by the limit
                else:
                    return
        finally:
            await api.close()


def _reconnect(arguments: Mapping[str, str]) -> str:
    """Put a node on the network again that a killed run took off; for `emco-chaos rollback`."""
    node = arguments["node"]
    asked = ["docker", "network", "connect", NETWORK, node]
    ended = subprocess.run(asked, capture_output=True, text=True, timeout=_LIMIT, check=False)
    if ended.returncode == 0:
        return f"{node} is on the network {NETWORK} again"
    if "No such container" in ended.stderr:
        return f"{node} is gone"
    if "already exists in network" in ended.stderr:
        return f"{node} was on the network {NETWORK} already"
    raise UndoFails(f"{node}: {ended.stderr.strip()}")


MACHINE_UNDOERS: Mapping[str, Callable[[Mapping[str, str]], str]] = MappingProxyType({UNDO: _reconnect})
"""For journals that hold nodes off the network: what plays their undo."""
