"""Load: clients that ask for one thing after the other until they are told to stop."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from harness.background import Background
from harness.campaign import Campaign
from harness.chaos.clients import Ask, Asked, send
from harness.faults.victim import HarnessTrouble, UsageError

_ANSWER = 60.0  # seconds that a client waits for one answer
_PAUSE = 0.02  # seconds between a refusal and the client's next request


class Load:
    """Clients under load of one EMCO. asked: everything that they were told, in the order of the answers."""

    def __init__(self, environment: Background) -> None:
        self._environment = environment
        self._running: list[Future[None]] = []
        self._stopped = False
        self.asked: list[Asked] = []

    def begin(self, asks: tuple[Ask, ...], *, clients: int) -> None:
        """Let so many clients ask for each of these; names of what they create get a number. Raises UsageError."""
        if self._running:
            raise UsageError("there is load already; end it first")
        if not 1 <= clients <= 16:
            raise UsageError(f"{clients} clients: a number from 1 to 16 is expected")
        self._stopped = False
        self.asked.clear()
        for ask, number in itertools.product(asks, range(1, clients + 1)):
            self._running.append(self._environment.begin(self._client(_numbered(ask, number))))

    def _client(self, asks: Iterator[Ask]) -> Callable[[Campaign], Coroutine[Any, Any, None]]:
        async def go_on(campaign: Campaign) -> None:
            for ask in asks:
                if self._stopped:
                    return
                asked = await send(campaign, ask, limit=_ANSWER)
                self.asked.append(asked)
                campaign.lab.relay.bell.ring()
                if asked.told.kind != "acknowledged":
                    await asyncio.sleep(_PAUSE)

        return go_on

    @property
    def under_way(self) -> int:
        """Clients that are at work."""
        return sum(not one.done() for one in self._running)

    def acknowledged(self, *, since: float) -> int:
        """How many requests were begun and acknowledged since a moment of the relay's clock."""
        return sum(one.told.kind == "acknowledged" and one.began >= since for one in tuple(self.asked))

    def end(self, *, limit: float) -> tuple[Asked, ...]:
        """Let every client get its last answer; all that they were told.

        Raises HarnessTrouble when that takes long, and where there is no client.
        """
        if not self._running:
            raise HarnessTrouble("there is no load that could end")
        self._stopped = True
        running, self._running = self._running, []
        for one in running:
            try:
                one.result(limit)
            except TimeoutError:
                raise HarnessTrouble(f"a client under load was not answered within {limit:g} s") from None
        return tuple(self.asked)

    def forget(self) -> None:
        """Give up whatever goes on."""
        self._stopped = True
        for one in self._running:
            one.cancel()
        self._running.clear()
        self.asked.clear()


def _numbered(ask: Ask, client: int) -> Iterator[Ask]:
    for number in itertools.count(1):
        yield ask if not ask.label else replace(ask, body=_renamed(ask.body, f"{ask.label}-{client}-{number}"))


def _renamed(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return {**body, "metadata": {**body["metadata"], "name": name}}


def with_ballast(ask: Ask, size: int) -> Ask:
    """The same with so many characters wherever its body has the text `ballast`."""
    return replace(ask, body=_filled(ask.body, "x" * size))


def _filled(value: Any, ballast: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(one, ballast) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, ballast) for one in value]
    return ballast if value == "ballast" else value
