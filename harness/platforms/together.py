"""Doing several things side by side, with all of them over at the end; and one thing apart from what goes on."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from harness.faults.victim import ServiceDown

T = TypeVar("T")


async def all_of(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all side by side, whatever becomes of one. Raises what the first of them raised, when all are over; what
    leaves an outcome unknown goes before what blames a service."""
    done = await asyncio.gather(*works, return_exceptions=True)
    failed = [one for one in done if isinstance(one, BaseException)]
    for one in sorted(failed, key=lambda error: isinstance(error, ServiceDown)):
        raise one


def apart(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run it in an event loop of its own: whoever prepares a run may have one that runs already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work())).result()
