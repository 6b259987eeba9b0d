"""Decoder of HTTP/1.1 as clients of a Kubernetes API speak it: keep-alive, pipelining, chunks, upgrades, watches.

Only the framing of messages is followed, which `http.client` and aiohttp's parser do not offer without their own I/O.
"""

from collections import deque
from dataclasses import replace
from typing import NamedTuple

from harness.wire.created import Body
from harness.wire.decoding import Data, DecodeError, Half, Multiplexer, Sink
from harness.wire.effects import Effect
from harness.wire.http2 import MUTATING, SETTINGS, Http2Codec, is_watch

_LONGEST_HEAD = 1024 * 1024
_LONGEST_LINE = 64 * 1024
_LONGEST_FIRST_LINE = 2048


class _Asked(NamedTuple):
    """A request that waits for its reply."""

    ident: int
    method: str
    effect: bool


class _Body:
    """Follows one body to its end."""

    __slots__ = ("_left", "_state")

    def __init__(self, *, length: int | None, chunked: bool) -> None:
        # states: data (of known length), size, chunk, chunk-end, trailers, close (to the end of the stream), done
        self._left = length or 0
        if chunked:
            self._state = "size"
        elif length is None:
            self._state = "close"
        else:
            self._state = "data" if length else "done"

    def take(self, data: bytearray, at: int) -> tuple[int, bool]:
        """How far the body reaches from `at` as far as is known, and whether that is its end."""
        while self._state != "done":
            if self._state == "close":
                return len(data), False
            if self._state in ("data", "chunk"):
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                if self._left:
                    return at, False
                self._state = "done" if self._state == "data" else "chunk-end"
                continue
            stop = data.find(b"\r\n", at)
            if stop < 0:
                if len(data) - at > _LONGEST_LINE:
                    raise DecodeError("a line between the chunks of HTTP is too long")
                return at, False
            self._line(bytes(data[at:stop]))
            at = stop + 2
        return at, True

    def _line(self, line: bytes) -> None:
        if self._state == "chunk-end":
            if line:
                raise DecodeError("an HTTP chunk is longer than it says")
            self._state = "size"
        elif self._state == "size":
            digits = line.partition(b";")[0].strip()
            if not digits or digits.strip(b"0123456789abcdefABCDEF"):
                raise DecodeError(f"an HTTP chunk cannot have the size {digits[:20]!r}")
            self._left = int(digits, 16)
            self._state = "chunk" if self._left else "trailers"
        elif not line:
            self._state = "done"


class _Half(Half):
    __slots__ = ("body", "content", "start")

    def __init__(self) -> None:
        super().__init__()
        self.body: _Body | None = None
        self.content: Body | None = None  # where it is wanted, and comes in one piece
        self.start = 0  # of the unit that is under decision; -1 when there is none


class Http1Codec:
    """Decoder of one HTTP/1.1 connection (`harness.wire.decoding.Codec`).

    target: of the effects: the name of the edge
    """

    def __init__(self, sink: Sink, *, target: str) -> None:
        self.pending: dict[int, bool] = {}
        self.reads = False
        self._sink = sink
        self._target = target
        self._up = _Half()
        self._down = _Half()
        self._asked: deque[_Asked] = deque()
        self._count = 0
        self._effect: Effect | None = None  # of the request that is being received
        self._upgraded = False
        self._ok = False  # of the reply that is being received

    def client(self, data: Data) -> None:
        """Bytes from the client."""
        half = self._up
        half.buffer += data
        while not self._upgraded:
            if half.body is None:
                head = _head(half)
                if head is None:
                    return
                self._request(head)
            if not _body_ends(half):
                return
            if self._request_ends():
                return
        _all_taken(half)

    def server(self, data: Data) -> None:
        """Bytes from the server."""
        half = self._down
        half.buffer += data
        while not self._upgraded:
            hold = False
            if half.body is None:
                head = _head(half)
                if head is None:
                    return
                hold = self._reply(head)
            if half.body is not None and _body_ends(half):
                self._reply_ends()
            if hold or half.body is not None:
                return
        _all_taken(half)

    def server_ended(self) -> None:
        """A reply without a length ends with the connection."""
        if self._down.body is not None and self._asked:
            self._reply_ends()

    def client_boundary(self) -> int:
        # A request that is an effect is decided as a whole, everything else goes by piece by piece.
        if self._up.body is None or self._effect is None:
            return self._up.offset
        return self._up.start

    def server_boundary(self) -> int:
        return self._down.offset

    def refuse(self, ident: int, held: bytes) -> None:
        """An edge is no store."""

    def multiplexer(self) -> None:
        """A client has no way to take a request back but to close the connection."""

    def _request(self, head: list[str]) -> None:
        half = self._up
        parts = head[0].split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise DecodeError(f"this is no request line of HTTP/1.1: {head[0][:60]!r}")
        method, path = parts[0], parts[1]
        length, chunked = _framing(head)
        self._count += 1
        if method in MUTATING:
            self._effect = Effect("edge", method, self._target, (("path", path.partition("?")[0]),))
        half.content = Body() if method == "POST" and not chunked else None
        if not is_watch(path):
            self.pending[self._count] = self._effect is not None
        self._asked.append(_Asked(self._count, method, self._effect is not None))
        # Who expects "100 Continue" sends nothing more before the head has arrived: then the body alone is the unit.
        if any(line.lower().startswith("expect:") for line in head[1:]):
            half.start = half.offset
        half.body = _Body(length=length or 0, chunked=chunked)

    def _request_ends(self) -> bool:
        effect, self._effect = self._effect, None
        if effect is None:
            return False
        if self._up.content is not None:
            effect, self._up.content = replace(effect, value=self._up.content.name()), None
        return self._sink.request(self._count, effect, self._up.start, self._up.offset, droppable=False)

    def _reply(self, head: list[str]) -> bool:
        half = self._down
        parts = head[0].split(" ", 2)
        if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit() or len(parts[1]) != 3:
            raise DecodeError(f"this is no status line of HTTP/1.1: {head[0][:60]!r}")
        status = int(parts[1])
        if status == 101:
            self._upgraded = True
            if self.pending:
                self.pending.clear()
                self._sink.idle()
            return False
        if status < 200:
            return False
        asked = self._asked[0] if self._asked else _Asked(0, "", effect=False)
        self._ok = status < 400
        length, chunked = _framing(head)
        if asked.method == "HEAD" or status in (204, 304):
            length, chunked = 0, False
        half.body = _Body(length=length, chunked=chunked)
        return asked.effect and self._sink.reply_begins(asked.ident, half.start)

    def _reply_ends(self) -> None:
        self._down.body = None
        if not self._asked:
            return  # a server may say that it closes an idle connection
        asked = self._asked.popleft()
        if asked.effect:
            self._sink.reply(asked.ident, ok=self._ok)
        if self.pending.pop(asked.ident, None) is not None and not self.pending:
            self._sink.idle()


