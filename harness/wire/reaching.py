"""How a relay in a process of its own is reached, and where its numbers stand in the history that is kept here."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.wire.effects import Observation
from harness.wire.knocks import Knock
from harness.wire.links import Address, RelayError
from harness.wire.messages import LONGEST_LINE, MalformedMessage, read

Json = dict[str, Any]
_CONNECT_LIMIT = 15.0


@dataclass(frozen=True, slots=True)
class Line:
    """A connection to the relay."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@dataclass(frozen=True, slots=True)
class Place:
    """Where a relay is, and what it takes."""

    control: Address
    asks: Address
    token: str


@dataclass(frozen=True, slots=True)
class Ahead:
    """How far our numbers and our clock are ahead of the relay's own: there may have been another before it.

    clock: seconds
    """

    seq: int = 0
    knocks: int = 0
    clock: float = 0.0

    def knock(self, told: Sequence[Any]) -> Knock:
        """One of the relay's tries, as we have it."""
        at, *rest = told
        return Knock(at + self.clock, *rest)

    def ours(self, one: Observation) -> Observation:
        """An observation of the relay's, as our history has it."""
        answered = None if one.answered is None else one.answered + self.clock
        return replace(one, seq=one.seq + self.seq, requested=one.requested + self.clock, answered=answered)


async def reached(place: Place) -> tuple[list[Line], Json]:
    """Both connections to a relay, and what it says first. Raises RelayError."""
    lines: list[Line] = []
    try:
        async with asyncio.timeout(_CONNECT_LIMIT):
            for address in (place.control, place.asks):
                lines.append(await _begun(address, place.token))
            hello, ready = [await line.reader.readline() for line in lines]
        if not hello or not ready:
            raise RelayError("the relay ended the connection; is the token right?")
        return lines, read(hello)
    except (OSError, TimeoutError, MalformedMessage) as error:
        await close_lines(lines)
        raise RelayError(f"the relay does not answer: {str(error) or type(error).__name__}") from error
    except BaseException:
        await close_lines(lines)
        raise


async def _begun(address: Address, token: str) -> Line:
    reader, writer = await asyncio.open_connection(*address, limit=LONGEST_LINE)
    writer.write(token.encode() + b"\n")
    return Line(reader, writer)


async def close_lines(lines: Sequence[Line]) -> None:
    """End connections; those that have ended are fine."""
    for line in lines:
        line.writer.close()
        with contextlib.suppress(OSError):
            await line.writer.wait_closed()
