"""Connections that were broken off are gone when their session is closed, whatever the other end does."""

import asyncio
import os
import socket
import ssl
import threading

import aiohttp
import pytest
import trustme

from harness.platforms.edges.connections import Connections

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthe beginning"


class _Silent:
    """A server that begins one answer over TLS, and from then on neither says anything nor listens."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._below: socket.socket | None = None
        self.url = f"https://localhost:{self._listening.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        accepted, _ = self._listening.accept()
        self._below = socket.socket(fileno=os.dup(accepted.fileno()))
        with self._context.wrap_socket(accepted, server_side=True) as spoken:
            spoken.recv(4096)
            spoken.sendall(ANSWER)
            spoken.detach()  # no goodbye

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


@pytest.mark.filterwarnings("error")
async def test_a_connection_whose_other_end_says_no_goodbye_is_ended() -> None:
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    silent = _Silent(server)
    connections = Connections()
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client), trace_configs=[connections.trace])
    async with session.get(silent.url) as answer:
        assert await answer.content.readany() == b"the beginning"
    await connections.close(session)
    assert await asyncio.to_thread(silent.is_left)
