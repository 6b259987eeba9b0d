"""What the decoders and the relay have in common: the seam between them.

A decoder (`Codec`) belongs to one connection and is fed both directions in any split. It never does I/O: what it finds
it says to a `Sink`. Both sides speak of a request by its `ident`: whatever the protocol uses to match a reply with its
request (mongo's request id, the HTTP/2 stream, a running number in HTTP/1.1).

Offsets are absolute positions in the byte stream of one direction. The relay needs them to hold a request back: a
*unit* is what cannot be forwarded in part (a mongo message, an HTTP/2 frame, an HTTP/1.1 request).
"""

from dataclasses import dataclass
from typing import Protocol

from harness.wire.effects import Effect

Data = bytes | bytearray | memoryview


class DecodeError(ValueError):
    """The stream is not what the link's protocol promises, or cannot be understood; the message is one sentence."""


class Sink(Protocol):
    """Who hears what was decoded. `request` and `reply_begins` answer True to stop the decoder behind that unit."""

    def request(self, ident: int, effect: Effect, start: int, end: int, *, droppable: bool) -> bool:
        """A request that is an effect is complete; its last unit spans start..end.

        droppable: the unit can be left out without breaking what follows on the connection.
        """
        ...

    def reply_begins(self, ident: int, start: int) -> bool:
        """The first unit of the reply to an effect, at start, is here."""
        ...

    def reply(self, ident: int, *, ok: bool | None) -> None:
        """The reply to an effect is complete; None: given up by the client, there will be none."""
        ...

    def idle(self) -> None:
        """No request of this connection is under way any more."""
        ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a held request is refused in its store's stead.

    reply: what the client gets, as whole units;  kept: what was held without the request, which the server still gets
    """

    reply: bytes
    kept: bytes


class Codec(Protocol):
    """Decoder of one connection."""

    pending: dict[int, bool]
    """Requests under way; True for effects."""

    reads: bool
    """Whether the sink is told of reads of data as well, as effects that say so."""

    def client(self, data: Data) -> None:
        """Bytes from the client. Keeps what is incomplete. Raises DecodeError, after which it must not be used."""
        ...

    def server(self, data: Data) -> None:
        """Bytes from the server; as `client`."""
        ...

    def server_ended(self) -> None:
        """The server has closed its direction."""
        ...

    def client_boundary(self) -> int:
        """Up to this offset the client's bytes belong to units that are decided."""
        ...

    def server_boundary(self) -> int:
        """Up to this offset the server's bytes belong to units that are decided."""
        ...

    def refuse(self, ident: int, held: bytes) -> Refusal | None:
        """Refuse a request by an error as its store makes them; it is under way no more. None: that cannot be done.

        held: what was not forwarded, from the request's unit on; all of it was decoded
        """
        ...

    def multiplexer(self) -> "Multiplexer | None":
        """Where one request can be taken back without closing the connection: who knows how."""
        ...


class Multiplexer(Protocol):
    """What a codec knows beyond that when a connection carries several requests side by side."""

    def given_up(self, ident: int, more: bytes) -> bool:
        """Whether the client gives the request up in what was fed and not decoded yet, or in `more` that follows it."""
        ...

    def without(self, ident: int, held: bytes) -> bytes:
        """`held`, which starts at a unit, without the units that carry the body of the request `ident`."""
        ...


class Half:
    """One direction of a stream that is decoded unit by unit: what is incomplete, and where we are."""

    __slots__ = ("buffer", "current", "offset", "skip")

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.offset = 0  # of the first byte that is not consumed
        self.skip = 0  # bytes of the current unit that nobody needs to see
        self.current = 0
