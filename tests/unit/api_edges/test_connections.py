"""Connections that were broken off are gone when their session is closed, whatever the other end does."""

import asyncio
import os
import socket
import ssl
import threading
from typing import Any

import aiohttp
import pytest
import trustme

from harness.platforms.edges import connections
from harness.platforms.edges.access import Access
from harness.platforms.edges.connections import Connector
from harness.wire.links import Address


class _Silent:
    """A server that takes one request over TLS, and from then on neither says anything nor listens."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.asked = threading.Event()
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._below: socket.socket | None = None
        self.address: Address = self._listening.getsockname()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        accepted, _ = self._listening.accept()
        self._below = socket.socket(fileno=os.dup(accepted.fileno()))
        with self._context.wrap_socket(accepted, server_side=True) as spoken:
            spoken.recv(4096)
            spoken.detach()  # no goodbye
            self.asked.set()

    def is_left(self) -> bool:
        """Wait until the other end has ended the connection itself, not only what is spoken on it."""
        self._thread.join(10)
        assert self._below is not None
        with self._listening, self._below as below:
            below.settimeout(10)
            try:
                while below.recv(4096):
                    pass
            except ConnectionResetError:
                return True
            except TimeoutError:
                return False
            return True


async def test_a_connection_whose_other_end_says_no_goodbye_is_ended() -> None:
    silent, connector, session = await _broken_off()
    await connector.end(session)
    assert await asyncio.to_thread(silent.is_left)


async def test_a_connection_that_does_not_end_in_time_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    silent, connector, session = await _broken_off()
    with monkeypatch.context() as deaf:
        deaf.setattr("asyncio.sslproto._SSLProtocolTransport.abort", lambda _: None)
        deaf.setattr(connections, "_GONE_LIMIT", 0.1)
        await connector.end(session)
    (context,) = told
    assert context["message"] == f"a connection to {silent.address} does not end within 0.1 s of being aborted"
    context["transport"].abort()
    assert await asyncio.to_thread(silent.is_left)


async def _broken_off() -> tuple[_Silent, Connector, aiohttp.ClientSession]:
    """A session that has asked for something over TLS and does not wait for the answer any more."""
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    silent = _Silent(server)
    connector = Connector(Access(silent.address, client))
    session = aiohttp.ClientSession(connector=connector)
    asking = asyncio.ensure_future(_ask(session, f"https://localhost:{silent.address[1]}/"))
    await asyncio.to_thread(silent.asked.wait, 10)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    return silent, connector, session


async def _ask(session: aiohttp.ClientSession, url: str) -> None:
    async with session.get(url) as answer:
        await answer.read()
