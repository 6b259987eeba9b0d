"""What a relayed connection tells the relay, and asks it, about its source."""

from typing import TYPE_CHECKING, Literal, Protocol

from harness.wire.effects import Effect

if TYPE_CHECKING:
    from harness.wire.connection import Connection


class Owner(Protocol):
    """What a connection needs of the relay: where effects go, and what its source is up to."""

    def requested(self, connection: "Connection", effect: Effect) -> tuple[int, Literal["", "before", "after"]]:
        """A new effect: its number in the history, and whether it is the one that a trigger waits for."""
        ...

    def read(self, connection: "Connection", effect: Effect) -> int | None:
        """A read, where reads are watched: its number in the history if a trigger waits for it, before it."""
        ...

    def answered(self, seq: int, *, ok: bool | None) -> None:
        """Its reply is complete."""
        ...

    def forwarded(self, seq: int, *, was: bool) -> None:
        """It turned out that the request was, or was not, forwarded."""
        ...

    def hit(self, connection: "Connection", seq: int) -> None:
        """What the trigger waited for is held: freeze."""
        ...

    def is_armed(self) -> bool:
        """Whether a trigger is armed for the source."""
        ...

    def idle(self) -> None:
        """Nothing is under way on this connection any more."""
        ...

    def given_up(self) -> None:
        """The source has ended a connection, or gives the held request up."""
        ...

    def knocked(self, connection: "Connection", data: memoryview) -> None:
        """The source sent something into a link that keeps it, or the reply, back."""
        ...

    def cut(self, connection: "Connection") -> None:
        """The source sent what its link is to be cut at."""
        ...

    def closed(self, connection: "Connection") -> None:
        """The connection is gone."""
        ...

    def problem(self, text: str) -> None:
        """Something that makes the history incomplete."""
        ...
