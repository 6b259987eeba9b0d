"""The connections of an HTTP client, so that none outlives it.

aiohttp takes leave of a TLS connection politely: it says goodbye and waits, for up to half a minute, for whoever is at
the other end, and its session does not wait for that. A loop that ends meanwhile would end with connections open.
"""

import asyncio
from types import SimpleNamespace

import aiohttp

_GONE_LIMIT = 5.0


class Connections:
    """Of one session, which is made with `trace`."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Future[None], asyncio.Transport] = {}
        self.trace = aiohttp.TraceConfig()
        self.trace.on_request_end.append(self._answered)

    async def _answered(
        self, _: aiohttp.ClientSession, __: SimpleNamespace, told: aiohttp.TraceRequestEndParams
    ) -> None:
        """A request was answered; whoever asked may go on for long with its connection."""
        connection = told.response.connection
        if connection is None or connection.protocol is None or connection.transport is None:
            return  # its answer is complete: the session has it back, and closes it at the end
        ended = connection.protocol.closed
        if ended is not None and ended not in self._open:
            self._open[ended] = connection.transport
            ended.add_done_callback(self._ended)

    def _ended(self, ended: "asyncio.Future[None]") -> None:
        self._open.pop(ended, None)
        if not ended.cancelled():
            ended.exception()  # how it ended is the business of whoever asked

    async def close(self, session: aiohttp.ClientSession) -> None:
        """Close the session, and end at once whatever of it is still open."""
        await session.close()
        left = dict(self._open)
        for transport in left.values():
            transport.abort()
        if left:
            await asyncio.wait(left, timeout=_GONE_LIMIT)
