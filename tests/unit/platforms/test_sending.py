"""A request is sent once, whatever becomes of its connection."""

import asyncio

import aiohttp
import pytest

from harness.platforms.sending import one_attempt


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_a_request_whose_connection_breaks_is_not_sent_again(method: str) -> None:
    arrived = []

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    server = await asyncio.start_server(break_off, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, one_attempt(5.0) as client:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await client.request(method, f"http://127.0.0.1:{port}/v2/projects/p")
    assert len(arrived) == 1
