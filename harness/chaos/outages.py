"""Outages of a store: how one begins and how it ends, whatever kind it is."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from harness.campaign import Campaign
from harness.chaos.stage import Stage
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.disruptions import Partition

OUTAGES = ("refused", "reset", "black-hole", "paused", "crashed", "volume-lost")
"""Kinds of outages: the first three break all links to the store; `paused` stops its process, `crashed` ends it, and
`volume-lost` takes its data as well."""


def begin(stage: Stage, store: str, kind: str, *, source: str = "*") -> str:
    """Take a store away; the proof of it, in words. source: from one service only, where links are broken.

    Raises UsageError for an unknown kind, HarnessTrouble where nothing was hit.
    """
    if kind not in OUTAGES:
        raise UsageError(f"there is no outage {kind!r}; there are {', '.join(OUTAGES)}")
    if kind in ("paused", "crashed", "volume-lost") and source != "*":
        raise UsageError(f"a {kind} store is away for everybody; only links can be broken for {source} alone")
    stage.mark(began_mark(store))
    if kind == "paused":
        stage.pause(store)
        return f"{store} is paused"
    if kind == "crashed":
        return f"{store}: {stage.crash(store).describe()}"
    if kind == "volume-lost":
        return f"{store}: {stage.crash(store, volume='lost').describe()}, its volume removed"
    links = stage.partition(store, Partition(kind), source=source)
    return f"{links} links to {store} are broken: {kind}"


def end(stage: Stage, store: str, *, after: float = 0.0) -> str:
    """Bring a store back `after` seconds from the beginning of its outage; what was done, and how long it was away.

    Raises HarnessTrouble where nothing was wrong with it.
    """
    mark = stage.marked(began_mark(store))
    stage.act(_until(mark.at + after))
    done = stage.make_whole(store)
    now = stage.mark(ended_mark(store))
    if not done:
        raise HarnessTrouble(f"{store} was not away: there is nothing to bring back")
    return f"{'; '.join(done)}, {now.at - mark.at:.1f} s after it went"


def began_mark(store: str) -> str:
    """Name of the mark at the beginning of an outage."""
    return f"outage {store}"


def ended_mark(store: str) -> str:
    """Name of the mark at its end."""
    return f"back {store}"


def away_for(stage: Stage, store: str) -> float:
    """Seconds that the latest outage of a store lasted."""
    return stage.marked(ended_mark(store)).at - stage.marked(began_mark(store)).at


def _until(at: float) -> Callable[[Campaign], Coroutine[Any, Any, None]]:
    async def wait(campaign: Campaign) -> None:
        await asyncio.sleep(max(0.0, at - campaign.lab.relay.clock()))  # the length of the fault itself

    return wait