def _all_taken(half: _Half) -> None:
    half.offset += len(half.buffer)
    half.buffer.clear()


def _body_ends(half: _Half) -> bool:
    """Take what there is of the body; whether that is its end."""
    if half.body is None:
        return True
    taken, ended = half.body.take(half.buffer, 0)
    if half.content is not None:
        half.content.feed(bytes(half.buffer[:taken]))
    del half.buffer[:taken]
    half.offset += taken
    if ended:
        half.body = None
    return ended


def _head(half: _Half) -> list[str] | None:
    """The lines of the next head, taken out of the buffer; None while it is not complete."""
    buffer = half.buffer
    while buffer.startswith(b"\r\n"):  # some clients end a body with one line too many
        del buffer[:2]
        half.offset += 2
    stop = buffer.find(b"\r\n\r\n")
    if stop < 0:
        if len(buffer) > _LONGEST_HEAD:
            raise DecodeError("a head of HTTP/1.1 has no end")
        return None
    lines = buffer[:stop].decode("latin-1").split("\r\n")
    half.start = half.offset
    half.offset += stop + 4
    del buffer[: stop + 4]
    return lines


def _framing(head: list[str]) -> tuple[int | None, bool]:
    """Content-Length, if there is one, and whether the body comes in chunks."""
    length: int | None = None
    chunked = False
    for line in head[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise DecodeError(f"this is no header line of HTTP: {line[:60]!r}")
        name, value = name.strip().lower(), value.strip()
        if name == "content-length":
            if not value.isdigit() or len(value) > 15:
                raise DecodeError(f"a body cannot have the length {value[:20]!r}")
            length = int(value)
        elif name == "transfer-encoding":
            chunked = value.lower().endswith("chunked")
    return length, chunked


class HttpCodec:
    """Decoder of a connection that may be HTTP/1.1 or HTTP/2: the first bytes tell."""

    def __init__(self, sink: Sink, *, target: str) -> None:
        self._sink = sink
        self._target = target
        self._first = b""
        self._early = b""  # from the server, before it is known what is spoken
        self._chosen: Http1Codec | Http2Codec | None = None
        self.pending: dict[int, bool] = {}
        self.reads = False

    def client(self, data: Data) -> None:
        """Bytes from the client."""
        if self._chosen is not None:
            self._chosen.client(data)
            return
        self._first += bytes(data)
        if len(self._first) >= 3:  # no method of HTTP/1.1 begins with PRI
            self._choose(http2=self._first.startswith(b"PRI"))

    def server(self, data: Data) -> None:
        """Bytes from the server. With HTTP/2 it may speak first: its settings do not wait for the client's preface."""
        if self._chosen is not None:
            self._chosen.server(data)
            return
        self._early += bytes(data)
        if len(self._early) >= 4:
            if self._early[3] != SETTINGS:
                raise DecodeError("the server speaks first, which only HTTP/2 knows, and this is not HTTP/2")
            self._choose(http2=True)

    def _choose(self, *, http2: bool) -> None:
        if self._early and not http2:
            raise DecodeError("the server speaks first, which HTTP/1.1 does not know")
        if http2:
            self._chosen = Http2Codec(self._sink, meaning="http", target=self._target)
        else:
            self._chosen = Http1Codec(self._sink, target=self._target)
        self.pending = self._chosen.pending
        first, early, self._first, self._early = self._first, self._early, b"", b""
        if early:
            self._chosen.server(early)
        if first:
            self._chosen.client(first)

    def server_ended(self) -> None:
        """The server has closed its direction."""
        if self._chosen is not None:
            self._chosen.server_ended()

    def client_boundary(self) -> int:
        return self._chosen.client_boundary() if self._chosen is not None else 0

    def server_boundary(self) -> int:
        return self._chosen.server_boundary() if self._chosen is not None else 0

    def refuse(self, ident: int, held: bytes) -> None:
        """An edge is no store."""

    def multiplexer(self) -> Multiplexer | None:
        """That of the protocol that is spoken."""
        return self._chosen.multiplexer() if isinstance(self._chosen, Http2Codec) else None


def request_line(data: Data) -> str:
    """`GET /version`, without the query, from the beginning of a request; empty for anything else."""
    words = bytes(data[:_LONGEST_FIRST_LINE]).partition(b"\r\n")[0].split(b" ")
    if len(words) < 2 or not words[0].isalpha() or not words[0].isupper() or not words[1].startswith(b"/"):
        return ""
    return f"{words[0].decode()} {words[1].partition(b'?')[0].decode(errors='backslashreplace')}"
