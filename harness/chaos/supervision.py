"""Who starts services again that end: kubelet does on Kubernetes, here an experiment says how.

EMCO's services give up when their store is not there at their start, and count on being started again.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from harness.background import Background
from harness.campaign import Campaign
from harness.faults.victim import HarnessTrouble, ServiceDown, UsageError


@dataclass(frozen=True, slots=True)
class Restarts:
    """How often a service is started again: after `first` seconds, then twice as long each time, up to `most`.

    kubelet's are 10 and 300 seconds.
    """

    first: float = 0.5
    most: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.first <= self.most:
            raise UsageError(f"back-off begins above 0 and grows: not from {self.first:g} to {self.most:g} s")


@dataclass(frozen=True, slots=True)
class Up:
    """A service that answers. exits: how often it ended before it did;  seconds: from its first start."""

    service: str
    exits: int
    seconds: float

    def describe(self) -> str:
        """`clm after 1.3 s and 2 exits`."""
        ends = f" and {self.exits} exit{'s' if self.exits != 1 else ''}" if self.exits else ""
        return f"{self.service} after {self.seconds:.1f} s{ends}"


class Supervision:
    """Services of one EMCO that are started, and started again when they end, until they answer."""

    def __init__(self, environment: Background) -> None:
        self._environment = environment
        self._coming: dict[str, Future[Up]] = {}

    def begin(self, names: tuple[str, ...], restarts: Restarts, *, limit: float) -> None:
        """Begin with services that are down; each gets `limit` seconds to come up."""
        for name in names:
            self._coming[name] = self._environment.begin(_keeper(name, restarts, limit))

    def wait(self, *, limit: float) -> tuple[Up, ...]:
        """Wait until all answer. Raises ServiceDown for one that does not, HarnessTrouble when it takes longer, and
        where none is started."""
        if not self._coming:
            raise HarnessTrouble("no service is supervised: there is nothing to wait for")
        deadline = time.monotonic() + limit
        coming, self._coming = self._coming, {}
        try:
            return tuple(one.result(max(0.0, deadline - time.monotonic())) for one in coming.values())
        except TimeoutError:
            waited = ", ".join(name for name, one in coming.items() if not one.done())
            raise HarnessTrouble(f"not up within {limit:g} s: {waited}") from None
        finally:
            for one in coming.values():
                one.cancel()

    def forget(self) -> None:
        """Start nothing again any more."""
        for one in self._coming.values():
            one.cancel()
        self._coming.clear()


def _keeper(name: str, restarts: Restarts, limit: float) -> Callable[[Campaign], Coroutine[Any, Any, Up]]:
    return lambda campaign: _keep(campaign, name, restarts, limit)


async def _keep(campaign: Campaign, name: str, restarts: Restarts, limit: float) -> Up:
    began = time.monotonic()
    exits, pause = 0, restarts.first
    try:
        async with asyncio.timeout(limit):
            while not await _started(campaign, name):
                exits += 1
                await asyncio.sleep(pause)  # the back-off that the experiment asked for
                pause = min(pause * 2, restarts.most)
    except TimeoutError:
        sentence = f"did not come up within {limit:g} s ({exits} exits)"
        raise ServiceDown(name, sentence, campaign.lab.log_tail(name)) from None
    return Up(name, exits, time.monotonic() - began)


async def _started(campaign: Campaign, name: str) -> bool:
    """Whether it answers; else it has ended."""
    try:
        await campaign.disruptions.start(name)
    except ServiceDown:
        if name not in await campaign.disruptions.down():
            await _answering(campaign, name)
    return name not in await campaign.disruptions.down()


async def _answering(campaign: Campaign, name: str) -> None:
    """It runs, and takes longer than a start usually does: wait until it answers or ends."""
    while True:
        if not await campaign.disruptions.silent(name, limit=5.0) or name in await campaign.disruptions.down():
            return
        await asyncio.sleep(0.1)  # nothing announces it; bounded by the caller's limit
