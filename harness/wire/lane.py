"""One direction of a relayed connection: what has arrived, what was forwarded, what is still under way.

Normally bytes are forwarded in the callback that read them and decoded afterwards. While a trigger is armed for the
source they are decoded first, and only units that are decided are forwarded. While the source is frozen, or the link is
a black hole, they are held.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from harness.wire.conditions import Condition, Cut, Healthy
from harness.wire.peer import End


class Lane:
    """One direction of a connection."""

    __slots__ = ("boundary", "condition", "destination", "feed", "held", "late", "origin", "passed", "tail", "unfed")

    def __init__(self, feed: Callable[[bytes], None], boundary: Callable[[], int]) -> None:
        self.origin: End | None = None
        self.destination: End | None = None
        self.feed = feed
        self.boundary = boundary
        self.held = bytearray()  # arrived, not forwarded
        self.passed = 0  # bytes forwarded so far, thus the offset of held[0]
        self.unfed = 0  # how many of the held bytes, at the end, the decoder has not seen
        self.late: deque[tuple[asyncio.TimerHandle, bytes]] = deque()  # forwarded, under way on a slow link
        self.condition: Condition = Healthy()
        self.tail = b""  # the end of what was forwarded, where the bytes of a cut may begin

    def unseen(self) -> bytes:
        """What the decoder has not seen; counts as seen from now on."""
        unfed, self.unfed = self.unfed, 0
        return bytes(memoryview(self.held)[len(self.held) - unfed :]) if unfed else b""

    def is_cut_by(self, data: memoryview) -> bool:
        """Whether these bytes, with what came before them, hold those that the link is to be cut at."""
        if not isinstance(self.condition, Cut):
            self.tail = b""
            return False
        sent = self.condition.sent
        seen = self.tail + bytes(data)
        self.tail = seen[-(len(sent) - 1) :] if len(sent) > 1 else b""
        return sent in seen

    def unsent(self) -> int:
        """Bytes that count as forwarded and have not left."""
        waiting = self.destination.waiting() if self.destination is not None else 0
        return waiting + sum(len(data) for _, data in self.late)
