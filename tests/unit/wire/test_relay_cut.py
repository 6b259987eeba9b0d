"""A link that is cut at a message: it does not arrive, its connection is reset, and everything else goes through."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.wire.conditions import Cut, Healthy, Reset

from .bench import Store, bench, modify, op_msg, ping

FIND = b"\x02find\0"


def find(ident: int) -> bytes:
    return op_msg(ident, {"find": "resources", "filter": {}, "$db": "emco"})


async def test_what_is_cut_at_does_not_arrive_and_what_went_before_does() -> None:
    store = Store()
    async with bench(store) as on:
        client = await on.connect()
        on.relay.set_condition(on.link, Cut(FIND))
        client.send(modify(1))
        assert await client.answer() == 1

        client.send(find(2))
        with pytest.raises(ConnectionResetError):
            await client.end()

        assert store.got == [modify(1)]
        assert [link for _, link in on.relay.cuts] == [on.link]
        assert on.relay.condition(on.link) == Healthy()


async def test_after_so_many_cuts_the_link_is_what_it_is_to_be_then() -> None:
    store = Store()
    async with bench(store) as on:
        on.relay.set_condition(on.link, Cut(FIND, times=2, then=Reset()))
        for number in (1, 2):
            client = await on.connect()
            client.send(find(number))
            with pytest.raises(ConnectionResetError):
                await client.end()
        assert len(on.relay.cuts) == 2
        assert on.relay.condition(on.link) == Reset()
        assert store.got == []


async def test_other_connections_stay_and_the_same_message_passes_once_healed() -> None:
    async with bench(Store()) as on:
        cut, other = await on.connect(), await on.connect()
        on.relay.set_condition(on.link, Cut(FIND, times=3))
        cut.send(find(1))
        with pytest.raises(ConnectionResetError):
            await cut.end()

        other.send(ping(2))
        assert await other.answer() == 2
        on.relay.heal(on.link)
        other.send(find(3))
        assert await other.answer() == 3
        assert len(on.relay.cuts) == 1


@given(at=st.integers(1, len(find(1)) - 1))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_however_the_message_is_split_it_is_not_delivered(at: int) -> None:
    async def split() -> None:
        store = Store()
        async with bench(store) as on:
            client = await on.connect(limit=2**16)
            on.relay.set_condition(on.link, Cut(FIND))
            client.send(find(1)[:at])
            await asyncio.sleep(0)
            await client.writer.drain()
            client.send(find(1)[at:])
            with pytest.raises(ConnectionResetError):
                await client.end()
            assert store.got == []

    asyncio.run(split())


def test_a_cut_needs_something_to_be_made_at() -> None:
    with pytest.raises(ValueError, match="made at some bytes, at least once"):
        Cut(b"")
    with pytest.raises(ValueError, match="made at some bytes, at least once"):
        Cut(FIND, times=0)
