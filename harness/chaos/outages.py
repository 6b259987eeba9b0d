"""Outages of a store: how one begins and how it ends, whatever kind it is."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.campaign import Campaign
from harness.chaos.clients import ask_of
from harness.chaos.stage import Stage
from harness.crashpoints.model import Told
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.disruptions import Partition
from harness.wire.control import ArmedTrigger
from harness.wire.triggers import Trigger

OUTAGES = ("refused", "reset", "black-hole", "paused", "crashed", "volume-lost")
"""Kinds of outages: the first three break all links to the store; `paused` stops its process, `crashed` ends it, and
`volume-lost` takes its data as well."""

STORES = ("mongo", "etcd")

BOTH = "both"
"""Stands for mongo and etcd together."""

_HIT = 30.0  # seconds that a service gets to make the effect that is waited for


def begin(stage: Stage, store: str, kind: str, *, source: str = "*") -> str:
    """Take a store away, or BOTH; the proof of it, in words. source: from one service only, where links are broken.

    Raises UsageError for an unknown kind, HarnessTrouble where nothing was hit.
    """
    _known(kind)
    if kind in ("paused", "crashed", "volume-lost") and source != "*":
        raise UsageError(f"a {kind} store is away for everybody; only links can be broken for {source} alone")
    stage.mark(began_mark(store))
    return "; ".join(_begin(stage, one, kind, source) for one in _stores(store))


def _begin(stage: Stage, store: str, kind: str, source: str) -> str:
    if kind == "paused":
        stage.pause(store)
        return f"{store} is paused"
    if kind == "crashed":
        return f"{store}: {stage.crash(store).describe()}"
    if kind == "volume-lost":
        return f"{store}: {stage.crash(store, volume='lost').describe()}, its volume removed"
    links = stage.partition(store, Partition(kind), source=source)
    return f"{links} links to {store} are broken: {kind}"


def _stores(store: str) -> tuple[str, ...]:
    return STORES if store == BOTH else (store,)


def _known(kind: str) -> None:
    if kind not in OUTAGES:
        raise UsageError(f"there is no outage {kind!r}; there are {', '.join(OUTAGES)}")


@dataclass(frozen=True, slots=True)
class Moment:
    """When a store goes away during a call: at an effect of a service (`source`).

    at:   text in the effect's description, a part of a key say; empty: any
    nth:  which of the effects that have it
    side: `before` it reaches the store, or `after` the store has it and the service does not know
    """

    source: str = "rsync"
    at: str = ""
    nth: int = 1
    side: Literal["before", "after"] = "after"

    def __post_init__(self) -> None:
        if self.nth < 1 or self.side not in ("before", "after"):
            raise UsageError(f"a moment is before or after the first effect or a later one, not {self.side} {self.nth}")


def moment_of(given: Mapping[str, Any]) -> Moment:
    """As an experiment has it. Raises UsageError."""
    if unknown := sorted(set(given) - {"source", "at", "nth", "side"}):
        raise UsageError(f"a moment has source, at, nth and side, and no {unknown[0]!r}")
    return Moment(**given)


_NO_SPACE = ("no space", "disk full", "space exceeded", "nospace")


def blames_the_store(told: Told) -> bool:
    """Whether an answer may be one to a store that cannot write: an error of the server, or one that speaks of space.

    What a client did wrong, such as a name that is taken (409), says nothing of the store.
    """
    return told.kind == "refused" and (
        (told.status or 0) >= 500 or any(word in told.body.lower() for word in _NO_SPACE)
    )


def begin_in(stage: Stage, call: str, store: str, kind: str, *, moment: Moment, limit: float) -> str:
    """Let a client make a call of the workload, and take a store away at a moment of it.

    The service stands still meanwhile, so that nothing of it is between the effect and the outage. The call goes on
    as one of the stage's clients, who gives up after `limit` seconds. Raises as `begin`, and HarnessTrouble when there
    is no such effect.
    """
    _known(kind)

    def away() -> str:
        done = begin(stage, store, kind)
        if kind in ("crashed", "volume-lost"):  # its process is gone, and with it the answer that is held
            stage.act(_lose_held(moment.source))
        return done

    return in_call(stage, call, away, moment=moment, limit=limit)


def in_call(stage: Stage, call: str, do: Callable[[], str], *, moment: Moment, limit: float) -> str:
    """Let a client make a call of the workload, and do something at a moment of it, which tells what it did.

    Otherwise as begin_in.
    """
    ask = ask_of(stage.named(call))
    trigger = Trigger(moment.source, moment.side, lambda effect: moment.at in effect.describe(), moment.nth)
    armed = stage.act(_arm(trigger))
    stage.clients.begin(ask, limit=limit)
    try:
        effect = stage.act(lambda _: _hit(armed, moment))
        done = do()
    finally:
        stage.act(_let_go(armed, moment.source))
    return f"{done}, {moment.side} the effect {effect} of {moment.source}"


def _lose_held(source: str) -> Callable[[Campaign], Coroutine[Any, Any, None]]:
    async def lose(campaign: Campaign) -> None:
        campaign.lab.relay.reset_held(source)

    return lose


def _arm(trigger: Trigger) -> Callable[[Campaign], Coroutine[Any, Any, ArmedTrigger]]:
    async def arm(campaign: Campaign) -> ArmedTrigger:
        return campaign.lab.relay.arm(trigger)

    return arm


async def _hit(armed: ArmedTrigger, moment: Moment) -> str:
    try:
        async with asyncio.timeout(_HIT):
            return (await asyncio.shield(armed.hit)).effect.describe()
    except TimeoutError:
        raise HarnessTrouble(
            f"{moment.source} made fewer than {moment.nth} effects with {moment.at!r} within {_HIT:g} s"
        ) from None


def _let_go(armed: ArmedTrigger, source: str) -> Callable[[Campaign], Coroutine[Any, Any, None]]:
    async def let_go(campaign: Campaign) -> None:
        armed.disarm()
        campaign.lab.relay.thaw(source)

    return let_go


def end(stage: Stage, store: str, *, after: float = 0.0, since: str = "") -> str:
    """Bring a store back `after` seconds from the beginning of its outage; what was done, and how long it was away.

    since: a mark from which the seconds count instead. Raises HarnessTrouble where nothing was wrong with the store.
    """
    mark = stage.marked(since or began_mark(store))
    stage.act(_until(mark.at + after))
    stage.mark(returns_mark(store))  # from here on whoever tries may reach it
    done = [what for one in _stores(store) for what in stage.make_whole(one)]
    now = stage.mark(ended_mark(store))
    if not done:
        raise HarnessTrouble(f"{store} was not away: there is nothing to bring back")
    return f"{'; '.join(done)}, {now.at - mark.at:.1f} s after {since or 'it went'}"


def full(stage: Stage, store: str) -> str:
    """Fill a store's small volume; the beginning of an outage. Raises HarnessTrouble where there is no small one."""
    size = stage.act(lambda campaign: campaign.disruptions.fill(store))
    stage.mark(began_mark(store))
    return f"the volume of {store} is full: {size / 1e6:.1f} MB were free"


