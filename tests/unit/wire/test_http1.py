"""The decoder of HTTP/1.1, and the choice between it and HTTP/2."""

import itertools

import h2.config
import h2.connection
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.wire.decoding import DecodeError
from harness.wire.effects import Effect
from harness.wire.http1 import Http1Codec, HttpCodec


class Log:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.spans: list[tuple[int, int]] = []
        self.replies: list[tuple[int, bool | None]] = []
        self.idles = 0

    def request(self, ident: int, effect: Effect, start: int, end: int, *, droppable: bool) -> bool:
        self.effects.append(effect)
        self.spans.append((start, end))
        return False

    def reply_begins(self, ident: int, start: int) -> bool:
        return False

    def reply(self, ident: int, *, ok: bool | None) -> None:
        self.replies.append((ident, ok))

    def idle(self) -> None:
        self.idles += 1


GET = b"GET /api/v1/pods HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /api/v1/x?dryRun=All HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n{\r\n}"
PUT = (
    b"PUT /y HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
)
DELETE = b"DELETE /z HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CREATED = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
)
CONFLICT = b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n"
NONE = b"HTTP/1.1 204 No Content\r\n\r\n"
REQUESTS, REPLIES = [GET, POST, PUT, DELETE], [OK, CREATED, CONFLICT, NONE]


def edge(op: str, path: str) -> Effect:
    return Effect("edge", op, "edge1", (("path", path),))


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(st.lists(st.integers(0, 5000), max_size=30), st.lists(st.integers(0, 5000), max_size=30))
def test_a_conversation_in_any_split(up: list[int], down: list[int]) -> None:
    log = Log()
    codec = HttpCodec(log, target="edge1")
    for piece in cut(b"".join(REQUESTS), up):
        codec.client(piece)
    assert list(codec.pending) == [1, 2, 3, 4]
    for piece in cut(b"".join(REPLIES), down):
        codec.server(memoryview(piece))
    assert log.effects == [edge("POST", "/api/v1/x"), edge("PUT", "/y"), edge("DELETE", "/z")]
    ends = [sum(map(len, REQUESTS[: n + 1])) for n in range(4)]
    assert log.spans == list(itertools.pairwise(ends))
    assert log.replies == [(2, True), (3, False), (4, True)]
    assert (codec.pending, log.idles) == ({}, 1)
    assert codec.client_boundary() == ends[-1]
    assert codec.server_boundary() == sum(map(len, REPLIES))


def test_a_request_that_is_an_effect_is_decided_as_a_whole() -> None:
    codec = Http1Codec(Log(), target="edge1")
    codec.client(GET + POST[:-1])
    assert codec.client_boundary() == len(GET)
    codec.client(POST[-1:])
    assert codec.client_boundary() == len(GET + POST)


@pytest.mark.parametrize(
    "body, name",
    [
        (b'{"kind": "ConfigMap", "metadata": {"name": "r1-cm"}}', "r1-cm"),
        (b'{"metadata": {"generateName": "r1-"}}', ""),
        (b'{"metadata": {"name": 7}}', ""),
        (b"[]", ""),
        (b"k8s\0\n", ""),
        (b'{"metadata": {"name": "long", "x": "' + b"x" * 2_000_000 + b'"}}', ""),
    ],
)
def test_of_what_is_created_the_body_tells_the_name(body: bytes, name: str) -> None:
    log = Log()
    codec = Http1Codec(log, target="edge1")
    request = b"POST /api/v1/x HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    for piece in (request[:70], request[70:], GET, POST):
        codec.client(piece)
    assert [one.value for one in log.effects] == [name, ""]


def test_who_expects_100_continue_gets_its_head_through() -> None:
    head = b"PUT /y HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    log = Log()
    codec = Http1Codec(log, target="edge1")
    codec.client(head)
    assert codec.client_boundary() == len(head)
    codec.client(b"abc")
    assert log.spans == [(len(head), len(head) + 3)]


