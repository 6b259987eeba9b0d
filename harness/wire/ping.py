"""Whether somebody who speaks HTTP/2 is at work at an address: one round trip of a PING.

A connection alone proves nothing: the kernel accepts it for a process that is stopped. A PING is answered by the
program itself, whatever its services are, needs no names of them, and changes nothing.
"""

import asyncio
import struct

from harness.wire.http2 import PREFACE, SETTINGS

_PING, _ACK, _HEADER = 6, 0x1, 9
_TOKEN = b"harness?"
_MOST_FRAMES = 64  # before the answer; a server sends its settings, and what it has to say of the connection


async def ping(host: str, port: int) -> None:
    """Connect, ping, and wait for the answer as long as it takes. Raises OSError where there is none to be had."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(PREFACE + _frame(SETTINGS, b"") + _frame(_PING, _TOKEN))
        for _ in range(_MOST_FRAMES):
            size, kind, flags, _ = struct.unpack(">IBBI", b"\0" + await reader.readexactly(_HEADER))
            content = await reader.readexactly(size)
            if kind == _PING and flags & _ACK and content == _TOKEN:
                return
        raise ConnectionAbortedError(f"a ping of HTTP/2 was not answered within {_MOST_FRAMES} frames")
    except asyncio.IncompleteReadError as error:
        raise ConnectionAbortedError("the connection ended before a ping of HTTP/2 was answered") from error
    finally:
        writer.close()


def _frame(kind: int, content: bytes) -> bytes:
    return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, 0, 0) + content
