"""Port-forwards as the API server speaks them: a web socket for each connection, channels in its messages."""

import asyncio
import struct
from pathlib import Path

from aiohttp import WSMsgType, web

from harness.platforms.edges.access import Access
from harness.platforms.kubernetes.streams import Streams

POD = "/api/v1/namespaces/emco/pods/dcm-1"


async def _api(seen: list[str], ended: asyncio.Event) -> web.AppRunner:
    """An API server in front of a pod that says everything twice."""

    async def forward(request: web.Request) -> web.WebSocketResponse:
        seen.append(request.query_string)
        stream = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await stream.prepare(request)
        port = struct.pack("<H", int(request.query["ports"]))
        await stream.send_bytes(b"\0" + port)
        await stream.send_bytes(b"\1" + port)
        async for message in stream:
            if message.type is WSMsgType.BINARY and message.data[1:] == b"break":
                await stream.send_bytes(b"\1no such port")
            elif message.type is WSMsgType.BINARY:
                await stream.send_bytes(b"\0" + message.data[1:] * 2)
        ended.set()
        return stream

    async def log(_: web.Request) -> web.Response:
        return web.Response(text="first line\nlast line\n")

    app = web.Application()
    app.router.add_get(f"{POD}/portforward", forward)
    app.router.add_get(f"{POD}/log", log)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


def test_bytes_go_both_ways_and_each_end_ends_the_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        seen: list[str] = []
        ended = asyncio.Event()
        runner = await _api(seen, ended)
        streams = Streams(Access(runner.addresses[0][:2], None))
        host, port = await streams.forward(lambda: POD, 7001)
        assert host == "127.0.0.1"
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"abc")
        assert await asyncio.wait_for(reader.readexactly(6), 5) == b"abcabc"
        writer.close()
        await writer.wait_closed()
        await asyncio.wait_for(ended.wait(), 5)
        assert seen == ["ports=7001"]
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"break")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await asyncio.wait_for(streams.follow_log(POD, tmp_path / "dcm.log"), 5)
        assert (tmp_path / "dcm.log").read_text() == "first line\nlast line\n"
        await streams.close()
        await runner.cleanup()

    asyncio.run(scenario())


def test_a_pod_that_cannot_be_reached_ends_the_connection() -> None:
    async def scenario() -> None:
        streams = Streams(Access(("127.0.0.1", 9), None))
        reader, writer = await asyncio.open_connection(*await streams.forward(lambda: POD, 7001))
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await streams.close()

    asyncio.run(scenario())


def test_the_log_so_far_is_had_and_nothing_where_there_is_none() -> None:
    async def scenario() -> None:
        runner = await _api([], asyncio.Event())
        streams = Streams(Access(runner.addresses[0][:2], None))
        assert await streams.log(POD) == b"first line\nlast line\n"
        assert await streams.log(f"{POD}-gone") == b""
        await runner.cleanup()
        assert await streams.log(POD) == b""
        await streams.close()

    asyncio.run(scenario())


def test_a_log_that_does_not_come_is_waited_for_up_to_a_limit() -> None:
    async def scenario() -> None:
        closed = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(1024):
                pass
            closed.set()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        streams = Streams(Access(server.sockets[0].getsockname()[:2], None))
        assert await streams.log(POD, limit=0.05) == b""
        await asyncio.wait_for(closed.wait(), 5)
        await streams.close()
        server.close()

    asyncio.run(scenario())
