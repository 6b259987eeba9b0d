"""Boundaries of requests over HTTP, and TLS that the relay ends and begins again."""

import asyncio
import contextlib
import ssl
from typing import Any

import pytest
import trustme

from harness.wire.effects import Effect
from harness.wire.links import Tls
from harness.wire.triggers import Trigger

from .bench import (
    HOST,
    bench,
    everything,
    until,
)

HTTP_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Edge:
    """An HTTP/1.1 server that says yes to requests without a body."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.got.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(HTTP_OK)
        writer.close()


@pytest.mark.parametrize("side", ["before", "after"])
async def test_http_is_stopped_at_the_boundary(side: Any) -> None:
    edge = Edge()
    async with bench(edge, "http") as on:
        client = await on.connect()
        armed = on.relay.arm(Trigger("dcm", side, everything))
        client.send(b"GET /a HTTP/1.1\r\n\r\n")
        assert await client.reader.readexactly(len(HTTP_OK)) == HTTP_OK
        client.send(b"DELETE /b HTTP/1.1\r\n\r\n")
        hit = await asyncio.wait_for(armed.hit, 5)
        assert hit.effect == Effect("edge", "DELETE", "mongo", (("path", "/b"),))
        assert await client.hears_nothing()
        assert len(edge.got) == (1 if side == "before" else 2)
        on.relay.thaw("dcm")
        assert await client.reader.readexactly(len(HTTP_OK)) == HTTP_OK


@pytest.mark.parametrize("upstream", [False, True])
async def test_tls_is_ended_and_begun_again(upstream: bool) -> None:
    authority = trustme.CA()
    contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2)]
    for context in contexts:
        authority.issue_cert(HOST).configure_cert(context)
    outer, inner = contexts
    inner.set_alpn_protocols(["http/1.1"])
    clients = [ssl.create_default_context() for _ in range(2)]
    for context in clients:
        authority.configure_trust(context)
    clients[0].set_alpn_protocols(["http/1.1"])
    tls = Tls(outer, clients[1] if upstream else None)
    options = {"ssl": inner} if upstream else {}
    async with bench(Edge(), "http", tls, **options) as on:
        client = await on.connect(ssl=clients[0])
        for _ in range(2):
            client.send(b"PUT /b HTTP/1.1\r\n\r\n")
            assert await client.reader.readexactly(len(HTTP_OK)) == HTTP_OK
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        assert [seen.ok for seen in on.relay.history] == [True, True]
        assert on.relay.problems == []


async def test_a_client_that_does_not_trust_us_is_a_problem() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(HOST).configure_cert(context)
    async with bench(Edge(), "http", Tls(context)) as on:
        with pytest.raises(ssl.SSLError):
            await on.connect(ssl=ssl.create_default_context())
        await until(lambda: len(on.relay.problems) == 1)
        assert on.relay.problems[0].startswith("link dcm -> mongo: no TLS with the client: ")
