"""The reference's client of mongo: when a server is there, and when a command is sent again."""

import asyncio
import contextlib
import itertools
import struct
from collections.abc import AsyncIterator, Callable

import bson
import pytest

from reference.errors import StoreError
from reference.mongo import Mongo

HOST = "127.0.0.1"
_HEADER = struct.Struct("<iiiiI")
Takes = Callable[[int], bool]


@contextlib.asynccontextmanager
async def serving(takes: Takes) -> AsyncIterator[tuple[int, list[str]]]:
    """A mongo that says ok to all; of its connections, numbered from 1, the others are closed as soon as they are
    made, as by a relay whose store is gone."""
    numbers, asked = itertools.count(1), list[str]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, OSError):
            taken = takes(next(numbers))
            while taken:
                size, number, *_ = _HEADER.unpack(await reader.readexactly(_HEADER.size))
                command = bson.decode((await reader.readexactly(size - _HEADER.size))[1:])
                asked.append(next(iter(command)))
                if asked[-1] == "closes":
                    return
                payload = bson.encode({"ok": 1})
                writer.write(_HEADER.pack(21 + len(payload), 0, number, 2013, 0) + b"\0" + payload)

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


async def test_a_server_that_ends_connections_is_waited_for_as_one_that_refuses_them() -> None:
    async with serving(lambda number: number > 3) as (port, asked):
        mongo = Mongo(host=HOST, port=port)
        assert (await mongo.command({"find": "resources"}))["ok"] == 1
        assert asked == ["hello", "find"]
        mongo.close()


async def test_it_is_waited_for_no_longer_than_the_selection_lasts() -> None:
    async with serving(lambda _: False) as (port, _):
        with pytest.raises(StoreError, match=f"mongo at {HOST}:{port} cannot be reached"):
            await Mongo(host=HOST, port=port, selection=0.1).command({"find": "resources"})


@pytest.mark.parametrize("again, times", [(False, 1), (True, 2)])
async def test_a_command_that_a_working_server_does_not_answer_is_sent_again_only_where_allowed(
    again: bool, times: int
) -> None:
    async with serving(lambda _: True) as (port, asked):
        with pytest.raises(StoreError, match="mongo went away during closes"):
            await Mongo(host=HOST, port=port).command({"closes": 1}, again=again)
        assert asked == ["hello", "closes"] * times
