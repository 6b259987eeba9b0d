"""Where to stop a source: triggers, and what comes of them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.wire.effects import Effect


@dataclass(frozen=True, slots=True)
class Trigger:
    """Where to stop: before or after the n-th effect of the source that matches, counted since arming."""

    source: str
    side: Literal["before", "after"]
    matches: Callable[[Effect], bool]
    occurrence: int = 1


@dataclass(frozen=True, slots=True)
class Hit:
    """A trigger has stopped its source.

    seq: number of the effect's observation;  at: seconds of the relay's clock
    """

    effect: Effect
    seq: int
    at: float


class Armed:
    """A trigger that is armed. `hit` gets its result when the source is frozen, or what `matches` raised."""

    def __init__(self, trigger: Trigger, hit: "asyncio.Future[Hit]", disarm: "Callable[[Armed], None]") -> None:
        self.trigger = trigger
        self.hit = hit
        self._disarm = disarm
        self._left = trigger.occurrence

    def disarm(self) -> None:
        """Take the trigger back; nothing happens if it was hit already."""
        self._disarm(self)

    def wants(self, effect: Effect) -> bool:
        """Whether this is the effect to stop at."""
        if self._left <= 0 or not self.trigger.matches(effect):
            return False
        self._left -= 1
        return self._left == 0
