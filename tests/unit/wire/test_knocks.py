"""What the relay knows of tries on a broken link, and links on which packets vanish."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from harness.wire.conditions import BlackHole, Condition, Healthy, Reset
from harness.wire.http2 import opens_stream
from harness.wire.knocks import Knock
from harness.wire.links import Link
from harness.wire.relay import Relay

HOST = "127.0.0.1"
VERSION = b"GET /version?timeout=32s HTTP/1.1\r\nHost: edge\r\n\r\n"
SOON = 0.05  # seconds in which something that must not happen would have happened


@contextlib.asynccontextmanager
async def edge() -> AsyncIterator[tuple[Relay, Link]]:
    """A relay before an edge that says yes to every request."""

    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async with await asyncio.start_server(serve, HOST, 0) as listening, Relay() as relay:
        link = Link("rsync", "p1+c1", "http", (HOST, 0), (HOST, listening.sockets[0].getsockname()[1]))
        await relay.open(link)
        try:
            yield relay, link
        finally:
            await relay.close()
            if serving:
                assert not (await asyncio.wait(serving, timeout=5))[1]


def seen(relay: Relay) -> list[tuple[str, str]]:
    return [(knock.kind, knock.asked) for knock in relay.knocks]


async def until_asked(relay: Relay, number: int) -> None:
    """Until so many knocks are known, all with what was asked."""
    while len([knock for knock in relay.knocks if knock.asked]) < number:
        await relay.bell.wait(1)


async def ask(relay: Relay, link: Link, request: bytes = VERSION) -> bytes:
    """The answer to one request on a connection of its own."""
    reader, writer = await asyncio.open_connection(*relay.address(link))
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.readuntil(b"{}"), 5)
    finally:
        writer.close()


async def test_a_reset_comes_with_the_first_request_and_knows_what_it_was() -> None:
    async with edge() as (relay, link):
        relay.set_condition(link, Reset())
        reader, writer = await asyncio.open_connection(*relay.address(link))
        assert seen(relay) == [("connect", "")]
        writer.write(VERSION)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert seen(relay) == [("connect", "GET /version")]


async def test_a_connection_that_has_asked_nothing_yet_is_used_after_the_link_is_healed() -> None:
    async with edge() as (relay, link):
        relay.set_condition(link, Reset())
        reader, writer = await asyncio.open_connection(*relay.address(link))
        assert seen(relay) == [("connect", "")]
        relay.heal(link)
        writer.write(VERSION)
        assert (await asyncio.wait_for(reader.readuntil(b"{}"), 5)).startswith(b"HTTP/1.1 200")
        writer.close()


@pytest.mark.parametrize("condition", [BlackHole(), BlackHole("to_source")])
async def test_what_is_asked_over_an_old_connection_is_a_try_of_its_own(condition: Condition) -> None:
    async with edge() as (relay, link):
        reader, writer = await asyncio.open_connection(*relay.address(link))
        writer.write(VERSION)
        await asyncio.wait_for(reader.readuntil(b"{}"), 5)
        relay.set_condition(link, condition)
        writer.write(VERSION.replace(b"version", b"apis"))
        await until_asked(relay, 1)
        assert seen(relay) == [("connect", ""), ("send", "GET /apis")]
        writer.close()


async def test_the_rest_of_a_request_is_not_another_try() -> None:
    async with edge() as (relay, link):
        relay.set_condition(link, BlackHole())
        _, writer = await asyncio.open_connection(*relay.address(link))
        for piece in (VERSION[:20], VERSION[20:]):
            writer.write(piece)
            await asyncio.sleep(SOON)
        assert seen(relay) == [("connect", "GET /version")]
        writer.close()


async def test_where_packets_vanish_no_connection_is_answered_until_the_link_is_healed() -> None:
    async with edge() as (relay, link):
        address = relay.address(link)
        relay.set_condition(link, BlackHole(connects=False))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.open_connection(*address), SOON)
        assert relay.knocks == []  # nobody accepted it, so the relay cannot know
        waiting = asyncio.ensure_future(ask(relay, link))
        await asyncio.sleep(SOON)
        assert not waiting.done()
        relay.heal(link)
        assert (await waiting).startswith(b"HTTP/1.1 200")  # the kernel asks again after a second
        assert isinstance(relay.condition(link), Healthy)


async def test_a_black_hole_can_become_another_condition() -> None:
    async with edge() as (relay, link):
        relay.set_condition(link, BlackHole(connects=False))
        relay.set_condition(link, BlackHole())
        _, writer = await asyncio.open_connection(*relay.address(link))
        writer.write(VERSION)
        await until_asked(relay, 1)
        assert [Knock(0.0, knock.source, knock.target, knock.kind, knock.asked) for knock in relay.knocks] == [
            Knock(0.0, "rsync", "p1+c1", "connect", "GET /version")
        ]
        writer.close()


async def test_closing_the_relay_frees_the_address_of_a_black_hole() -> None:
    async with edge() as (relay, link):
        address = relay.address(link)
        relay.set_condition(link, BlackHole(connects=False))
        await relay.close(link)
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(address)


def frame(kind: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, 0]) + stream.to_bytes(4) + payload


@pytest.mark.parametrize(
    "data, opens",
    [
        (frame(1, 3, b"head"), True),
        (frame(8, 0, bytes(4)) + frame(1, 5), True),
        (frame(6, 0, bytes(8)), False),  # a ping: nobody asked for anything
        (frame(0, 3, b"body"), False),
        (frame(1, 3)[:8], False),
        (b"", False),
    ],
)
def test_a_request_of_http2_is_told_from_a_ping(data: bytes, opens: bool) -> None:
    assert opens_stream(data) == opens
