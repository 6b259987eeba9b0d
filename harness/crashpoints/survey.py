"""What services other than the called one do because of a call, and the crash points that this gives.

They work beside the call and after its answer, several things at once: their effects come in an order that varies, some
in a number that varies. So a call is run from the same state until two runs in a row take nothing away from what all of
them have in common, and that is planned, by name and occurrence, never by order.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from harness.crashpoints.lab import Lab, Limits, Profile
from harness.crashpoints.learn import MOST_RUNS, Lesson, fresh, settle, stable
from harness.crashpoints.model import CallPlan, CrashPoint, Fault, Side
from harness.faults.victim import HarnessTrouble
from harness.wire.effects import Observation

Names = Mapping[str, tuple[str, ...]]
_SIDES: tuple[Side, ...] = ("before", "after")


@dataclass(frozen=True, slots=True)
class Survey:
    """One call's effects by services other than the called one.

    effects: names that every run had, as often as every run had them, in the order of the last one; by service
    varies:  names that came more often in some runs than in others
    """

    call: str
    effects: Names
    varies: tuple[str, ...]


def works_elsewhere(lesson: Lesson, profile: Profile, victims: tuple[str, ...]) -> bool:
    """Whether one of these services did anything because of the call that is not at the pace of something outside."""
    called = lesson.subject.call.service
    return any(one.source in victims and one.source != called and not profile.paced(one.slug) for one in lesson.effects)


async def survey(lab: Lab, profile: Profile, limits: Limits, lesson: Lesson) -> Survey:
    """Run the call until two runs in a row add nothing, five times at most. Raises HarnessTrouble if it is refused."""
    call = lesson.subject.call
    base = await stable(lab, profile, limits, lesson.before)
    stays = frozenset(profile.at_work_after_restart(base, lab.running))
    common: dict[str, Counter[str]] = {}
    most: Counter[str] = Counter()
    names: dict[str, list[str]] = {}
    for run in range(MOST_RUNS):
        await fresh(lab, profile, limits, base, only=lesson.services, stays=stays)
        start = lab.relay.seq()
        told = await lab.send(call)
        if told.status != lesson.told.status:
            raise HarnessTrouble(f"{call.name} was answered {told.status}, where learning had {lesson.told.status}")
        await settle(lab, profile, limits, quiet=limits.quiet_async * 1.5, stays=stays)
        names = named(lab.relay.since(start), profile, but=call.service)
        counts = {service: Counter(own) for service, own in names.items()}
        for own in counts.values():
            most |= own
        fewer = {name: known & counts.get(name, Counter()) for name, known in common.items()} if run else counts
        if run and fewer == common:
            break
        common = fewer
    effects = {service: _kept(own, common.get(service, Counter())) for service, own in names.items()}
    least = sum((Counter(own) for own in effects.values()), Counter())
    return Survey(call.name, {service: own for service, own in effects.items() if own}, tuple(sorted(most - least)))


def named(observations: tuple[Observation, ...], profile: Profile, *, but: str) -> dict[str, list[str]]:
    """Names of the effects of each service but one, in their order."""
    namers = {one.source: profile.namer() for one in observations if one.source != but}
    names: dict[str, list[str]] = {service: [] for service in sorted(namers)}
    for one in observations:
        if one.source in namers:
            names[one.source].append(namers[one.source](one.effect))
    return names


def _kept(own: list[str], common: Counter[str]) -> tuple[str, ...]:
    left = Counter(common)
    kept = []
    for name in own:
        if left[name]:
            left[name] -= 1
            kept.append(name)
    return tuple(kept)


def plan_elsewhere(
    plan: CallPlan, survey: Survey, profile: Profile, *, victims: tuple[str, ...], faults: tuple[Fault, ...]
) -> CallPlan:
    """The plan of a call with the points at which these services are struck while they work on it.

    `after k` and `before k+1` are two points here: what the service has in hand at the same time, and what the caller
    does meanwhile, lies between them. Of what comes at the pace of something outside only the first is planned.
    """
    points: list[CrashPoint] = []
    for victim in victims:
        for fault in faults:
            counts: Counter[str] = Counter()
            for ordinal, name in enumerate(survey.effects.get(victim, ()), 1):
                counts[name] += 1
                if counts[name] > 1 and profile.paced(name):
                    continue
                points += [
                    CrashPoint(plan.name, plan.service, side, name, counts[name], ordinal, fault, victim)
                    for side in _SIDES
                ]
    return replace(plan, points=plan.points + tuple(points))
