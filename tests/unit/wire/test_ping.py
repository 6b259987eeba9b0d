"""A PING of HTTP/2: answered by a program at work, and by nothing else."""

import asyncio
from collections.abc import Awaitable, Callable

import grpclib.server
import pytest

from harness.wire.ping import ping

HOST = "127.0.0.1"
SOON = 0.1  # seconds in which something that must not happen would have happened
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ASKED = 24 + 9 + 17  # preface, settings, ping
SETTINGS = b"\0\0\0\4\0\0\0\0\0"


async def pinged(serve: Serve) -> None:
    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        await asyncio.wait_for(ping(HOST, server.sockets[0].getsockname()[1]), SOON)


async def test_a_grpc_server_answers() -> None:
    server = grpclib.server.Server([])
    await server.start(HOST, 0)
    (listening,) = server._server.sockets  # type: ignore[union-attr]  # it was just started
    await ping(HOST, listening.getsockname()[1])
    server.close()
    await server.wait_closed()


async def test_who_accepts_and_says_nothing_does_not_answer() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SETTINGS)
        await reader.read()
        writer.close()

    with pytest.raises(TimeoutError):
        await pinged(mute)


async def test_the_ping_of_the_other_side_is_no_answer() -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(ASKED)
        writer.write(SETTINGS + b"\0\0\x08\6\0\0\0\0\0harness?" + b"\0\0\x08\6\1\0\0\0\0another!")
        writer.close()

    with pytest.raises(ConnectionAbortedError, match="ended before a ping"):
        await pinged(other)


async def test_frames_without_end_are_no_answer() -> None:
    async def talks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(ASKED)
        writer.write(SETTINGS * 100)
        writer.close()

    with pytest.raises(ConnectionAbortedError, match="not answered within 64 frames"):
        await pinged(talks)


async def test_where_nobody_listens_there_is_no_answer() -> None:
    with pytest.raises(ConnectionRefusedError):
        await ping(HOST, 9)
