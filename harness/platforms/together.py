"""Doing several things side by side, with all of them over at the end."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from harness.faults.victim import ServiceDown


async def all_of(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all side by side, whatever becomes of one. Raises what the first of them raised, when all are over; what
    leaves an outcome unknown goes before what blames a service."""
    done = await asyncio.gather(*works, return_exceptions=True)
    failed = [one for one in done if isinstance(one, BaseException)]
    for one in sorted(failed, key=lambda error: isinstance(error, ServiceDown)):
        raise one
