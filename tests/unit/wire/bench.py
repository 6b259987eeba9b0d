"""A relay with one link, a store that says yes to everything, and clients, all in one event loop."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import bson
import pytest

from harness.wire.effects import Effect
from harness.wire.links import Link, Tls
from harness.wire.relay import Relay

HOST = "127.0.0.1"
SOON = 0.05  # seconds in which something that must not happen would have happened
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


def op_msg(ident: int, body: dict[str, Any], reply_to: int = 0) -> bytes:
    sections = b"\0\0\0\0\0" + bson.encode(body)
    return struct.pack("<iiii", 16 + len(sections), ident, reply_to, 2013) + sections


def modify(ident: int, name: str = "p", filler: int = 0) -> bytes:
    update = {"$set": {"x": "y" * filler}}
    return op_msg(ident, {"findAndModify": "r", "query": {"project": name}, "update": update, "$db": "emco"})


def ping(ident: int) -> bytes:
    return op_msg(ident, {"ping": 1, "$db": "admin"})


async def read_message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack("<i", head)[0] - 4)


class Store:
    """A mongo that says yes to everything, and remembers what it got. `answering` unset: it keeps its answers back."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.ended = asyncio.Event()
        self.answering = asyncio.Event()
        self.answering.set()
        self.port = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.got.append(await read_message(reader))
                await self.answering.wait()
                ident = struct.unpack_from("<i", self.got[-1], 4)[0]
                writer.write(op_msg(1000 + ident, {"ok": 1.0}, ident))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended.set()
        finally:
            writer.close()


class Client:
    """One connection to the relay."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> int:
        """Ident of the request that is answered."""
        return int(struct.unpack_from("<i", await asyncio.wait_for(read_message(self.reader), 5), 8)[0])

    async def hears_nothing(self) -> bool:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self.reader.read(1), SOON)
        return True

    async def end(self) -> bytes:
        """What still comes until the relay closes."""
        return await asyncio.wait_for(self.reader.read(), 5)


class Bench:
    """A relay with one link from `dcm`, and what is at its end."""

    def __init__(self, relay: Relay, link: Link) -> None:
        self.relay = relay
        self.link = link
        self.clients: list[Client] = []

    async def connect(self, link: Link | None = None, **options: Any) -> Client:
        host, port = self.relay.address(link or self.link)
        client = Client(*await asyncio.open_connection(host, port, **options))
        self.clients.append(client)
        return client


@contextlib.asynccontextmanager
async def bench(
    handler: Handler, protocol: Any = "mongo", tls: Tls | None = None, **server: Any
) -> AsyncIterator[Bench]:
    serving: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        await handler(reader, writer)

    async with await asyncio.start_server(handle, HOST, 0, **server) as listening, Relay() as relay:
        link = Link("dcm", "mongo", protocol, (HOST, 0), (HOST, listening.sockets[0].getsockname()[1]), tls)
        await relay.open(link)
        made = Bench(relay, link)
        try:
            yield made
        finally:
            for client in made.clients:
                client.writer.close()
            await relay.close()
            if serving:
                assert not (await asyncio.wait(serving, timeout=5))[1]


def everything(_: Effect) -> bool:
    return True


def nothing(_: Effect) -> bool:
    return False


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.001)
