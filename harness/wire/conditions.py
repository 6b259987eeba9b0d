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
    """Connections are accepted and reset as soon as something is asked, those that exist are reset at once."""


@dataclass(frozen=True, slots=True)
class BlackHole:
    """Nothing arrives any more, nobody is told. When healed, what was sent meanwhile arrives, as TCP would repeat it.

    direction: `to_target` keeps requests from the target, `to_source` replies from the source
    connects:  connections can still be made, as to a server that hangs; otherwise asking for one is not answered
               either, as where packets vanish
    """

    direction: Literal["both", "to_target", "to_source"] = "both"
    connects: bool = True


@dataclass(frozen=True, slots=True)
class Slow:
    """Every piece of the stream is delayed, in both directions.

    delay: seconds
    """

    delay: float


Condition = Healthy | Refuse | Reset | BlackHole | Slow
