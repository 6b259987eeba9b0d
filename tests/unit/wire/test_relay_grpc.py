"""The relay between gRPC clients and servers (grpclib), and HTTP/2 at an edge."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpclib
import grpclib.client
import grpclib.const
import grpclib.server
import pytest
from grpclib.encoding.base import CodecBase

from harness.wire.effects import Effect
from harness.wire.links import Link
from harness.wire.relay import Relay
from harness.wire.triggers import Trigger

HOST = "127.0.0.1"
INSTALL, ALERT = "/installapp.Installapp/InstallApp", "/readynotify.ReadyNotify/Alert"
SOON = 0.05


class Raw(CodecBase):
    """A codec for grpclib that leaves messages alone."""

    __content_subtype__ = "proto"

    def encode(self, message: bytes, _message_type: Any) -> bytes:
        return message

    def decode(self, data: bytes, _message_type: Any) -> bytes:
        return data


class Rsync:
    """Remembers what it was asked, and answers `ok`; alerts when it is told to."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.subscribed = 0
        self.alert = asyncio.Event()

    async def install(self, stream: Any) -> None:
        message = await stream.recv_message()
        self.got.append(message)
        if message == b"refuse":
            raise grpclib.GRPCError(grpclib.const.Status.UNAVAILABLE, "no")
        await stream.send_message(b"ok")

    async def alerts(self, stream: Any) -> None:
        await stream.recv_message()
        self.subscribed += 1
        await self.alert.wait()
        await stream.send_message(b"ready")

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        unary, stream = grpclib.const.Cardinality.UNARY_UNARY, grpclib.const.Cardinality.UNARY_STREAM
        return {
            INSTALL: grpclib.const.Handler(self.install, unary, bytes, bytes),
            ALERT: grpclib.const.Handler(self.alerts, stream, bytes, bytes),
        }


async def call(channel: grpclib.client.Channel, message: bytes, path: str = INSTALL, seconds: float = 5) -> bytes:
    async with channel.request(path, grpclib.const.Cardinality.UNARY_UNARY, bytes, bytes, timeout=seconds) as stream:
        await stream.send_message(message, end=True)
        reply = await stream.recv_message()
        assert isinstance(reply, bytes)
        return reply


@contextlib.asynccontextmanager
async def between(streams: frozenset[str] = frozenset()) -> AsyncIterator[tuple[Relay, Rsync, grpclib.client.Channel]]:
    rsync = Rsync()
    server = grpclib.server.Server([rsync], codec=Raw())
    await server.start(HOST, 0)
    port = server._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    async with Relay() as relay:
        link = Link("orchestrator", "rsync", "grpc", (HOST, 0), (HOST, port), streams=streams)
        await relay.open(link)
        channel = grpclib.client.Channel(*relay.address(link), codec=Raw())
        try:
            yield relay, rsync, channel
        finally:
            channel.close()
            await relay.close()
            server.close()
            await server.wait_closed()


def of(method: str) -> Any:
    return lambda effect: effect.op == method


async def test_a_request_is_seen_with_what_became_of_it() -> None:
    async with between() as (relay, rsync, channel):
        assert await call(channel, b"a") == b"ok"
        with pytest.raises(grpclib.GRPCError):
            await call(channel, b"refuse")
        assert rsync.got == [b"a", b"refuse"]
        assert [seen.effect for seen in relay.history] == [
            Effect("grpc", "InstallApp", "installapp.Installapp", ()),
        ] * 2
        assert [seen.ok for seen in relay.history] == [True, False]
        assert relay.under_way() == 0
        assert relay.problems == []


@pytest.mark.parametrize("side", ["before", "after"])
async def test_it_is_stopped_at_the_boundary(side: Any) -> None:
    async with between() as (relay, rsync, channel):
        await call(channel, b"first")
        armed = relay.arm(Trigger("orchestrator", side, of("InstallApp"), 2))
        await call(channel, b"second")
        third = asyncio.create_task(call(channel, b"third"))
        await asyncio.wait_for(armed.hit, 5)
        fourth = asyncio.create_task(call(channel, b"fourth"))
        done, _ = await asyncio.wait((third, fourth), timeout=SOON)
        assert not done
        assert rsync.got[2:] == ([] if side == "before" else [b"third"])
        relay.thaw("orchestrator")
        assert await third == await fourth == b"ok"
        assert rsync.got[2:] == [b"third", b"fourth"]
        assert [seen.ok for seen in relay.history] == [True] * 4


async def test_a_large_message_over_many_frames_is_held() -> None:
    async with between() as (relay, rsync, channel):
        armed = relay.arm(Trigger("orchestrator", "before", of("InstallApp")))
        large = asyncio.create_task(call(channel, b"l" * 50_000))
        await asyncio.wait_for(armed.hit, 5)
        assert not (await asyncio.wait((large,), timeout=SOON))[0]
        assert rsync.got == []
        relay.release("orchestrator", drop_held=True)
        assert await large == b"ok"


async def test_a_stream_that_was_given_up_is_left_out_and_the_connection_goes_on() -> None:
    async with between() as (relay, rsync, channel):
        armed = relay.arm(Trigger("orchestrator", "before", of("InstallApp")))
        held = asyncio.create_task(call(channel, b"held"))
        hit = await asyncio.wait_for(armed.hit, 5)
        other = asyncio.create_task(call(channel, b"other"))
        assert not await relay.gave_up("orchestrator", SOON)
        held.cancel()
        assert await relay.gave_up("orchestrator", 5)
        relay.release("orchestrator", drop_held=True)
        assert await other == b"ok"
        assert await call(channel, b"next") == b"ok"
        assert rsync.got == [b"other", b"next"]
        assert not relay.history[hit.seq].forwarded
        assert relay.history[hit.seq].ok is None
        assert relay.under_way() == 0
        assert relay.problems == []


async def test_a_declared_stream_does_not_keep_it_from_being_quiet() -> None:
    async with between(frozenset({ALERT})) as (relay, rsync, channel):
        alert = asyncio.create_task(call(channel, b"id", ALERT))
        async with asyncio.timeout(5):
            while not rsync.subscribed:  # noqa: ASYNC110  what is waited for has no event
                await asyncio.sleep(0.001)
        assert relay.under_way() == 0
        assert await relay.quiet(seconds=0.02, limit=5)
        rsync.alert.set()
        assert await alert == b"ready"
