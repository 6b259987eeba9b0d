"""Waking whoever waits for something to have changed."""

import asyncio


class Bell:
    """Wakes whoever waits for something to have changed."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        """Wake all."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    async def wait(self, seconds: float) -> None:
        """Until the bell rings, at most `seconds`."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=max(0.0, seconds))
        finally:
            self._waiting.discard(waiter)
