"""Turns: what the runs of one user on this machine do one at a time, or a few at a time."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from filelock import FileLock, Timeout

from harness.faults.victim import HarnessTrouble

_LIMIT = 1800.0  # whoever has a turn has limits of his own, and a killed process has none
_PAUSE = 0.2


def made_at_once() -> int:
    """How many clusters are made at a time: more than there are cores only make each other late, until all are."""
    return max(2, len(os.sched_getaffinity(0)))


@contextlib.asynccontextmanager
async def turn(folder: Path, name: str, *, at_once: int = 1, limit: float = _LIMIT) -> AsyncIterator[None]:
    """Wait for a turn, and have it: at most so many do what this names, in all processes that use the folder.

    limit: seconds to wait. Raises HarnessTrouble when none comes.
    """
    locks = _locks(folder, name, at_once)
    deadline = asyncio.get_running_loop().time() + limit
    while (mine := next((lock for lock in locks if _had(lock)), None)) is None:
        if asyncio.get_running_loop().time() > deadline:
            raise HarnessTrouble(f"others are at it ({name}) still after {limit:g} s; the locks are in {folder}")
        await asyncio.sleep(_PAUSE)  # a file's lock does not tell when it is free; bounded by the limit
    try:
        yield
    finally:
        mine.release()


def _locks(folder: Path, name: str, count: int) -> list[FileLock]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return [FileLock(folder / f"{name}-{number}.lock", thread_local=False) for number in range(count)]


def _had(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True
