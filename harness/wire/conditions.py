"""What can be wrong with a link, as values."""

from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class Cut:
    r"""Healthy until the source sends certain bytes: they do not arrive, and the connection that carried them is reset.

    sent:  the bytes, as they stand on the wire: `b"\x02find\0"` is the command find of mongo, a key is one of etcd
    times: so often connections are reset; then the link is `then`
    then:  what the link is afterwards. Refuse, say: it is cut at exactly this message and stays so
    """

    sent: bytes
    times: int = 1
    then: "Condition" = field(default_factory=Healthy)

    def __post_init__(self) -> None:
        if not self.sent or self.times < 1:
            raise ValueError("a cut is made at some bytes, at least once")


Condition = Healthy | Refuse | Reset | BlackHole | Slow | Cut
