"""The harness' own way to etcd, against a real server, and against what is none."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from harness.stores.mongo import StoreError

from .conftest import HOST, connected, free_port

CONTENT = {b"/context/1/": b"app", b"/bytes/\xff": b"\0\xfe", b"/empty": b""}


async def test_what_is_restored_is_what_a_snapshot_holds(etcd_port: int) -> None:
    async with connected(etcd_port) as etcd:
        await etcd.restore(CONTENT)
        assert await etcd.snapshot() == CONTENT


async def test_restore_removes_changes_and_adds(etcd_port: int) -> None:
    async with connected(etcd_port) as etcd:
        await etcd.restore({b"gone": b"1", b"changed": b"old", b"same": b"x"})
        await etcd.restore({b"changed": b"new", b"same": b"x", b"added": b"2"})
        assert await etcd.snapshot() == {b"changed": b"new", b"same": b"x", b"added": b"2"}


async def test_more_keys_than_one_transaction_may_have(etcd_port: int) -> None:
    many = {f"/k{number}".encode(): b"v" for number in range(301)}
    async with connected(etcd_port) as etcd:
        await etcd.restore(many)
        assert await etcd.snapshot() == many
        await etcd.restore({})
        assert await etcd.snapshot() == {}


async def test_an_empty_etcd_is_claimed_and_stays_claimed_when_it_is_full(etcd_port: int) -> None:
    async with connected(etcd_port) as etcd:
        assert (await etcd.check()).startswith("3.")
        await etcd.claim()
        assert await etcd.snapshot() == {}
        await etcd.restore(CONTENT)
        await etcd.claim()
        await etcd.restore({})
        await etcd.restore(CONTENT)
        await etcd.claim()


async def test_an_etcd_of_somebody_else_is_refused_and_not_touched(etcd_port: int) -> None:
    async with connected(etcd_port) as etcd:
        await etcd.restore(CONTENT)
        with pytest.raises(StoreError, match=r"127\.0\.0\.1:\d+ holds 3 keys and lacks the harness's marker"):
            await etcd.claim()
        assert await etcd.snapshot() == CONTENT
        with pytest.raises(StoreError):
            await etcd.claim()


@contextlib.asynccontextmanager
async def web_server(text: str, status: int = 200) -> AsyncIterator[int]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text, status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("text", ["<html>", '{"version": "1"}', "[]", "null", "7"])
async def test_a_web_server_is_no_etcd(text: str) -> None:
    async with web_server(text) as port, connected(port) as etcd:
        with pytest.raises(StoreError, match=rf"what answers at 127\.0\.0\.1:{port} is no etcd"):
            await etcd.check()


async def test_a_refusal_is_said_with_its_text() -> None:
    async with web_server("auth: user name is empty", 401) as port, connected(port) as etcd:
        with pytest.raises(StoreError, match=r"range answered 401: auth: user name is empty"):
            await etcd.snapshot()


async def test_something_that_speaks_no_http() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        writer.close()

    server = await asyncio.start_server(talk, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    async with server, connected(port) as etcd:
        with pytest.raises(StoreError, match=rf"etcd at 127\.0\.0\.1:{port} does not answer"):
            await etcd.check()


async def test_an_etcd_that_does_not_answer() -> None:
    port = free_port()
    async with connected(port) as etcd:
        for ask in (etcd.check, etcd.snapshot, etcd.claim):
            with pytest.raises(StoreError, match=rf"etcd at 127\.0\.0\.1:{port} does not answer"):
                await ask()
