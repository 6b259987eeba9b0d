"""Links that are refused and healthy in turn, on any platform."""

import asyncio

from harness.wire.conditions import Refuse
from harness.wire.control import RelayControl
from harness.wire.links import Link


class Flapping:
    """The links of one relay that flap. All methods are called in the relay's event loop; close() ends them."""

    def __init__(self, relay: RelayControl) -> None:
        self._relay = relay
        self._tasks: dict[Link, asyncio.Task[None]] = {}

    def __contains__(self, link: Link) -> bool:
        return link in self._tasks

    def begin(self, link: Link, seconds: float) -> None:
        """From now on, refused as it is, healthy and refused in turn, each for so long."""
        self._tasks[link] = asyncio.create_task(self._flap(link, seconds))

    async def end(self, link: Link) -> None:
        """Leave it as it is now; nothing where it does not flap."""
        if (task := self._tasks.pop(link, None)) is not None:
            task.cancel()
            await asyncio.wait({task})

    async def close(self) -> None:
        """End all."""
        for link in tuple(self._tasks):
            await self.end(link)

    async def _flap(self, link: Link, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)  # the period of the fault itself
            self._relay.heal(link)
            await asyncio.sleep(seconds)
            self._relay.set_condition(link, Refuse())
