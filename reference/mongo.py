"""A small asyncio client of mongo's OP_MSG protocol.

The BSON codec is pymongo's (`bson`). Its client is not used: a service of the reference EMCO is started thousands of
times in a crash campaign, and a client that starts monitors, pools and threads costs more than everything else at each
start. One connection per process, made when needed and made anew after it was lost, does what these services need.

As Go's driver does it, an operation that is given up (cancelled) takes its connection with it: a reply that nobody
waits for must never be taken for the next operation's.
"""

import asyncio
import itertools
import struct
from typing import Any

import bson

from reference.errors import StoreError

_HEADER = struct.Struct("<iiiiI")
_OP_MSG = 2013
_LARGEST = 64 * 1024 * 1024
_FOR_NOW = frozenset({50, 91, 11600})  # MaxTimeMSExpired, ShutdownInProgress, InterruptedAtShutdown
READS = frozenset({"hello", "serverStatus", "find", "aggregate", "getMore"})
"""Commands that may be sent again over a fresh connection, whatever became of the first try."""


class RefusedForNow(StoreError):
    """Mongo said no, but might not the next time: it shuts down, or had no time."""


class Mongo:
    """One connection to one mongo. `selection`: seconds that a command waits for a server that takes or keeps none."""

    def __init__(self, *, host: str, port: int, database: str = "emco", selection: float = 30.0) -> None:
        self._address = (host, port)
        self._database = database
        self._selection = selection
        self._ids = itertools.count(1)
        self._lock = asyncio.Lock()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def command(self, body: dict[str, Any], *, again: bool = False) -> dict[str, Any]:
        """Run one command on the database. Raises StoreError; a write is sent twice only when `again` allows it."""
        async with self._lock:
            repeat = again or next(iter(body)) in READS
            try:
                return await self._attempt(body)
            except (OSError, asyncio.IncompleteReadError) as error:
                if not repeat:
                    raise StoreError(f"mongo went away during {next(iter(body))}: {_why(error)}") from error
            except RefusedForNow:
                if not again:
                    raise
            try:
                return await self._attempt(body)
            except (OSError, asyncio.IncompleteReadError) as error:
                raise StoreError(f"mongo went away during {next(iter(body))}: {_why(error)}") from error

    async def _attempt(self, body: dict[str, Any]) -> dict[str, Any]:
        if self._reader is None or self._writer is None or self._reader.at_eof():
            await self._connect()
        return await self._exchange({**body, "$db": self._database})

    async def _connect(self) -> None:
        self.close()
        limit = asyncio.get_running_loop().time() + self._selection
        pause = 0.02
        while True:
            try:
                self._reader, self._writer = await asyncio.open_connection(*self._address)
                # As to Go's driver, a server is there when it has answered this.
                await self._exchange({"hello": 1, "$db": "admin", "client": {"application": {"name": "reference"}}})
                break
            except (OSError, asyncio.IncompleteReadError, RefusedForNow) as error:
                self.close()
                if asyncio.get_running_loop().time() + pause > limit:
                    host, port = self._address
                    raise StoreError(f"mongo at {host}:{port} cannot be reached: {_why(error)}") from error
            # Nothing tells when a server begins to listen: this is the back-off of the reconnection.
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.5)

    async def _exchange(self, body: dict[str, Any]) -> dict[str, Any]:
        assert self._reader is not None
        assert self._writer is not None
        number = next(self._ids)
        payload = bson.encode(body)
        try:
            self._writer.write(_HEADER.pack(21 + len(payload), number, 0, _OP_MSG, 0) + b"\0" + payload)
            await self._writer.drain()
            size, _, answers, opcode, _ = _HEADER.unpack(await self._reader.readexactly(_HEADER.size))
            if opcode != _OP_MSG or answers != number or not 26 <= size <= _LARGEST:
                raise ConnectionResetError(f"the reply is not the one to request {number}")
            section = await self._reader.readexactly(size - _HEADER.size)
        except BaseException:
            # Half an exchange must not stay behind, whether it failed or was cancelled.
            self.close()
            raise
        reply: dict[str, Any] = bson.decode(section[1:])
        _raise_if_refused(next(iter(body)), reply)
        return reply

    def close(self) -> None:
        """Give up the connection at once; the next command makes another one."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None


def _raise_if_refused(name: str, reply: dict[str, Any]) -> None:
    if not reply.get("ok"):
        kind = RefusedForNow if reply.get("code") in _FOR_NOW else StoreError
        raise kind(f"mongo refused {name}: {reply.get('errmsg', reply)}")
    for key in ("writeErrors", "writeConcernError"):
        if reply.get(key):
            raise StoreError(f"mongo refused {name}: {reply[key]}")


def _why(error: BaseException) -> str:
    if isinstance(error, asyncio.IncompleteReadError):
        return "it closed the connection"
    return str(error) or type(error).__name__
