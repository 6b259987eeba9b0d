"""A relay in a process of its own (here a thread's event loop), and who controls it."""

import asyncio
import contextlib
import struct
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import bson
import pytest

from harness.wire.conditions import Healthy, Refuse, Reset
from harness.wire.effects import Effect
from harness.wire.links import Address, Link, RelayError
from harness.wire.messages import MalformedMessage
from harness.wire.remote import RemoteRelay
from harness.wire.served import ServedRelay
from harness.wire.served_config import LinkSpec, ServedConfig
from harness.wire.triggers import Trigger

HOST = "127.0.0.1"
FREE = (HOST, 0)
TOKEN = "a token of the test"
SOON = 0.05  # seconds in which something that must not happen would have happened


def op_msg(ident: int, body: dict[str, Any], reply_to: int = 0) -> bytes:
    sections = b"\0\0\0\0\0" + bson.encode(body)
    return struct.pack("<iiii", 16 + len(sections), ident, reply_to, 2013) + sections


def modify(ident: int, name: str = "p") -> bytes:
    body = {"findAndModify": "r", "query": {"project": name}, "update": {"$set": {"x": "y"}}, "$db": "emco"}
    return op_msg(ident, body)


async def read_message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack("<i", head)[0] - 4)


async def store(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A mongo that says yes to everything."""
    try:
        while True:
            ident = struct.unpack_from("<i", await read_message(reader), 4)[0]
            writer.write(op_msg(1000 + ident, {"ok": 1.0}, ident))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the relay has ended the connection
    finally:
        writer.close()


class Elsewhere:
    """A served relay in another thread, so that it may block while it asks."""

    def __init__(self, config: ServedConfig) -> None:
        self.config = config
        self._ready = threading.Event()
        self._end: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.served = ServedRelay(config, TOKEN)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    async def _serve(self) -> None:
        self._end, self._loop = asyncio.Event(), asyncio.get_running_loop()
        await self.served.start()
        self._ready.set()
        await self._end.wait()
        await self.served.close()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:  # they see that their connections ended
            await asyncio.wait(others, timeout=5)

    def stop(self) -> None:
        assert self._loop is not None
        assert self._end is not None
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)


class Bench:
    """The relay, who controls it, and connections to it."""

    def __init__(self, elsewhere: Elsewhere, relay: RemoteRelay) -> None:
        self.elsewhere = elsewhere
        self.relay = relay
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self, address: str = HOST, target: str = "mongo") -> "Client":
        host, port = self.elsewhere.served.address("dcm", target)
        client = Client(*await asyncio.open_connection(host, port, local_addr=(address, 0)))
        self.writers.append(client.writer)
        return client

    async def replaced(self) -> None:
        """The relay is gone, and after a while there is another one where it was, which knows nothing."""
        gone = self.elsewhere.served
        await asyncio.to_thread(self.elsewhere.stop)
        self.elsewhere = Elsewhere(replace(self.elsewhere.config, control=gone.control, asks=gone.asks))
        coming = asyncio.get_running_loop().call_later(0.3, self.elsewhere.start)
        await self.relay.reconnect(limit=10)
        coming.cancel()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> int:
        return int(struct.unpack_from("<i", await asyncio.wait_for(read_message(self.reader), 5), 8)[0])

    async def hears_nothing(self) -> bool:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self.reader.read(1), SOON)
        return True


@contextlib.asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    mongo = await asyncio.start_server(store, HOST, 0)
    upstream: Address = mongo.sockets[0].getsockname()[:2]
    specs = (LinkSpec("dcm", "mongo", "mongo", FREE, upstream),)
    elsewhere = Elsewhere(ServedConfig(("dcm",), specs, (), FREE, FREE, FREE))
    elsewhere.start()
    served = elsewhere.served
    links = [Link(spec.source, spec.target, spec.protocol, spec.listen, spec.upstream) for spec in specs]
    made: Bench | None = None
    try:
        async with await RemoteRelay.connect(served.control, served.asks, token=TOKEN, links=links) as relay:
            made = Bench(elsewhere, relay)
            yield made
            for writer in made.writers:
                writer.close()
                with contextlib.suppress(ConnectionError):  # the relay was first
                    await writer.wait_closed()
    finally:
        await asyncio.to_thread(elsewhere.stop if made is None else made.elsewhere.stop)
        mongo.close()


def any_effect(_: Effect) -> bool:
    return True


def test_history_is_known_here_as_it_happens() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.relay.want("dcm")
            client = await b.connect()
            client.writer.write(modify(7))
            assert await client.answer() == 7
            await b.relay.synced()
            (seen,) = b.relay.since(0)
            assert (seen.source, seen.target, seen.effect.op, seen.forwarded, seen.ok) == (
                "dcm",
                "mongo",
                "findAndModify",
                True,
                True,
            )
            assert b.relay.seq() == 1
            assert [(knock.source, knock.target) for knock in b.relay.knocks] == [("dcm", "mongo")]
            assert await b.relay.moved(0, limit=1)
            assert not await b.relay.moved(1, limit=SOON)
            assert await b.relay.quiet(seconds=0.01, limit=1)

    asyncio.run(scenario())


def test_history_goes_on_over_a_relay_that_is_gone_and_the_one_in_its_place() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.relay.want("dcm")
            client = await b.connect()
            for ident in (1, 2):
                client.writer.write(modify(ident))
                assert await client.answer() == ident
            await b.relay.synced()
            link = b.relay.links()[0]
            b.relay.set_condition(link, Refuse())
            before, knocks = b.relay.since(0), len(b.relay.knocks)
            await b.replaced()
            assert not await b.relay.moved(2, limit=SOON)  # ends meanwhile with an error, were it the old one's
            assert (b.relay.instances, b.relay.condition(link), b.relay.problems) == ({"dcm": ""}, Healthy(), [])
            b.relay.want("dcm")
            client = await b.connect()
            armed = b.relay.arm(Trigger("dcm", "after", any_effect))
            client.writer.write(modify(3, "new"))
            hit = await asyncio.wait_for(armed.hit, 5)
            await b.relay.synced()
            assert b.relay.since(0)[:2] == before
            (new,) = b.relay.since(2)
            assert (hit.seq, new.seq, b.relay.seq()) == (2, 2, 3)
            assert dict(new.effect.key)["project"] == "new"
            assert before[1].requested < new.requested <= hit.at <= b.relay.clock() + SOON
            assert len(b.relay.knocks) > knocks
            assert [one.at for one in b.relay.knocks] == sorted(one.at for one in b.relay.knocks)

    asyncio.run(scenario())


def test_who_is_cancelled_in_the_moment_of_the_answer_ends() -> None:
    """Whatever looks after pods beside a start is cancelled as soon as the service answers."""

    async def scenario() -> None:
        async with bench() as b:
            asks = asyncio.ensure_future(b.relay.synced())
            await asyncio.sleep(0)  # it has asked
            (answer,) = b.relay._waiting.values()
            answer.set_result(None)
            asks.cancel()
            await asyncio.wait({asks}, timeout=5)
            assert asks.cancelled()

    asyncio.run(scenario())


def test_what_waits_for_a_relay_that_is_gone_is_told_and_none_in_its_place_is_an_error() -> None:
    async def scenario() -> None:
        async with bench() as b:
            armed = b.relay.arm(Trigger("dcm", "after", any_effect))
            await b.relay.synced()
            await asyncio.to_thread(b.elsewhere.stop)
            with pytest.raises(RelayError, match="the connection to the relay"):
                await asyncio.wait_for(armed.hit, 5)
            with pytest.raises(RelayError, match=r"no relay came within 0\.1 s: the relay does not answer"):
                await b.relay.reconnect(limit=0.1)

    asyncio.run(scenario())


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_source_stops_at_the_effect_that_the_master_recognises(side: Any) -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.relay.want("dcm")
            client = await b.connect()
            asked: list[Effect] = []

            def second(effect: Effect) -> bool:
                asked.append(effect)
                return ("project", "two") in effect.key

            armed = b.relay.arm(Trigger("dcm", side, second))
            await b.relay.synced()
            client.writer.write(modify(1, "one"))
            assert await client.answer() == 1
            client.writer.write(modify(2, "two"))
            hit = await asyncio.wait_for(armed.hit, 5)
            assert (hit.effect.key, hit.seq) == ((("project", "two"),), 1)
            assert len(asked) == 2
            assert await client.hears_nothing()
            await b.relay.synced()
            assert b.relay.since(1)[0].forwarded == (side == "after")
            b.relay.release("dcm", drop_held=False)
            assert await client.answer() == 2

    asyncio.run(scenario())


def test_what_the_masters_function_raises_is_what_the_trigger_gets() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.relay.want("dcm")
            client = await b.connect()

            def broken(effect: Effect) -> bool:
                raise ValueError(f"no idea what {effect.op} is")

            armed = b.relay.arm(Trigger("dcm", "before", broken))
            await b.relay.synced()
            client.writer.write(modify(1))
            with pytest.raises(ValueError, match="no idea what findAndModify is"):
                await asyncio.wait_for(armed.hit, 5)
            assert await client.answer() == 1  # the relay goes on

    asyncio.run(scenario())


def test_what_the_relay_refuses_is_what_the_trigger_gets() -> None:
    async def scenario() -> None:
        async with bench() as b:
            first = b.relay.arm(Trigger("dcm", "before", any_effect))
            second = b.relay.arm(Trigger("dcm", "before", any_effect))
            with pytest.raises(RelayError, match="a trigger is armed for dcm already"):
                await asyncio.wait_for(second.hit, 5)
            first.disarm()
            third = b.relay.arm(Trigger("dcm", "before", any_effect))
            await b.relay.synced()
            assert not third.hit.done()
            third.disarm()

    asyncio.run(scenario())


def test_a_dead_instance_is_proven_by_its_ended_connections_and_the_next_waits_until_it_is_wanted() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.relay.want("dcm")
            old = await b.connect()
            armed = b.relay.arm(Trigger("dcm", "after", any_effect))
            await b.relay.synced()
            old.writer.write(modify(1))
            await asyncio.wait_for(armed.hit, 5)
            new = await b.connect("127.0.0.2")
            new.writer.write(modify(2))
            assert await b.relay.ended("dcm", limit=SOON) == (1, 0)
            old.writer.close()
            assert await b.relay.ended("dcm", limit=5) == (1, 1)
            b.relay.drop("dcm")
            assert await new.hears_nothing()
            b.relay.want("dcm")
            assert await new.answer() == 2
            await b.relay.synced()
            assert b.relay.instances == {"dcm": "127.0.0.2"}
            again = await b.connect()
            assert await asyncio.wait_for(again.reader.read(), 5) == b""

    asyncio.run(scenario())


def test_an_instance_that_died_while_it_waited_is_passed_over() -> None:
    async def scenario() -> None:
        async with bench() as b:
            dead = await b.connect()
            dead.writer.write(modify(1))
            dead.writer.close()
            await dead.writer.wait_closed()
            alive = await b.connect("127.0.0.2")
            alive.writer.write(modify(2))
            b.relay.want("dcm")
            assert await alive.answer() == 2
            assert b.relay.instances == {"dcm": "127.0.0.2"}

    asyncio.run(scenario())


def test_links_are_broken_and_healed() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.relay.want("dcm")
            (link,) = b.relay.links()
            b.relay.set_condition(link, Reset())
            await b.relay.synced()
            client = await b.connect()
            client.writer.write(modify(1))
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(client.reader.read(), 5) == b""
            assert b.relay.condition(link) == Reset()
            b.relay.heal(link)
            await b.relay.synced()
            healthy = await b.connect()
            healthy.writer.write(modify(2))
            assert await healthy.answer() == 2
            assert b.relay.condition(link) == Healthy()

    asyncio.run(scenario())


def test_who_is_refused_is_counted_where_packets_may_be_seen() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.relay.want("dcm")
            await b.connect()
            (link,) = b.relay.links()
            try:
                await b.relay.count_unaccepted([link], counted=True)
            except RelayError as error:
                pytest.skip(f"packets may not be seen here: {error}")
            b.relay.set_condition(link, Refuse())
            await b.relay.synced()
            known = len(b.relay.knocks)
            with pytest.raises(ConnectionRefusedError):
                await b.connect()
            with pytest.raises(ConnectionRefusedError):
                await b.connect("127.0.0.9")  # an instance that is not let in
            await b.relay.count_unaccepted([link], counted=False)
            with pytest.raises(ConnectionRefusedError):
                await b.connect()
            await b.relay.synced()
            (knock,) = b.relay.knocks[known:]
            assert (knock.source, knock.target, knock.kind) == ("dcm", "mongo", "connect")

    asyncio.run(scenario())


def test_a_new_master_finds_every_link_healthy() -> None:
    async def scenario() -> None:
        async with bench() as b:
            (link,) = b.relay.links()
            b.relay.set_condition(link, Refuse())
            await b.relay.synced()
            served = b.elsewhere.served
            async with await RemoteRelay.connect(served.control, served.asks, token=TOKEN, links=[link]) as second:
                second.want("dcm")
                client = await b.connect()
                client.writer.write(modify(7))
                assert await client.answer() == 7

    asyncio.run(scenario())


def test_it_waits_until_a_source_answers_on_its_ports_and_says_why_it_does_not() -> None:
    async def scenario() -> None:
        async with bench() as b:
            assert await b.relay.answers("dcm", (1,), limit=SOON) == "no instance of dcm came"
            b.relay.want("dcm")
            client = await b.connect()
            client.writer.write(modify(1))
            await client.answer()
            assert "dcm does not answer on its ports" in await b.relay.answers("dcm", (1,), limit=SOON)
            service = await asyncio.start_server(store, HOST, 0)
            port = service.sockets[0].getsockname()[1]
            assert await b.relay.answers("dcm", (port,), limit=5) == ""
            assert "does not answer on its ports" in await b.relay.answers("dcm", (), pinged=(port,), limit=SOON)
            service.close()

    asyncio.run(scenario())


def test_who_does_not_know_the_token_has_no_say() -> None:
    async def scenario() -> None:
        async with bench() as b:
            served = b.elsewhere.served
            with pytest.raises(RelayError, match="is the token right"):
                await RemoteRelay.connect(served.control, served.asks, token="guessed", links=())
            await b.relay.synced()  # the right master is still there

    asyncio.run(scenario())


def test_a_lost_relay_is_an_error_for_whoever_waits_for_it() -> None:
    async def scenario() -> None:
        async with bench() as b:
            armed = b.relay.arm(Trigger("dcm", "before", any_effect))
            waiting = asyncio.ensure_future(b.relay.quiet(seconds=60, limit=60))
            await b.relay.synced()
            await asyncio.to_thread(b.elsewhere.stop)
            b.elsewhere.stop = lambda: None  # type: ignore[method-assign]  # not twice
            with pytest.raises(RelayError, match="the connection to the relay"):
                await asyncio.wait_for(waiting, 5)
            with pytest.raises(RelayError, match="the connection to the relay"):
                await asyncio.wait_for(armed.hit, 5)
            with pytest.raises(RelayError, match="the connection to the relay"):
                b.relay.freeze("dcm")

    asyncio.run(scenario())


def test_a_configuration_survives_and_a_wrong_one_is_refused() -> None:
    link = LinkSpec(
        "?", "rsync", "grpc", (HOST, 1), ("rsync", 2), instance=True, gated=False, streams=("/a/b",), reach=2.5
    )
    config = ServedConfig(("dcm", "rsync"), (link,), (), (HOST, 3), (HOST, 4), (HOST, 5))
    assert ServedConfig.from_json(config.to_json()) == config
    for text in ("", "{}", config.to_json().replace('"listen"', '"listens"')):
        with pytest.raises(MalformedMessage, match="the relay's configuration cannot be read"):
            ServedConfig.from_json(text)
