"""The connections of an HTTP client, so that none outlives it.

aiohttp takes leave of a TLS connection politely: it says goodbye and waits, for up to half a minute, for whoever is at
the other end, and its session does not wait for that. A loop that ends meanwhile would end with connections open.
"""

import asyncio
from typing import Any

import aiohttp
from aiohttp.connector import Connection

from harness.platforms.edges.access import Access

_GONE_LIMIT = 5.0


class Connector(aiohttp.TCPConnector):
    """For one session towards an API server; it knows every connection that is open, also while nothing is answered."""

    def __init__(self, access: Access) -> None:
        super().__init__(ssl=access.tls or True, limit=0)
        self._ends: dict[asyncio.Future[None], asyncio.Transport] = {}

    async def connect(self, *arguments: Any, **named: Any) -> Connection:
        """As aiohttp has it."""
        connection = await super().connect(*arguments, **named)
        protocol, transport = connection.protocol, connection.transport
        if protocol is not None and transport is not None:
            ended = protocol.closed
            if ended is not None and ended not in self._ends:
                self._ends[ended] = transport
                ended.add_done_callback(self._ended)
        return connection

    def _ended(self, ended: "asyncio.Future[None]") -> None:
        self._ends.pop(ended, None)
        if not ended.cancelled():
            ended.exception()  # how it ended is the business of whoever asked

    async def end(self, session: aiohttp.ClientSession) -> None:
        """Close the session, and end at once whatever of it is still open.

        What does not end nevertheless is told to the loop's exception handler: closing goes on.
        """
        await session.close()
        left = dict(self._ends)
        for transport in left.values():
            transport.abort()
        if left:
            _, open_still = await asyncio.wait(left, timeout=_GONE_LIMIT)
            for one in open_still:
                self._tell(left[one])

    def _tell(self, transport: asyncio.Transport) -> None:
        peer = transport.get_extra_info("peername")
        message = f"a connection to {peer} does not end within {_GONE_LIMIT:g} s of being aborted"
        self._loop.call_exception_handler({"message": message, "transport": transport})
