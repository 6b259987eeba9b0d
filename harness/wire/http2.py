"""Decoder of HTTP/2: frames, header blocks, streams; gRPC on top where the link says so.

The state machine of a full implementation (`h2`) would refuse or answer what two healthy peers do; a listener only has
to follow.
"""

from collections.abc import Mapping
from struct import Struct
from typing import Literal

from harness.wire.created import Body
from harness.wire.decoding import Data, DecodeError, Half, Multiplexer, Refusal, Sink
from harness.wire.effects import Effect
from harness.wire.grpc import ETCD_STREAMS, Messages, etcd_effect, etcd_read, etcd_wants_content, service_effect
from harness.wire.header_blocks import LONGEST_BLOCK, HeaderBlocks

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = 4
"""Type of the frame with which each side of HTTP/2 begins."""

_DATA, _HEADERS, _RST_STREAM, _PUSH_PROMISE, _CONTINUATION = 0, 1, 3, 5, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_HEAD = Struct(">BHBBI")  # of a frame: length in 24 bits, type, flags, stream
MUTATING = frozenset({"POST", "PUT", "PATCH", "DELETE"})

Meaning = Literal["etcd", "grpc", "http"]

_CANCEL = 8
# etcd's own words. UNAVAILABLE is what a client meets that is cut off from a quorum. Clients repeat a read that is
# refused so by themselves, and their callers would see nothing of it, but not one that is refused for overload.
_REFUSED_WRITE = ("14", "etcdserver: request timed out")
_REFUSED_READ = ("8", "etcdserver: too many requests")


class _Stream:
    """One request and its reply."""

    __slots__ = (
        "answering",
        "content",
        "effect",
        "encoding",
        "messages",
        "method",
        "opened",
        "path",
        "replies",
        "told",
    )

    def __init__(self, *, method: str, path: str, encoding: str, keep: bool) -> None:
        self.method = method
        self.path = path
        self.encoding = encoding
        self.content = Body()  # of a request to an edge that creates something
        self.messages = Messages(keep=keep)
        self.replies = Messages(keep=False)
        self.opened = False  # the first request message was complete
        self.effect: Effect | None = None
        self.answering = False  # the reply has begun
        self.told = False  # status of the reply: ok or not


class _Half(Half):
    """One direction: a header block in the making, and the compression's state."""

    __slots__ = ("block", "block_flags", "block_start", "block_stream", "headers", "started")

    def __init__(self) -> None:
        super().__init__()
        self.block: bytearray | None = None
        self.block_flags = 0
        self.block_start = 0
        self.block_stream = 0
        self.headers = HeaderBlocks()
        self.started = False