def test_a_watch_does_not_count_as_under_way() -> None:
    codec = Http1Codec(Log(), target="edge1")
    codec.client(GET.replace(b"pods", b"pods?allowWatchBookmarks=true&watch=true"))
    assert codec.pending == {}
    codec.server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nevent\r\n")
    codec.client(GET)
    assert list(codec.pending) == [2]


def test_a_reply_without_a_length_ends_with_the_connection() -> None:
    log = Log()
    codec = Http1Codec(log, target="edge1")
    codec.client(DELETE)
    codec.server(b"HTTP/1.0 200 OK\r\n\r\nsome")
    assert log.replies == []
    codec.server_ended()
    assert log.replies == [(1, True)]


def test_after_an_upgrade_nothing_is_decoded() -> None:
    codec = Http1Codec(Log(), target="edge1")
    codec.client(GET)
    codec.server(b"HTTP/1.1 101 Switching Protocols\r\n\r\n\0\1\2")
    codec.client(b"\0\0\0" * 50)
    assert codec.pending == {}
    assert codec.client_boundary() == len(GET) + 150


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01 no TLS here\r\n\r\n",
        b"GET /\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\nno header\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
    ],
)
def test_nonsense_is_refused(nonsense: bytes) -> None:
    with pytest.raises(DecodeError):
        HttpCodec(Log(), target="edge1").client(nonsense)


def test_a_reply_that_is_none_is_refused() -> None:
    codec = HttpCodec(Log(), target="edge1")
    codec.client(GET)
    with pytest.raises(DecodeError):
        codec.server(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


def http2(method: bytes, path: bytes) -> tuple[bytes, bytes, bytes]:
    """What the server says first, all of the client, and the server's answer."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    server.initiate_connection()
    first = server.data_to_send()
    client.initiate_connection()
    headers = [(b":method", method), (b":path", path), (b":scheme", b"https"), (b":authority", b"x")]
    client.send_headers(1, headers, end_stream=True)
    up = client.data_to_send()
    server.receive_data(up)
    server.send_headers(1, [(b":status", b"200")], end_stream=True)
    return first, up, server.data_to_send()


@given(early=st.lists(st.integers(min_value=0), max_size=4), up=st.lists(st.integers(min_value=0), max_size=4))
def test_a_server_of_http2_may_speak_before_its_client(early: list[int], up: list[int]) -> None:
    first, said, answer = http2(b"DELETE", b"/z")
    log = Log()
    codec = HttpCodec(log, target="edge1")
    for piece in cut(first, early):
        codec.server(piece)
    for piece in cut(said, up):
        codec.client(piece)
    codec.server(answer)
    assert log.effects == [edge("DELETE", "/z")]
    assert log.replies == [(1, True)]
    assert (codec.client_boundary(), codec.server_boundary()) == (len(said), len(first) + len(answer))


def test_the_pieces_of_both_beginnings_may_come_in_turns() -> None:
    first, said, answer = http2(b"DELETE", b"/z")
    log = Log()
    codec = HttpCodec(log, target="edge1")
    codec.client(said[:2])
    codec.server(first[:3])
    codec.client(said[2:])
    codec.server(first[3:] + answer)
    assert log.effects == [edge("DELETE", "/z")]
    assert log.replies == [(1, True)]


@pytest.mark.parametrize("early", [OK, b"SSH-2.0-OpenSSH_9.2\r\n", b"\0\0\0\7\0\0\0\0\0"])
def test_a_server_that_speaks_first_in_another_way_is_refused(early: bytes) -> None:
    with pytest.raises(DecodeError):
        HttpCodec(Log(), target="edge1").server(early)


def test_a_client_of_http1_does_not_fit_a_server_that_spoke_first() -> None:
    codec = HttpCodec(Log(), target="edge1")
    codec.server(b"\0\0")
    with pytest.raises(DecodeError):
        codec.client(GET)
