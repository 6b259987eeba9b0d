"""Waiting for what somebody else does, with a limit: told by effects, not by a clock alone."""

import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from harness.background import Background
from harness.campaign import Campaign

T = TypeVar("T")


def within(environment: Background, holds: Callable[[], T | None], *, limit: float) -> T | None:
    """Ask again after every effect and at least each 0.2 s until `holds` gives something; that, or None in the end."""
    deadline = time.monotonic() + limit
    while True:
        seq = environment.do(_seq)
        if (found := holds()) is not None and found is not False:
            return found
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        environment.do(_next_effect(seq, min(0.2, left)))


async def _seq(campaign: Campaign) -> int:
    return campaign.lab.relay.seq()


def _next_effect(seq: int, limit: float) -> Callable[[Campaign], Coroutine[Any, Any, bool]]:
    return lambda campaign: campaign.lab.relay.moved(seq, limit=limit)
