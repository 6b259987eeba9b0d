"""Watches a deployment intent group while an experiment goes on: what EMCO says of it, beside what the edges hold."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.background import request
from harness.campaign import Campaign
from harness.emco.placement import Placed
from harness.emco.records import REPORT
from harness.emco.status import NOTHING_SAID, GroupStatus, parse_status
from harness.faults.victim import HarnessTrouble

_BREATH = 0.05  # seconds between two looks at the least: EMCO has other things to do, too
_PAUSE, _LONGEST = 0.2, 2.0  # seconds between two looks where nothing is written; longer each time, and at the most
_REPORTS = ("Namespace", REPORT)  # not of the workload itself

Content = Mapping[str, str]
"""Objects of the workload on one edge: `Deployment/r1-web` -> a digest of what it is to be."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look. at: seconds of the relay's clock; edges: what each held, looked at after EMCO had answered; idle: what
    of the group did not run there, by its own status, a sentence each."""

    at: float
    status: GroupStatus
    edges: Mapping[str, Content]
    idle: tuple[str, ...] = ()


class Watch:
    """Looks after every effect, and keeps what is new. `run` goes on until it is cancelled.

    Where nothing is written it looks after 0.2 s, and then less and less often, at least each 2 s: a look makes EMCO
    read a whole context, and of stores that nobody writes to it can only say the same. One that does not answer, of
    whose return no effect tells, is asked each 0.2 s.
    """

    def __init__(self, look: Callable[[Campaign], Awaitable[Seen]]) -> None:
        self.seen: list[Seen] = []
        self._look = look
        self._last: tuple[Seen, int, float] | None = None  # with the effect and the moment at which that look began
        self._looking = asyncio.Lock()

    async def run(self, campaign: Campaign) -> None:
        """Look again and again."""
        relay, pause = campaign.lab.relay, _PAUSE
        since = relay.clock()
        while True:
            seq, known = relay.seq(), len(self.seen)
            now = await self.now(campaign, since=since)
            await asyncio.sleep(_BREATH)
            since = relay.clock()
            written = await relay.moved(seq, limit=pause)
            news = written or len(self.seen) > known or now.status == NOTHING_SAID
            pause = _PAUSE if news else min(pause * 1.5, _LONGEST)

    async def now(self, campaign: Campaign, *, since: float) -> Seen:
        """A look that began after the last effect and at or after `since`, on the relay's clock: a new one where the
        last was not so, or is older than 2 s."""
        relay = campaign.lab.relay
        async with self._looking:
            seq, clock = relay.seq(), relay.clock()
            if self._last and self._last[1] == seq and self._last[2] >= max(since, clock - _LONGEST):
                return self._last[0]
            now = await self._look(campaign)
            self._last = now, seq, clock
            if not self.seen or replace(now, at=self.seen[-1].at) != self.seen[-1]:
                self.seen.append(now)
            return now


async def look(campaign: Campaign, service: str, path: str) -> Seen:
    """One look. What EMCO does not answer is seen as NOTHING_SAID."""
    try:
        answer = await request(campaign, service, "GET", path)
        status = parse_status(answer.body) if answer.ok else NOTHING_SAID
    except HarnessTrouble:
        status = NOTHING_SAID
    held = await campaign.lab.edge_objects()
    edges = {name: content_of(objects) for name, objects in held.items()}
    return Seen(campaign.lab.relay.clock(), status, edges, status.idle_on(held))


def content_of(objects: Iterable[Mapping[str, Any]]) -> Content:
    """What of these objects is the workload, and in which version."""
    return {
        f"{thing['kind']}/{thing['metadata']['name']}": _digest(thing)
        for thing in objects
        if thing.get("kind") not in _REPORTS
    }


def _digest(thing: Mapping[str, Any]) -> str:
    wanted = {
        name: value for name, value in thing.items() if name in ("spec", "data", "stringData", "rules", "subjects")
    }
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:12]


Goal = Callable[[Seen], str]
"""Why something is not reached yet; empty when it is."""


def running(wanted: Sequence[Placed]) -> Goal:
    """The workload runs wherever it is wanted, by EMCO's word and by the edges'."""

    def goal(seen: Seen) -> str:
        status = seen.status
        if status.deployed != "Instantiated":
            return f"the AppContext is {status.deployed or 'without a status'}"
        if not status.resources:
            return "no resource is reported"
        for one in status.resources:
            if one.status != "Applied":
                return f"{one.kind} {one.name} on {one.edge} is {one.status}"
            if f"{one.kind}/{one.name}" not in seen.edges.get(one.edge, {}):
                return f"{one.kind} {one.name} is said to be applied, but is not on {one.edge}"
        return status.not_placed(wanted) or next(iter(seen.idle), "")

    return goal


def changed(before: Mapping[str, Content], wanted: Sequence[Placed]) -> Goal:
    """The workload runs wherever it is wanted in one version, which is another one than before."""
    runs = running(wanted)

    def goal(seen: Seen) -> str:
        if why := runs(seen):
            return why
        if old := [edge for edge, content in seen.edges.items() if content == before.get(edge)]:
            return f"{old[0]} has what it had before"
        versions = {tuple(sorted(content.items())) for content in seen.edges.values()}
        return "the edges hold different versions" if len(versions) > 1 else ""

    return goal


def gone(seen: Seen) -> str:
    """Nothing of the workload is left, by EMCO's word and by the edges'."""
    if left := [edge for edge, content in seen.edges.items() if content]:
        return f"{len(seen.edges[left[0]])} objects are left on {left[0]}"
    deployed = seen.status.deployed
    return "" if deployed == "Terminated" else f"the AppContext is {deployed or 'without a status'}"


def goal_named(name: str, before: Mapping[str, Content], wanted: Sequence[Placed]) -> Goal:
    """`running`, `changed` (against before) or `gone`. Raises KeyError for another name.

    wanted: where it has to run
    """
    return {"running": running(wanted), "changed": changed(before, wanted), "gone": gone}[name]
