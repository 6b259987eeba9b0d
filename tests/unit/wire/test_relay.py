"""Boundaries at the relay: what is written down, held, frozen and let go."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.wire.effects import Effect
from harness.wire.links import Link, RelayError
from harness.wire.triggers import Trigger

from .bench import (
    HOST,
    SOON,
    Store,
    bench,
    everything,
    modify,
    nothing,
    op_msg,
    ping,
    read_message,
    until,
)


async def test_effects_are_written_down_in_order_reads_are_not() -> None:
    store = Store()
    async with bench(store) as on:
        client = await on.connect()
        for request in (ping(1), modify(2), modify(3, "q")):
            client.send(request)
            await client.answer()
        first, second = on.relay.since(0)
        assert (first.seq, second.seq, on.relay.seq()) == (0, 1, 2)
        assert second.effect.key == (("project", "q"),)
        assert first.requested <= (first.answered or 0) <= second.requested
        assert on.relay.since(1) == (second,)
        assert store.got == [ping(1), modify(2), modify(3, "q")]
        assert on.relay.last_effect_at() == second.answered


async def test_before_not_one_byte_arrives_and_every_connection_freezes() -> None:
    store = Store()
    async with bench(store) as on:
        one, two = await on.connect(), await on.connect()
        for client in (one, two):
            client.send(ping(1))
            await client.answer()
        armed = on.relay.arm(Trigger("dcm", "before", everything, 2))
        one.send(modify(2))
        assert await one.answer() == 2
        one.send(ping(3) + modify(4, "held") + ping(5))
        hit = await asyncio.wait_for(armed.hit, 5)
        two.send(ping(6))
        assert hit.effect.key == (("project", "held"),)
        assert not on.relay.history[hit.seq].forwarded
        assert await two.hears_nothing()
        assert store.got == [ping(1), ping(1), modify(2), ping(3)]
        on.relay.thaw("dcm")
        assert [await one.answer() for _ in range(3)] == [3, 4, 5]
        assert await two.answer() == 6
        assert on.relay.history[hit.seq].forwarded
        assert on.relay.history[hit.seq].ok


async def test_after_the_store_has_it_and_the_reply_is_held() -> None:
    store = Store()
    async with bench(store) as on:
        client = await on.connect()
        armed = on.relay.arm(Trigger("dcm", "after", everything))
        client.send(modify(1))
        hit = await asyncio.wait_for(armed.hit, 5)
        assert store.got == [modify(1)]
        assert await client.hears_nothing()
        assert on.relay.history[hit.seq].ok is True
        on.relay.release("dcm", drop_held=True)
        assert await client.answer() == 1


@pytest.mark.parametrize("side", ["before", "after"])
async def test_a_crash_ended_counts_and_drop_makes_room(side: Any) -> None:
    store = Store()
    async with bench(store) as on:
        victims = [await on.connect() for _ in range(3)]
        for client in victims:
            client.send(ping(1))
            await client.answer()
        armed = on.relay.arm(Trigger("dcm", side, everything))
        victims[0].send(modify(2))
        await asyncio.wait_for(armed.hit, 5)
        late = await on.connect()
        late.send(ping(9))
        victims[0].writer.transport.abort()
        victims[1].writer.close()
        assert await on.relay.ended("dcm", limit=SOON) == (3, 2)
        victims[2].writer.transport.abort()
        assert await on.relay.ended("dcm", limit=5) == (3, 3)
        on.relay.drop("dcm")
        await asyncio.wait_for(store.ended.wait(), 5)
        assert await late.end() == b""
        assert store.got.count(modify(2)) == (side == "after")
        assert ping(9) not in store.got
        again = await on.connect()
        again.send(modify(3))
        assert await again.answer() == 3
        assert await on.relay.ended("dcm", limit=0) == (3, 3)


async def test_connections_to_a_frozen_source_wait() -> None:
    store = Store()
    async with bench(store) as on:
        on.relay.freeze("dcm")
        client = await on.connect()
        client.send(modify(1))
        assert await client.hears_nothing()
        assert store.got == []
        on.relay.thaw("dcm")
        assert await client.answer() == 1
        assert len(on.relay.history) == 1


async def test_a_freeze_leaves_other_sources_alone() -> None:
    store = Store()
    async with bench(store) as on:
        link = Link("rsync", "mongo", "mongo", (HOST, 0), on.link.upstream)
        await on.relay.open(link)
        on.relay.freeze("dcm")
        client = await on.connect(link)
        client.send(modify(1))
        assert await client.answer() == 1
        assert on.relay.history[0].source == "rsync"


async def test_replies_to_what_went_before_the_freeze_are_written_down() -> None:
    store = Store()
    store.answering.clear()
    async with bench(store) as on:
        client = await on.connect()
        client.send(modify(1))
        await until(lambda: on.relay.under_way("dcm") == 1)
        on.relay.freeze("dcm")
        store.answering.set()
        await until(lambda: on.relay.under_way() == 0)
        assert on.relay.history[0].ok is True
        assert await client.hears_nothing()


@pytest.mark.parametrize("drop_held, arrives", [(True, False), (False, True)])
async def test_after_a_disconnect_the_held_request_is_dropped_if_asked(drop_held: bool, arrives: bool) -> None:
    store = Store()
    async with bench(store) as on:
        client, other = await on.connect(), await on.connect()
        armed = on.relay.arm(Trigger("dcm", "before", everything))
        client.send(modify(1))
        hit = await asyncio.wait_for(armed.hit, 5)
        assert not await on.relay.gave_up("dcm", SOON)
        client.writer.close()
        assert await on.relay.gave_up("dcm", 5)
        on.relay.release("dcm", drop_held=drop_held)
        await asyncio.wait_for(store.ended.wait(), 5)
        assert (modify(1) in store.got) == arrives == on.relay.history[hit.seq].forwarded
        other.send(ping(2))
        assert await other.answer() == 2


async def test_a_held_request_that_was_not_given_up_goes_on() -> None:
    store = Store()
    async with bench(store) as on:
        client = await on.connect()
        armed = on.relay.arm(Trigger("dcm", "before", everything))
        client.send(modify(1))
        await asyncio.wait_for(armed.hit, 5)
        on.relay.release("dcm", drop_held=True)
        assert await client.answer() == 1


async def test_a_large_request_is_held_as_a_whole() -> None:
    store = Store()
    async with bench(store) as on:
        client = await on.connect()
        armed = on.relay.arm(Trigger("dcm", "before", everything))
        client.send(modify(1, filler=4_000_000))
        await asyncio.wait_for(armed.hit, 5)
        await asyncio.sleep(SOON)
        on.relay.drop("dcm")
        await asyncio.wait_for(store.ended.wait(), 5)
        assert store.got == []


async def test_what_was_begun_before_arming_is_not_completed() -> None:
    store = Store()
    async with bench(store) as on:
        client = await on.connect()
        request = modify(1, filler=1000)
        client.send(request[:500])
        await until(lambda: on.relay.under_way() == 0 and bool(client.writer.transport.get_write_buffer_size() == 0))
        await asyncio.sleep(SOON)
        armed = on.relay.arm(Trigger("dcm", "before", everything))
        client.send(request[500:])
        await asyncio.wait_for(armed.hit, 5)
        client.writer.close()
        assert await on.relay.gave_up("dcm", 5)
        on.relay.release("dcm", drop_held=True)
        await asyncio.wait_for(store.ended.wait(), 5)
        assert store.got == []


async def test_an_armed_trigger_can_be_taken_back() -> None:
    store = Store()
    async with bench(store) as on:
        client = await on.connect()
        armed = on.relay.arm(Trigger("dcm", "after", everything))
        store.answering.clear()
        client.send(modify(1))
        await until(lambda: on.relay.under_way() == 1)
        armed.disarm()
        on.relay.arm(Trigger("dcm", "after", nothing))
        store.answering.set()
        assert await client.answer() == 1
        assert not armed.hit.done()


async def test_an_error_in_the_condition_reaches_who_waits_and_traffic_goes_on() -> None:
    def broken(effect: Effect) -> bool:
        raise ValueError(effect.op)

    async with bench(Store()) as on:
        client = await on.connect()
        armed = on.relay.arm(Trigger("dcm", "before", broken))
        client.send(modify(1) + ping(2))
        with pytest.raises(ValueError, match="findAndModify"):
            await asyncio.wait_for(armed.hit, 5)
        assert [await client.answer(), await client.answer()] == [1, 2]
        assert on.relay.problems == []


async def test_what_cannot_be_is_refused() -> None:
    async with bench(Store()) as on:
        armed = on.relay.arm(Trigger("dcm", "before", nothing))
        with pytest.raises(RelayError, match="armed for dcm already"):
            on.relay.arm(Trigger("dcm", "before", nothing))
        armed.disarm()
        on.relay.freeze("dcm")
        with pytest.raises(RelayError, match="dcm is frozen"):
            on.relay.arm(Trigger("dcm", "before", nothing))
        with pytest.raises(RelayError, match="no effect of dcm is held"):
            await on.relay.gave_up("dcm", 0)
        with pytest.raises(RelayError, match="is open already"):
            await on.relay.open(on.link)
        taken = Link("x", "y", "tcp", on.relay.address(on.link), (HOST, 1))
        with pytest.raises(RelayError, match="x -> y cannot listen"):
            await on.relay.open(taken)


async def test_quiet_waits_for_replies_and_for_silence() -> None:
    store = Store()
    store.answering.clear()
    async with bench(store) as on:
        client = await on.connect()
        client.send(ping(1))
        await until(lambda: on.relay.under_way() == 1)
        assert not await on.relay.quiet(seconds=0, limit=SOON)
        assert await on.relay.quiet(seconds=0, limit=SOON, ignore={"dcm"})
        waiting = asyncio.create_task(on.relay.quiet(seconds=0.1, limit=5))
        await asyncio.sleep(0)
        store.answering.set()
        client.send(modify(2))
        assert await waiting
        loop = asyncio.get_running_loop()
        assert loop.time() - on.relay.last_effect_at() >= 0.1
        assert len(on.relay.history) == 1


async def test_what_cannot_be_decoded_passes_and_is_said() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async with bench(echo) as on:
        on.relay.arm(Trigger("dcm", "before", everything))
        client = await on.connect()
        client.send(b"This is no mongo at all")
        assert await client.reader.readexactly(23) == b"This is no mongo at all"
        (problem,) = on.relay.problems
        assert problem.startswith("link dcm -> mongo: a message cannot have")
        assert problem.endswith("counted nothing from here on")
        assert on.relay.under_way() == 0


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=12), st.booleans(), st.integers(0, 200_000))
def test_bytes_pass_unaltered_in_any_split(pieces: list[int], armed: bool, filler: int) -> None:
    data = b"".join((ping(1), modify(2, filler=filler), ping(3), modify(4)))

    async def scenario() -> None:
        store = Store()
        async with bench(store) as on:
            if armed:
                on.relay.arm(Trigger("dcm", "before", nothing))
            client = await on.connect()
            at = 0
            for piece in pieces:
                client.send(data[at : at + piece])
                at += piece
                await asyncio.sleep(0)
            client.send(data[at:])
            replies = [await read_message(client.reader) for _ in range(4)]
            assert b"".join(store.got) == data
            assert replies == [op_msg(1000 + i, {"ok": 1.0}, i) for i in (1, 2, 3, 4)]
            assert [seen.ok for seen in on.relay.history] == [True, True]

    asyncio.run(scenario())
