"""What can be wrong with a link, as values."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Healthy:
    """Everything passes."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nobody listens: connecting is refused, what was connected is reset."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Connections are accepted and reset at once, those that exist are reset."""


@dataclass(frozen=True, slots=True)
class BlackHole:
    """Nothing arrives any more, nobody is told. When healed, what was sent meanwhile arrives, as TCP would repeat it.

    Connecting still works: that is done by the kernel and cannot be kept silent from here.

    direction: `to_target` keeps requests from the target, `to_source` replies from the source
    """

    direction: Literal["both", "to_target", "to_source"] = "both"


@dataclass(frozen=True, slots=True)
class Slow:
    """Every piece of the stream is delayed, in both directions.

    delay: seconds
    """

    delay: float


Condition = Healthy | Refuse | Reset | BlackHole | Slow
