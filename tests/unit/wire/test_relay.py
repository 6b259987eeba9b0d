"""The relay between clients and stores that live in the same event loop."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import bson
import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.wire.conditions import BlackHole, Healthy, Refuse, Reset, Slow
from harness.wire.effects import Effect
from harness.wire.links import Link, Listener, RelayError, Tls
from harness.wire.relay import Relay
from harness.wire.triggers import Trigger

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


HTTP_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Edge:
    """An HTTP/1.1 server that says yes to requests without a body."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.got.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(HTTP_OK)
        writer.close()


@pytest.mark.parametrize("side", ["before", "after"])
async def test_http_is_stopped_at_the_boundary(side: Any) -> None:
    edge = Edge()
    async with bench(edge, "http") as on:
        client = await on.connect()
        armed = on.relay.arm(Trigger("dcm", side, everything))
        client.send(b"GET /a HTTP/1.1\r\n\r\n")
        assert await client.reader.readexactly(len(HTTP_OK)) == HTTP_OK
        client.send(b"DELETE /b HTTP/1.1\r\n\r\n")
        hit = await asyncio.wait_for(armed.hit, 5)
        assert hit.effect == Effect("edge", "DELETE", "mongo", (("path", "/b"),))
        assert await client.hears_nothing()
        assert len(edge.got) == (1 if side == "before" else 2)
        on.relay.thaw("dcm")
        assert await client.reader.readexactly(len(HTTP_OK)) == HTTP_OK


@pytest.mark.parametrize("upstream", [False, True])
async def test_tls_is_ended_and_begun_again(upstream: bool) -> None:
    authority = trustme.CA()
    contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2)]
    for context in contexts:
        authority.issue_cert(HOST).configure_cert(context)
    outer, inner = contexts
    inner.set_alpn_protocols(["http/1.1"])
    clients = [ssl.create_default_context() for _ in range(2)]
    for context in clients:
        authority.configure_trust(context)
    clients[0].set_alpn_protocols(["http/1.1"])
    tls = Tls(outer, clients[1] if upstream else None)
    options = {"ssl": inner} if upstream else {}
    async with bench(Edge(), "http", tls, **options) as on:
        client = await on.connect(ssl=clients[0])
        for _ in range(2):
            client.send(b"PUT /b HTTP/1.1\r\n\r\n")
            assert await client.reader.readexactly(len(HTTP_OK)) == HTTP_OK
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        assert [seen.ok for seen in on.relay.history] == [True, True]
        assert on.relay.problems == []


async def test_a_client_that_does_not_trust_us_is_a_problem() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(HOST).configure_cert(context)
    async with bench(Edge(), "http", Tls(context)) as on:
        with pytest.raises(ssl.SSLError):
            await on.connect(ssl=ssl.create_default_context())
        await until(lambda: len(on.relay.problems) == 1)
        assert on.relay.problems[0].startswith("link dcm -> mongo: no TLS with the client: ")
