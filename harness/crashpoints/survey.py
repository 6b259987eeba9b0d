"""What services other than the called one do because of a call, and the crash points that this gives.

They work beside the call and after its answer, several things at once: their effects come in an order that varies, some
in a number that varies. So a call is run from the same state until two runs in a row take nothing away from what all of
them have in common, and that is planned, by name and occurrence, never by order.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from harness.crashpoints.lab import Lab, Limits, Profile
from harness.crashpoints.learn import MOST_RUNS, STORES, Lesson, fault_sides, fresh, settle, stable
from harness.crashpoints.model import QUIET, STORE_FAULTS, CallPlan, CrashPoint, Fault, Side, Under
from harness.faults.victim import HarnessTrouble
from harness.wire.effects import Observation

Names = Mapping[str, tuple[str, ...]]
_SIDES: tuple[Side, ...] = ("before", "after")
_MOST_READS = 2  # with one name: what is read again and again fails alike


@dataclass(frozen=True, slots=True)
class Survey:
    """One call's effects by services other than the called one, each by service.

    effects: names that every run had, as often as every run had them, in the order of the last one
    stored:  those of them that land in a store
    reads:   what was read of stores, in the same way
    retried: names of what is noted when an edge cannot be reached: the victim then tries again and again
    varies:  names that came more often in some runs than in others
    """

    call: str
    effects: Names
    stored: frozenset[str] = frozenset()
    reads: Names = field(default_factory=dict)
    retried: Names = field(default_factory=dict)
    varies: tuple[str, ...] = ()


@dataclass(slots=True)
class _Common:
    """What all runs so far have in common."""

    runs: int = 0
    known: dict[str, Counter[str]] = field(default_factory=dict)
    most: Counter[str] = field(default_factory=Counter)
    last: Mapping[str, list[str]] = field(default_factory=dict)

    def add(self, names: Mapping[str, list[str]]) -> bool:
        """Whether this run took nothing away."""
        counts = {service: Counter(own) for service, own in names.items()}
        for own in counts.values():
            self.most |= own
        fewer = {name: own & counts.get(name, Counter()) for name, own in self.known.items()} if self.runs else counts
        same = self.runs > 0 and fewer == self.known
        self.runs, self.known, self.last = self.runs + 1, fewer, names
        return same

    def names(self) -> dict[str, tuple[str, ...]]:
        kept = {service: _kept(own, self.known.get(service, Counter())) for service, own in self.last.items()}
        return {service: own for service, own in kept.items() if own}


def _kept(own: list[str], common: Counter[str]) -> tuple[str, ...]:
    left = Counter(common)
    kept = []
    for name in own:
        if left[name]:
            left[name] -= 1
            kept.append(name)
    return tuple(kept)


def works_elsewhere(lesson: Lesson, profile: Profile, victims: tuple[str, ...]) -> bool:
    """Whether one of these services did anything because of the call that is not at the pace of something outside."""
    called = lesson.subject.call.service
    return any(one.source in victims and one.source != called and not profile.paced(one.slug) for one in lesson.effects)


async def survey(lab: Lab, profile: Profile, limits: Limits, lesson: Lesson, victims: tuple[str, ...]) -> Survey:
    """Run the call until two runs in a row add nothing, five times at most. Raises HarnessTrouble if it is refused."""
    called = lesson.subject.call.service
    base = await stable(lab, profile, limits, lesson.before)
    stays = frozenset(profile.at_work_after_restart(base, lab.running))
    effects, reads = _Common(), _Common()
    stored: set[str] = set()
    for _ in range(MOST_RUNS):
        await fresh(lab, profile, limits, base, only=lesson.services, stays=stays)
        start, first = lab.relay.seq(), len(lab.relay.reads)
        _watch(lab, victims, watched=True)
        try:
            await _call(lab, lesson)
            await settle(lab, profile, limits, quiet=limits.quiet_async * 1.5, stays=stays)
        finally:
            _watch(lab, victims, watched=False)
        seen = _named(lab.relay.since(start), profile, but=called)
        stored |= {name for own in seen.values() for name, one in own if one.effect.store in STORES}
        same = effects.add(_names(seen))
        everything = sorted([*lab.relay.reads[first:], *lab.relay.since(start)], key=_in_order)
        if reads.add(_names(_named(everything, profile, but=called), read=True)) and same:
            break
    retried: Names = {}
    if any(one.store == "edge" and one.source in victims for one in lesson.effects):
        await fresh(lab, profile, limits, base, only=lesson.services, stays=stays)
        retried = await _retried(lab, profile, limits, lesson, stays)
    common = effects.names()
    least = sum((Counter(own) for own in common.values()), Counter())
    return Survey(
        lesson.subject.call.name,
        common,
        frozenset(stored),
        reads.names(),
        retried,
        tuple(sorted(effects.most - least)),
    )


def _watch(lab: Lab, victims: tuple[str, ...], *, watched: bool) -> None:
    for victim in victims:
        lab.relay.watch_reads(victim, watched=watched)


async def _call(lab: Lab, lesson: Lesson) -> None:
    told = await lab.send(lesson.subject.call)
    if told.status != lesson.told.status:
        name = lesson.subject.call.name
        raise HarnessTrouble(f"{name} was answered {told.status}, where learning had {lesson.told.status}")


async def _retried(lab: Lab, profile: Profile, limits: Limits, lesson: Lesson, stays: frozenset[str]) -> Names:
    """What is noted of edges that refuse, until all wait for their next try."""
    lab.edges_refuse(refuse=True)
    try:
        start = lab.relay.seq()
        await _call(lab, lesson)
        await lab.relay.quiet(seconds=limits.moment, limit=limits.at_rest, from_now=True)
        found = _names(_named(lab.relay.since(start), profile, but=lesson.subject.call.service))
    finally:
        lab.edges_refuse(refuse=False)
    await settle(lab, profile, limits, quiet=limits.quiet_async * 1.5, stays=stays)
    return {service: tuple(name for name in own if profile.retries(name)) for service, own in found.items()}


def _named(
    observations: Iterable[Observation], profile: Profile, *, but: str
) -> dict[str, list[tuple[str, Observation]]]:
    """Effects of each service but one, with their names, in their order."""
    observations = [one for one in observations if one.source != but]
    namers = {source: profile.namer() for source in sorted({one.source for one in observations})}
    found: dict[str, list[tuple[str, Observation]]] = {source: [] for source in namers}
    for one in observations:
        found[one.source].append((namers[one.source](one.effect), one))
    return found


def _names(found: Mapping[str, list[tuple[str, Observation]]], *, read: bool = False) -> dict[str, list[str]]:
    return {source: [name for name, one in own if one.effect.read is read] for source, own in found.items()}


def _in_order(one: Observation) -> tuple[int, bool]:
    """A read has the number of the effect that came next."""
    return one.seq, not one.effect.read


def plan_elsewhere(
    plan: CallPlan, survey: Survey, profile: Profile, *, victims: tuple[str, ...], faults: tuple[Fault, ...]
) -> CallPlan:
    """The plan of a call with the points at which these services are struck while they work on it.

    `after k` and `before k+1` are two points here: what the service has in hand at the same time, and what the caller
    does meanwhile, lies between them. What comes at the pace of something outside is left out: it may come at any
    moment of the rest, and a point there would be another one in each run.
    """
    points: list[CrashPoint] = []
    for victim in victims:
        own = survey.effects.get(victim, ())
        for fault in faults:
            stores = fault in STORE_FAULTS
            sides = fault_sides(fault) if stores else _SIDES
            points += [
                CrashPoint(plan.name, plan.service, side, name, nth, ordinal, fault, victim)
                for ordinal, (name, nth) in enumerate(_counted(own), 1)
                if not profile.paced(name) and (name in survey.stored or not stores)
                for side in sides
            ]
            if stores:
                points += [
                    CrashPoint(plan.name, plan.service, "before", name, nth, 0, fault, victim)
                    for name, nth in _counted(survey.reads.get(victim, ()))
                    if nth <= _MOST_READS and not profile.paced(name)
                ]
        if "crash" in faults and own:
            points += _under(plan, survey, profile, victim)
    return replace(plan, points=plan.points + tuple(points))


def _under(plan: CallPlan, survey: Survey, profile: Profile, victim: str) -> list[CrashPoint]:
    """Crashes with something else wrong: while edges refuse, and with a store that fails while the victim starts."""
    retried = list(_counted(survey.retried.get(victim, ())))
    if retried:
        retried.append((QUIET, 1))
    points = [
        CrashPoint(plan.name, plan.service, side, name, nth, 0, "crash", victim, "edges-refused")
        for name, nth in retried
        for side in (_SIDES if name != QUIET else _SIDES[1:])
    ]
    # The first time that something is written, so that there is something to take up again; one in the middle by name,
    # since what is done side by side comes in another order each time.
    counted = sorted((one, ordinal) for ordinal, one in enumerate(_counted(survey.effects[victim]), 1))
    written = [one for one in counted if one[0][1] == 1 and one[0][0] in survey.stored and not profile.paced(one[0][0])]
    if not written:
        return points
    (name, nth), ordinal = written[len(written) // 2]
    failing: tuple[Under, ...] = ("start-error", "start-error-2")
    return [
        *points,
        *(CrashPoint(plan.name, plan.service, "after", name, nth, ordinal, "crash", victim, one) for one in failing),
    ]


def _counted(names: tuple[str, ...]) -> list[tuple[str, int]]:
    """Each name with how often it was there so far."""
    counts: Counter[str] = Counter()
    counted = []
    for name in names:
        counts[name] += 1
        counted.append((name, counts[name]))
    return counted
