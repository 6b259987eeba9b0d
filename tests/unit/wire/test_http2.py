"""The decoder of HTTP/2 with gRPC on top, on streams that the h2 library makes."""

import gzip
import itertools
import struct
from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.wire.decoding import DecodeError
from harness.wire.effects import Effect, digest
from harness.wire.grpc import Messages, protobuf_fields
from harness.wire.http2 import Http2Codec, Meaning


class Log:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.spans: list[tuple[int, int]] = []
        self.begun: list[int] = []
        self.replies: list[tuple[int, bool | None]] = []
        self.idles = 0

    def request(self, ident: int, effect: Effect, start: int, end: int, *, droppable: bool) -> bool:
        self.effects.append(effect)
        self.spans.append((start, end))
        return False

    def reply_begins(self, ident: int, start: int) -> bool:
        self.begun.append(ident)
        return False

    def reply(self, ident: int, *, ok: bool | None) -> None:
        self.replies.append((ident, ok))

    def idle(self) -> None:
        self.idles += 1


class Wire:
    """Two h2 state machines that talk to each other; what each of them said is kept."""

    def __init__(self) -> None:
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.up = self.down = b""
        self.client.initiate_connection()
        self.server.initiate_connection()
        self.flow()

    def flow(self) -> None:
        up, down = self.client.data_to_send(), self.server.data_to_send()
        self.up += up
        self.down += down
        if up:
            self.server.receive_data(up)
        if down:
            self.client.receive_data(down)

    def ask(self, path: str, *pieces: bytes, method: str = "POST", end: bool = True, **headers: str) -> int:
        stream = self.client.get_next_available_stream_id()
        head = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "x")]
        head += [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.client.send_headers(stream, head, end_stream=end and not pieces)
        for number, piece in enumerate(pieces):
            self.client.send_data(
                stream, piece, end_stream=end and number == len(pieces) - 1, pad_length=number or None
            )
        self.flow()
        return stream

    def answer(self, stream: int, *messages: bytes, status: str = "0", end: bool = True) -> None:
        self.server.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        for message in messages:
            self.server.send_data(stream, message)
        if end:
            self.server.send_headers(stream, [("grpc-status", status)], end_stream=True)
        self.flow()

    def decode(self, meaning: Meaning = "etcd", streams: frozenset[str] = frozenset()) -> tuple[Log, Http2Codec]:
        log = Log()
        codec = Http2Codec(log, meaning=meaning, target="edge1", streams=streams)
        codec.client(self.up)
        codec.server(self.down)
        return log, codec


def grpc(message: bytes, flag: int = 0) -> bytes:
    return struct.pack(">BI", flag, len(message)) + message


def field(number: int, value: bytes) -> bytes:
    assert len(value) < 128
    return bytes([number << 3 | 2, len(value)]) + value


PUT = field(1, b"/context/1/") + field(2, b"value")


def test_put_delete_and_range() -> None:
    wire = Wire()
    wire.ask("/etcdserverpb.KV/Put", grpc(PUT))
    wire.ask("/etcdserverpb.KV/DeleteRange", grpc(field(1, b"/a\xff\x01") + field(2, b"/b\0")))
    wire.ask("/etcdserverpb.KV/Range", grpc(field(1, b"/a")))
    log, codec = wire.decode()
    assert log.effects == [
        Effect("etcd", "Put", "", (("key", "/context/1/"),)),
        Effect("etcd", "DeleteRange", "", (("key", "/a\\xff\\x01"), ("range_end", "/b\\x00"))),
    ]
    assert codec.pending == {1: True, 3: True, 5: False}


def test_a_put_tells_what_it_writes_apart_and_is_the_same_effect_all_the_same() -> None:
    wire = Wire()
    for request in (PUT, field(1, b"/context/1/") + field(2, b"other"), field(1, b"/context/1/")):
        wire.ask("/etcdserverpb.KV/Put", grpc(request))
    log, _ = wire.decode()
    assert [one.value for one in log.effects] == [digest(b"value"), digest(b"other"), digest(b"")]
    assert len({*log.effects}) == 1


def test_a_transaction_is_an_effect_when_it_may_write() -> None:
    reads = field(2, field(1, field(1, b"/r")))
    nested = field(4, field(3, field(2, field(1, b"/nested"))))
    writes = field(1, b"compare") + field(2, field(2, PUT)) + field(3, field(3, field(1, b"/gone"))) + field(2, nested)
    wire = Wire()
    wire.ask("/etcdserverpb.KV/Txn", grpc(reads))
    wire.ask("/etcdserverpb.KV/Txn", grpc(writes))
    log, _ = wire.decode()
    keys = (("key", "/context/1/"), ("key", "/gone"), ("key", "/nested"))
    assert log.effects == [Effect("etcd", "Txn", "", keys)]


def test_leases_are_effects_and_streams_do_not_count_as_under_way() -> None:
    wire = Wire()
    wire.ask("/etcdserverpb.Lease/LeaseGrant", grpc(b"\x08\x05"))
    wire.ask("/etcdserverpb.Lease/LeaseKeepAlive", grpc(b"\x08\x05"), end=False)
    wire.ask("/etcdserverpb.Watch/Watch", grpc(field(1, field(1, b"/a"))), end=False)
    log, codec = wire.decode()
    assert [effect.op for effect in log.effects] == ["LeaseGrant"]
    assert codec.pending == {1: True}


def test_messages_in_pieces_and_compressed() -> None:
    wire = Wire()
    message = grpc(gzip.compress(PUT), 1)
    wire.ask("/etcdserverpb.KV/Put", message[:3], message[3:9], message[9:], grpc_encoding="gzip")
    log, codec = wire.decode()
    assert log.effects == [Effect("etcd", "Put", "", (("key", "/context/1/"),))]
    start, end = log.spans[0]
    assert wire.up[start + 3] == 0  # the last DATA frame
    assert end == len(wire.up) == codec.client_boundary()


def test_the_reply_tells_how_it_went() -> None:
    wire = Wire()
    first, second, third = (wire.ask("/etcdserverpb.KV/Put", grpc(PUT)) for _ in range(3))
    wire.answer(second, status="14")
    wire.answer(first, grpc(b"reply"))
    wire.server.reset_stream(third)
    wire.flow()
    log, codec = wire.decode()
    assert log.replies == [(second, False), (first, True), (third, False)]
    assert log.begun == [second, first, third]
    assert (codec.pending, log.idles) == ({}, 1)


def test_a_reset_by_the_client_ends_it() -> None:
    wire = Wire()
    stream = wire.ask("/etcdserverpb.KV/Put", grpc(PUT))
    wire.client.reset_stream(stream)
    wire.flow()
    log, codec = wire.decode()
    assert (log.replies, codec.pending) == ([(stream, None)], {})


def test_services() -> None:
    wire = Wire()
    install = wire.ask("/installapp.Installapp/InstallApp", grpc(b"\x0a\x01x"))
    alert = wire.ask("/readynotify.ReadyNotify/Alert", grpc(b""))
    other = wire.ask("/some.Service/Stream", grpc(b""))
    wire.ask("/grpc.health.v1.Health/Check", grpc(b""))
    wire.answer(other, grpc(b"first"), end=False)
    log, codec = wire.decode("grpc", frozenset({"/readynotify.ReadyNotify/Alert"}))
    assert log.effects[:2] == [
        Effect("grpc", "InstallApp", "installapp.Installapp", ()),
        Effect("grpc", "Alert", "readynotify.ReadyNotify", ()),
    ]
    assert len(log.effects) == 3
    assert (install in codec.pending, alert in codec.pending, other in codec.pending) == (True, False, False)


def test_plain_http() -> None:
    wire = Wire()
    wire.ask("/api/v1/pods?watch=true", method="GET")
    stream = wire.ask("/api/v1/x?dryRun=All", b"{", b"}", method="PATCH")
    wire.ask("/api/v1/y", method="DELETE")
    wire.answer(stream, b"body", end=False)
    wire.server.end_stream(stream)
    wire.flow()
    log, codec = wire.decode("http")
    assert log.effects == [
        Effect("edge", "PATCH", "edge1", (("path", "/api/v1/x"),)),
        Effect("edge", "DELETE", "edge1", (("path", "/api/v1/y"),)),
    ]
    assert (log.replies, list(codec.pending)) == ([(stream, True)], [5])


def test_of_what_is_created_on_an_edge_the_body_tells_the_name() -> None:
    wire = Wire()
    wire.ask("/api/v1/x", b'{"metadata": {"na', b'me": "r1-cm"}}')
    wire.ask("/api/v1/x", b"protobuf")
    wire.ask("/api/v1/x/y", b'{"metadata": {"name": "y"}}', method="PUT")
    log, _ = wire.decode("http")
    assert [one.value for one in log.effects] == ["r1-cm", "", ""]


def test_a_long_header_block_is_continued() -> None:
    wire = Wire()
    long: dict[str, Any] = {f"h{i}": "long" * 900 for i in range(8)}
    wire.ask("/etcdserverpb.KV/Put", grpc(PUT), **long)
    assert any(kind == 9 for kind in frame_types(wire.up))
    assert len(wire.decode()[0].effects) == 1


def frame_types(data: bytes) -> list[int]:
    at, types = 24, []
    while at < len(data):
        types.append(data[at + 3])
        at += 9 + int.from_bytes(data[at : at + 3], "big")
    return types


def test_what_was_given_up_can_be_left_out() -> None:
    wire = Wire()
    begin = len(wire.up)
    held = wire.ask("/etcdserverpb.KV/Put", grpc(PUT))
    wire.ask("/etcdserverpb.KV/Put", grpc(PUT))
    codec = wire.decode()[1]
    assert not codec.given_up(held, b"")
    wire.client.reset_stream(held)
    wire.flow()
    rest = wire.up[begin:]
    assert codec.given_up(held, rest)
    kept = codec.without(held, rest)
    assert frame_types(b"x" * 24 + rest).count(0) - frame_types(b"x" * 24 + kept).count(0) == 1
    assert frame_types(b"x" * 24 + kept).count(3) == 1
    assert codec.multiplexer() is codec


@pytest.mark.parametrize(
    "up, down",
    [
        (b"GET / HTTP/1.1\r\n", b""),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\1\0\0\0\0\1", b""),
        (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\1\1\4\0\0\0\1\xff", b""),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\0\0\0\0\0\0\0", b""),
    ],
)
def test_nonsense_is_refused(up: bytes, down: bytes) -> None:
    codec = Http2Codec(Log(), meaning="etcd")
    with pytest.raises(DecodeError):
        (codec.client if up else codec.server)(up or down)


@pytest.mark.parametrize("bad", [b"\x0a\x05abc", b"\xff" * 11, b"\x0b"])
def test_bad_protobuf_is_refused(bad: bytes) -> None:
    with pytest.raises(DecodeError):
        list(protobuf_fields(bad))


@given(st.lists(st.binary(max_size=40), max_size=6), st.lists(st.integers(0, 300), max_size=20), st.booleans())
def test_messages_in_any_split(messages: list[bytes], cuts: list[int], keep: bool) -> None:
    data = b"".join(map(grpc, messages))
    assembler = Messages(keep=keep)
    found = [message for piece in cut(data, cuts) for message in assembler.feed(piece, "")]
    assert found == (messages if keep else [b""] * len(messages))


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def conversation() -> Wire:
    wire = Wire()
    asked = {"Put": PUT, "Range": PUT, "Txn": field(2, field(2, PUT)), "DeleteRange": PUT}
    streams = [wire.ask(f"/etcdserverpb.KV/{op}", grpc(message)) for op, message in asked.items()]
    for stream in reversed(streams):
        wire.answer(stream, grpc(b"x" * 300))
    return wire


@given(st.lists(st.integers(0, 5000), max_size=30), st.lists(st.integers(0, 5000), max_size=30))
def test_any_split_of_the_stream_gives_the_same(up: list[int], down: list[int]) -> None:
    wire = conversation()
    whole, _ = wire.decode()
    split = Log()
    codec = Http2Codec(split, meaning="etcd")
    feeds: list[tuple[Callable[[bytes], None], list[bytes]]] = [
        (codec.client, cut(wire.up, up)),
        (codec.server, cut(wire.down, down)),
    ]
    for feed, pieces in feeds:
        for piece in pieces:
            feed(piece)
    assert (split.effects, split.spans, split.replies) == (whole.effects, whole.spans, whole.replies)
    assert (codec.client_boundary(), codec.server_boundary()) == (len(wire.up), len(wire.down))
    assert len(split.effects) == len(split.replies) == 3
    assert codec.pending == {}
