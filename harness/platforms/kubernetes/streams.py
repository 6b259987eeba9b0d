"""Long-lived connections into pods, through the API server: port-forwards and logs."""

import asyncio
import contextlib
import struct
from collections.abc import Callable
from pathlib import Path

import aiohttp

from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.access import Access
from harness.platforms.edges.connections import Connector
from harness.wire.links import Address

_PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = 0, 1
_PORT = struct.Struct("<H")
_CHUNK = 256 * 1024
_OPEN_LIMIT = 15.0
_MOST_OF_A_LOG = 1024 * 1024
_LARGEST_MESSAGE = 0  # aiohttp: no limit; what arrives was sent by our own relay


class Streams:
    """Streams of one cluster. Pods are named by their path in its API."""

    def __init__(self, access: Access) -> None:
        self._url = access.url
        self._connector = Connector(access)
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            headers={"Authorization": f"Bearer {access.token}"} if access.token else {},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_OPEN_LIMIT),
        )
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """End all streams."""
        for server in self._servers:
            server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connector.end(self._session)

    async def forward(self, pod: Callable[[], str], port: int) -> Address:
        """Listen on loopback and pass every connection on to a port of the pod that is named then.

        The pod's side sees it come from its own loopback. Where a connection cannot be passed on it is closed.
        """

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None, "a connection is handled in a task"
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            try:
                await self._pass_on(f"{self._url}{pod()}/portforward?ports={port}", reader, writer)
            except (aiohttp.ClientError, OSError, TimeoutError, HarnessTrouble, asyncio.CancelledError):
                pass  # whoever connected learns it by the end of the connection, as from any server that is gone
            finally:
                writer.close()

        server = await asyncio.start_server(accepted, "127.0.0.1", 0, limit=_CHUNK)
        self._servers.append(server)
        host, number = server.sockets[0].getsockname()[:2]
        return host, number

    async def _pass_on(self, url: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        closing = aiohttp.ClientWSTimeout(ws_close=1.0)
        async with asyncio.timeout(_OPEN_LIMIT):
            opened = await self._session.ws_connect(
                url, protocols=(_PROTOCOL,), max_msg_size=_LARGEST_MESSAGE, timeout=closing
            )
        async with opened as stream:
            there = asyncio.ensure_future(_to_pod(stream, reader))
            back = asyncio.ensure_future(_from_pod(stream, writer))
            try:
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (there, back):
                    task.cancel()
                await asyncio.gather(there, back, return_exceptions=True)

    def follow_log(self, pod: str, file: Path) -> "asyncio.Task[None]":
        """Append what a pod's container prints to a file, from its first line on; done when the container has ended."""
        task = asyncio.ensure_future(self._follow(pod, file))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def log(self, pod: str, *, limit: float = _OPEN_LIMIT) -> bytes:
        """What a pod's container has printed so far, its beginning; nothing where that cannot be had within `limit`
        seconds."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # whoever waits for something in it asks again
            async with (
                asyncio.timeout(limit),
                self._session.get(f"{self._url}{pod}/log", params={"limitBytes": str(_MOST_OF_A_LOG)}) as answer,
            ):
                return await answer.read() if answer.status == 200 else b""
        return b""

    async def _follow(self, pod: str, file: Path) -> None:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # the pod is gone: its log ends
            async with self._session.get(f"{self._url}{pod}/log", params={"follow": "true"}) as answer:
                if answer.status == 200:
                    async for chunk in answer.content.iter_any():
                        with file.open("ab") as log:  # a few lines in a service's life
                            log.write(chunk)


async def _to_pod(stream: aiohttp.ClientWebSocketResponse, reader: asyncio.StreamReader) -> None:
    while data := await reader.read(_CHUNK):
        await stream.send_bytes(bytes((_DATA,)) + data)


async def _from_pod(stream: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter) -> None:
    """Every channel begins with the number of its port; what comes on the channel for errors ends the connection."""
    begun: set[int] = set()
    async for message in stream:
        if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel not in begun:
            begun.add(channel)
            data = data[_PORT.size :]
        if channel == _ERROR and data:
            return
        if channel == _DATA and data:
            writer.write(data)
            await writer.drain()
