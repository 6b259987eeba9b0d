"""Links that are slow, broken or ended, and the pressure of a slow reader."""

import asyncio
import socket
from typing import Any

import pytest

from harness.wire.conditions import BlackHole, Healthy, Refuse, Reset, Slow
from harness.wire.links import Link, Listener
from harness.wire.relay import Relay
from harness.wire.triggers import Trigger

from .bench import (
    HOST,
    SOON,
    Bench,
    Store,
    bench,
    modify,
    nothing,
    ping,
    read_message,
    until,
)


@pytest.mark.parametrize("armed", [False, True])
async def test_a_slow_reader_slows_the_writer_down_both_ways(armed: bool) -> None:
    gate = asyncio.Event()
    size = 40_000_000

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(b"d" * size)
        assert len(await reader.read(-1)) == size
        writer.close()

    async with bench(slow, "tcp") as on:
        if armed:
            on.relay.arm(Trigger("dcm", "before", nothing))
        client = await on.connect()
        client.send(b"u" * size)
        client.writer.write_eof()
        await asyncio.sleep(SOON)
        assert client.writer.transport.get_write_buffer_size() > size / 2  # the relay does not swallow it all
        gate.set()
        assert len(await client.reader.read(-1)) == size


async def test_the_ends_of_both_sides_are_passed_on() -> None:
    async def last_word(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got " + await reader.read(-1))
        writer.close()

    async with bench(last_word, "tcp") as on:
        client = await on.connect()
        client.send(b"all")
        client.writer.write_eof()
        assert await client.end() == b"got all"


async def test_a_client_that_goes_on_after_its_target_has_ended_is_reset() -> None:
    async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.close()

    async with bench(ends) as made:
        client = await made.connect()
        client.send(modify(1))
        assert await client.end() == b""  # it hears that there will be no answer, and asks for more all the same

        async def asks_on() -> None:
            while True:
                client.send(modify(2))
                await client.writer.drain()
                await asyncio.sleep(0.001)

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(asks_on(), 5)
        assert await made.relay.quiet(seconds=0, limit=5)


async def test_a_target_that_is_not_there_looks_like_a_reset() -> None:
    with socket.socket() as closed:
        closed.bind((HOST, 0))
        async with Relay() as relay:
            link = Link("dcm", "mongo", "mongo", (HOST, 0), closed.getsockname())
            await relay.open(link)
            reader, writer = await asyncio.open_connection(*relay.address(link))
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 5)
            writer.close()
            assert relay.problems == []


async def connect_and_ask(on: Bench) -> None:
    client = await on.connect()
    client.send(ping(2))
    await client.end()


async def test_refuse_and_reset_then_healed() -> None:
    async with bench(Store()) as on:
        for condition in (Refuse(), Reset()):
            client = await on.connect()
            client.send(ping(1))
            await client.answer()
            on.relay.set_condition(on.link, condition)
            with pytest.raises(ConnectionResetError):
                await client.end()
            with pytest.raises(ConnectionError):
                await connect_and_ask(on)
            on.relay.heal(on.link)
        client = await on.connect()
        client.send(ping(1))
        assert await client.answer() == 1


async def test_a_target_that_answers_nobody_is_unreachable_after_its_limit() -> None:
    target = Listener(Link("dcm", "mongo", "mongo", (HOST, 0), (HOST, 1)))
    target.listen_to_nobody()
    link = Link("dcm", "mongo", "mongo", (HOST, 0), target.address, reach=SOON)
    async with Relay() as relay:
        await relay.open(link)
        reader, writer = await asyncio.open_connection(*relay.address(link))
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 10)
        writer.close()
    target.close()


@pytest.mark.parametrize("direction, arrives", [("both", False), ("to_target", False), ("to_source", True)])
async def test_a_black_hole_delivers_when_healed(direction: Any, arrives: bool) -> None:
    store = Store()
    async with bench(store) as on:
        client = await on.connect()
        client.send(ping(1))
        await client.answer()
        on.relay.set_condition(on.link, BlackHole(direction))
        client.send(modify(2))
        assert await client.hears_nothing()
        assert (modify(2) in store.got) == arrives
        on.relay.set_condition(on.link, Healthy())
        assert await client.answer() == 2
        assert on.relay.history[0].ok


async def test_a_slow_link_delays_each_way_and_keeps_the_order() -> None:
    store = Store()
    async with bench(store) as on:
        on.relay.set_condition(on.link, Slow(0.05))
        client = await on.connect()
        loop = asyncio.get_running_loop()
        start = loop.time()
        client.send(modify(1))
        client.send(modify(2))
        assert [await client.answer(), await client.answer()] == [1, 2]
        assert loop.time() - start >= 0.1
        client.send(modify(3))
        await until(lambda: len(on.relay.history) == 3)
        on.relay.heal(on.link)
        client.send(modify(4))
        assert [await client.answer(), await client.answer()] == [3, 4]