def freed(stage: Stage, store: str) -> str:
    """Give the space back and start the store again, whether it runs or not: it may have given up with its disk."""
    size = stage.act(lambda campaign: campaign.disruptions.free(store))
    down = stage.act(lambda campaign: campaign.disruptions.down())
    how = "had ended by itself" if store in down else stage.crash(store).describe()
    stage.start(store)
    stage.mark(ended_mark(store))
    return f"{size / 1e6:.1f} MB are free again; {store} {how}, and is started"


def began_mark(store: str) -> str:
    """Name of the mark at the beginning of an outage."""
    return f"outage {store}"


def ended_mark(store: str) -> str:
    """Name of the mark at its end."""
    return f"back {store}"


def returns_mark(store: str) -> str:
    """Name of the mark right before it is brought back: until then it was away for everybody."""
    return f"returns {store}"


def away_for(stage: Stage, store: str, *, since: str = "") -> float:
    """Seconds that the latest outage of a store lasted, from its beginning or a later mark."""
    return stage.marked(ended_mark(store)).at - stage.marked(since or began_mark(store)).at


def _until(at: float) -> Callable[[Campaign], Coroutine[Any, Any, None]]:
    async def wait(campaign: Campaign) -> None:
        await asyncio.sleep(max(0.0, at - campaign.lab.relay.clock()))  # the length of the fault itself

    return wait