class Http2Codec:
    """Decoder of one HTTP/2 connection (`harness.wire.decoding.Codec`).

    meaning: what the requests are: etcd's, gRPC to a service, or plain HTTP.
    target:  of the effects of plain HTTP
    streams: paths whose replies come when they come: they do not count as under way
    """

    def __init__(
        self, sink: Sink, *, meaning: Meaning, target: str = "", streams: frozenset[str] = frozenset()
    ) -> None:
        self.pending: dict[int, bool] = {}
        self.reads = False
        self._sink = sink
        self._meaning = meaning
        self._target = target
        self._endless = streams | ETCD_STREAMS
        self._streams: dict[int, _Stream] = {}
        self._newest = 0
        self._greeted = False  # the client's preface was there
        self._up = _Half()
        self._down = _Half()

    def client(self, data: Data) -> None:
        """Bytes from the client, the connection's preface first."""
        half = self._up
        half.buffer += data
        if not self._greeted:
            found = bytes(half.buffer[: len(PREFACE)])
            if not PREFACE.startswith(found):
                raise DecodeError("the client does not begin with the preface of HTTP/2")
            if len(found) < len(PREFACE):
                return
            del half.buffer[: len(PREFACE)]
            half.offset += len(PREFACE)
            self._greeted = True
        self._frames(half, from_client=True)

    def server(self, data: Data) -> None:
        """Bytes from the server."""
        self._down.buffer += data
        self._frames(self._down, from_client=False)

    def server_ended(self) -> None:
        """Nothing is complete by the end of the connection."""

    def client_boundary(self) -> int:
        return self._up.block_start if self._up.block is not None else self._up.offset

    def server_boundary(self) -> int:
        return self._down.block_start if self._down.block is not None else self._down.offset

    def multiplexer(self) -> Multiplexer:
        """Streams can be reset one by one."""
        return self

    def given_up(self, ident: int, more: bytes) -> bool:
        """Whether an RST_STREAM of the stream is in what was not decoded yet."""
        data = bytes(self._up.buffer) + more
        return any(kind == _RST_STREAM and stream == ident for _, _, kind, stream in _split(data))

    def without(self, ident: int, held: bytes) -> bytes:
        """Leaves out the stream's DATA frames. The connection's window stays smaller by their size for the client."""
        kept = bytearray()
        end = 0
        for start, end, kind, stream in _split(held):
            if kind != _DATA or stream != ident:
                kept += held[start:end]
        return bytes(kept) + held[end:]

    def refuse(self, ident: int, held: bytes) -> Refusal | None:
        """As etcd does, by trailers alone; the server is told that the stream is given up. Other services: not."""
        stream = self._streams.get(ident)
        if stream is None or self._meaning != "etcd" or stream.answering:
            return None
        del self._streams[ident]
        kept = self.without(ident, held) + _frame(_RST_STREAM, 0, ident, _CANCEL.to_bytes(4, "big"))
        self._no_longer_pending(ident)
        status, text = _REFUSED_WRITE if stream.effect is not None else _REFUSED_READ
        # Literals that are not to be indexed leave the compression's state as it is on both sides.
        block = b"\x88" + b"".join(
            _literal(name, value)
            for name, value in (("content-type", "application/grpc"), ("grpc-status", status), ("grpc-message", text))
        )
        return Refusal(_frame(_HEADERS, _END_HEADERS | _END_STREAM, ident, block), kept)

    def _frames(self, half: _Half, *, from_client: bool) -> None:
        buffer = half.buffer
        at, size = 0, len(buffer)
        while size - at >= 9:
            high, low, kind, flags, stream = _HEAD.unpack_from(buffer, at)
            length, stream = high << 16 | low, stream & 0x7FFFFFFF
            self._check(half, kind, stream)
            if size - at < 9 + length:
                break
            payload = bytes(buffer[at + 9 : at + 9 + length])
            start = half.offset
            half.offset += 9 + length
            at += 9 + length
            if self._frame(half, kind, flags, stream, payload, start, from_client=from_client):
                break
        if at:
            del buffer[:at]

    def _check(self, half: _Half, kind: int, stream: int) -> None:
        if not half.started:
            if kind != SETTINGS:
                raise DecodeError("the first frame of HTTP/2 is not SETTINGS")
            half.started = True
        if half.block is not None and (kind != _CONTINUATION or stream != half.block_stream):
            raise DecodeError("a header block of HTTP/2 is interrupted by another frame")
        if kind in (_DATA, _HEADERS, _RST_STREAM, _CONTINUATION) and stream == 0:
            raise DecodeError(f"an HTTP/2 frame of type {kind} belongs to no stream")
        if kind == _PUSH_PROMISE:
            raise DecodeError("the server pushes, which is not followed")

    def _frame(
        self, half: _Half, kind: int, flags: int, stream: int, payload: bytes, start: int, *, from_client: bool
    ) -> bool:
        if kind == _DATA:
            content = _unpadded(payload) if flags & _PADDED else payload
            if from_client:
                return self._request_data(stream, content, flags & _END_STREAM, start)
            return self._reply_data(stream, content, flags & _END_STREAM, start)
        if kind == _HEADERS:
            block = _unpadded(payload) if flags & _PADDED else payload
            half.block = bytearray(block[5:] if flags & _PRIORITY else block)
            half.block_flags, half.block_start, half.block_stream = flags, start, stream
        elif kind == _CONTINUATION:
            if half.block is None:
                raise DecodeError("an HTTP/2 CONTINUATION continues nothing")
            half.block += payload
            if len(half.block) > LONGEST_BLOCK:
                raise DecodeError("a header block of HTTP/2 is too long")
        elif kind == _RST_STREAM:
            return self._reset(stream, start, from_client=from_client)
        elif kind == SETTINGS and not flags & _ACK:
            self._settings(payload, from_client=from_client)
        if kind in (_HEADERS, _CONTINUATION) and flags & _END_HEADERS:
            return self._block(half, stream, from_client=from_client)
        return False

    def _block(self, half: _Half, stream: int, *, from_client: bool) -> bool:
        headers = half.headers.read(bytes(half.block or b""))
        half.block = None
        ended = half.block_flags & _END_STREAM
        if from_client:
            return self._request_headers(stream, headers, ended, half.block_start)
        return self._reply_headers(stream, headers, ended, half.block_start)

    def _request_headers(self, ident: int, headers: Mapping[str, str], ended: int, start: int) -> bool:
        stream = self._streams.get(ident)
        if stream is None:
            if ident <= self._newest:
                return False  # trailers of a request that was answered early
            self._newest = ident
            path = headers.get(":path", "")
            stream = self._streams[ident] = _Stream(
                method=headers.get(":method", ""),
                path=path,
                encoding=headers.get("grpc-encoding", ""),
                keep=self._meaning == "etcd" and etcd_wants_content(path, reads=self.reads),
            )
            if path not in self._endless and not (self._meaning == "http" and is_watch(path)):
                self.pending[ident] = False
        return self._request_ends(ident, stream, start, droppable=False) if ended else False

    def _request_data(self, ident: int, content: bytes, ended: int, start: int) -> bool:
        stream = self._streams.get(ident)
        if stream is None:
            return False
        if self._meaning != "http" and not stream.opened:
            messages = stream.messages.feed(content, stream.encoding)
            if messages:
                stream.opened = True
                etcd = self._meaning == "etcd"
                stream.effect = etcd_effect(stream.path, messages[0]) if etcd else service_effect(stream.path)
                read = etcd_read(stream.path, messages[0]) if etcd and self.reads and messages[0] else None
                if read is not None:
                    return self._sink.request(ident, read, start, self._up.offset, droppable=True)
                return self._is_effect(ident, stream, start, droppable=True)
        if self._meaning == "http" and stream.method == "POST":
            stream.content.feed(content)
        return self._request_ends(ident, stream, start, droppable=True) if ended else False

    def _request_ends(self, ident: int, stream: _Stream, start: int, *, droppable: bool) -> bool:
        if self._meaning != "http" or stream.method not in MUTATING or stream.effect is not None:
            return False
        path = stream.path.partition("?")[0]
        name = stream.content.name() if stream.method == "POST" else ""
        stream.effect = Effect("edge", stream.method, self._target, (("path", path),), value=name)
        return self._is_effect(ident, stream, start, droppable=droppable)

    def _is_effect(self, ident: int, stream: _Stream, start: int, *, droppable: bool) -> bool:
        if stream.effect is None:
            return False
        if ident in self.pending:
            self.pending[ident] = True
        return self._sink.request(ident, stream.effect, start, self._up.offset, droppable=droppable)

    def _reply_headers(self, ident: int, headers: Mapping[str, str], ended: int, start: int) -> bool:
        stream = self._streams.get(ident)
        if stream is None:
            return False
        status = headers.get(":status", "")
        if status.startswith("1"):
            return False
        hold = self._answers(ident, stream, start)
        if self._meaning == "http":
            stream.told = stream.told or (status.isdigit() and int(status) < 400)
        elif "grpc-status" in headers:
            stream.told = headers["grpc-status"] == "0"
        if ended:
            self._reply_ends(ident, stream)
        return hold

    def _reply_data(self, ident: int, content: bytes, ended: int, start: int) -> bool:
        stream = self._streams.get(ident)
        if stream is None:
            return False
        hold = self._answers(ident, stream, start)
        # What still comes after the first message is either the trailers of a unary call, or a stream.
        if self._meaning != "http" and ident in self.pending and stream.replies.feed(content, ""):
            self._no_longer_pending(ident)
        if ended:
            self._reply_ends(ident, stream)
        return hold

    def _answers(self, ident: int, stream: _Stream, start: int) -> bool:
        if stream.answering:
            return False
        stream.answering = True
        return stream.effect is not None and self._sink.reply_begins(ident, start)

    def _reply_ends(self, ident: int, stream: _Stream) -> None:
        del self._streams[ident]
        if stream.effect is not None:
            self._sink.reply(ident, ok=stream.told)
        self._no_longer_pending(ident)

    def _reset(self, ident: int, start: int, *, from_client: bool) -> bool:
        stream = self._streams.pop(ident, None)
        if stream is None:
            return False
        hold = False
        if stream.effect is not None:
            hold = not from_client and self._answers(ident, stream, start)
            self._sink.reply(ident, ok=None if from_client else False)
        self._no_longer_pending(ident)
        return hold

    def _no_longer_pending(self, ident: int) -> None:
        if self.pending.pop(ident, None) is not None and not self.pending:
            self._sink.idle()

    def _settings(self, payload: bytes, *, from_client: bool) -> None:
        # A side's table size limits what the other side's encoder may use.
        other = self._down if from_client else self._up
        for at in range(0, len(payload) - 5, 6):
            if int.from_bytes(payload[at : at + 2], "big") == 1:
                size = int.from_bytes(payload[at + 2 : at + 6], "big")
                other.headers.allow_table(size)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(name: str, value: str) -> bytes:
    """A header field without indexing, both strings plain and shorter than 127 bytes."""
    assert len(name) < 127
    assert len(value) < 127
    return b"\x00" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


def is_watch(path: str) -> bool:
    """Whether a request for this path of a Kubernetes API is a watch."""
    query = path.partition("?")[2]
    return any(part in ("watch=true", "watch=1", "watch", "follow=true") for part in query.split("&"))


def _unpadded(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise DecodeError("an HTTP/2 frame is padded beyond its length")
    return payload[1 : len(payload) - payload[0]]


def _split(data: bytes) -> list[tuple[int, int, int, int]]:
    """Start, end, type and stream of the whole frames in `data`, which begins with one."""
    found = []
    at = 0
    while len(data) - at >= 9:
        end = at + 9 + int.from_bytes(data[at : at + 3], "big")
        if end > len(data):
            break
        found.append((at, end, data[at + 3], int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFFFFFF))
        at = end
    return found


def opens_stream(data: bytes) -> bool:
    """Whether a request begins in what a client sent, which begins with a frame."""
    return any(kind == _HEADERS and stream % 2 for _, _, kind, stream in _split(data))
