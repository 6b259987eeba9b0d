"""Learning: what each call does when nothing goes wrong, and every state that a faulted run may lawfully end in."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from harness.crashpoints.lab import Call, Lab, Limits, Profile, Subject
from harness.crashpoints.model import CallPlan, CrashPoint, Fault, Side, Told
from harness.faults.victim import HarnessTrouble
from harness.stores.canonical import Mask, canonical, learn_masks
from harness.stores.snapshot import Snapshot
from harness.wire.effects import Observation

MOST_RUNS = 5
STORES = frozenset({"mongo", "etcd"})


@dataclass(frozen=True, slots=True)
class Seen:
    """One effect as learned: readable slug, decoded description, who made it, where it went."""

    slug: str
    source: str
    store: str
    target: str
    text: str


@dataclass(frozen=True, slots=True)
class Lesson:
    """One call as it went in the chain: the state before, the answer, its effects, the state after."""

    subject: Subject
    before: Snapshot
    told: Told
    effects: tuple[Seen, ...]
    after: Snapshot

    @property
    def services(self) -> frozenset[str]:
        """The services that have to run: those that had work from the call, and those that undoing and repairing call.

        Services reach each other by gRPC only, and the relays see that; who is not among these learns nothing of it.
        """
        subject = self.subject
        steps = [*subject.undo, *subject.teardown, *(call for rung in subject.rungs for call in rung.calls)]
        asked = (seen.target for seen in self.effects if seen.store == "grpc")
        return subject.services | frozenset(
            {subject.call.service, *(seen.source for seen in self.effects), *asked, *(call.service for call in steps)}
        )

    @property
    def involves_others(self) -> bool:
        """Whether any service but the called one had work from it."""
        return any(seen.source != self.subject.call.service for seen in self.effects) or any(
            seen.store == "grpc" for seen in self.effects
        )


@dataclass(frozen=True, slots=True)
class Controls:
    """The states that runs without a fault lead to, and the answers they got.

    before:  the state before, such that a restart changes nothing in it: every faulted run begins there
    after:   the state after, and the same after a restart of everything
    twice:   after the call was made twice;  repeat: what the second one was told
    undone:  after call and undo;  redone: after call, undo and call
    stays:   what a start leaves undone in the state before, though it should not
    torn:    after the call, when what it belongs to was removed altogether
    there:   twice, undone, redone once more, with nothing restarted in between, where others work on the call as well:
             a restart makes them do what they would not have done otherwise
    """

    before: tuple[Snapshot, ...]
    after: tuple[Snapshot, ...]
    twice: Snapshot
    repeat: Told
    undone: Snapshot | None = None
    stays: frozenset[str] = frozenset()
    undo: tuple[Told, ...] = ()
    redone: Snapshot | None = None
    redo: Told | None = None
    torn: Snapshot | None = None
    effects: tuple[tuple[Seen, ...], ...] = ()
    masks: tuple[Mask, ...] = ()
    there: Mapping[str, Snapshot] = field(default_factory=dict)


class CallFails(HarnessTrouble):
    """A call of the workload failed although nothing was done to the system."""


class DoesNotSettle(HarnessTrouble):
    """A call has other effects each time, or the system does not come to rest after it."""


async def fresh(
    lab: Lab,
    profile: Profile,
    limits: Limits,
    snapshot: Snapshot,
    *,
    only: frozenset[str] | None = None,
    stays: frozenset[str] = frozenset(),
) -> Snapshot:
    """A clean slate with this snapshot, once what a start alone sets off is done; what is there then.

    stays: what is known to be left undone by a start
    """
    await lab.clean_slate(snapshot, only=only)
    return (await settle(lab, profile, limits, quiet=limits.quiet, restarted=True, stays=stays))[0]


ENDLESS = "effects go on"
"""How settle() says, alone or behind what is still to be done, that something never stops, though what is there may
look finished at every moment."""


async def settle(
    lab: Lab,
    profile: Profile,
    limits: Limits,
    *,
    quiet: float,
    restarted: bool = False,
    stays: frozenset[str] = frozenset(),
) -> tuple[Snapshot, str]:
    """Wait until nothing happens any more and return what is there, and why it is not at rest if it is not.

    Quiet is "no effect for `quiet` seconds and no request under way"; what is at work then gets `at_rest` seconds to
    move, and `retries` where it is known to wait for its next try. A system that moves again is waited for again, at
    most ten times as long.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + limits.at_rest * 10
    while True:
        silent = await lab.relay.quiet(seconds=quiet, limit=max(quiet, deadline - clock()))
        seen = lab.relay.seq()
        snapshot = await lab.snapshot()
        reasons = (profile.at_work_after_restart if restarted else profile.at_work)(snapshot, lab.running)
        why = "; ".join(reason for reason in reasons if reason not in stays)
        if not silent or clock() > deadline:
            endless = f"{ENDLESS} after {limits.at_rest * 10:g} s"
            return snapshot, endless if not why else why if silent else f"{why}; {endless}"
        if not why:
            if not profile.may_be_at_work(snapshot, lab.running):
                return snapshot, why
            if not await lab.relay.moved(seen, limit=limits.moment):
                return snapshot, why
            continue
        waits = profile.between_tries(snapshot)
        moved = await lab.relay.moved(seen, limit=max(limits.retries, limits.at_rest) if waits else limits.at_rest)
        if not moved:
            return await lab.snapshot(), why


async def observe(
    lab: Lab,
    profile: Profile,
    limits: Limits,
    subject: Subject,
    before: Snapshot,
    *,
    must_rest: bool,
    stays: frozenset[str] = frozenset(),
) -> Lesson:
    """Make the call in the present state and watch.

    must_rest: raise DoesNotSettle when the system does not come to rest. Control runs, which begin with a restart, do
    not ask for it: what a restart alone spoils is not the fault's doing, and a faulted run may end there as well.
    """
    start = lab.relay.seq()
    told = await lab.send(subject.call)
    after, why = await settle(lab, profile, limits, quiet=limits.quiet_async * 1.5, stays=stays)
    if why and must_rest:
        raise DoesNotSettle(f"after {subject.call.name} the system does not come to rest: {why}")
    return Lesson(subject, before, told, seen(lab.relay.since(start), profile), after)


def seen(observations: tuple[Observation, ...], profile: Profile) -> tuple[Seen, ...]:
    """Observations as learned effects."""
    return tuple(
        Seen(profile.slug(one.effect), one.source, one.effect.store, one.target, one.effect.describe())
        for one in observations
    )


async def learn_controls(lab: Lab, profile: Profile, limits: Limits, lesson: Lesson) -> Controls:
    """Run what has no fault: call; restart and call again; restart, undo, redo."""
    subject = lesson.subject
    base = await stable(lab, profile, limits, lesson.before)
    stays = frozenset(profile.at_work_after_restart(base, lab.running))
    await fresh(lab, profile, limits, base, only=lesson.services, stays=stays)
    runs: list[tuple[Seen, ...]] = [_own(lesson.effects, subject.call.service)]
    while True:
        again = await observe(lab, profile, limits, subject, base, must_rest=False, stays=stays)
        if again.told.status != lesson.told.status:
            raise DoesNotSettle(
                f"{subject.call.name} was answered {lesson.told.status}, then {again.told.status} from the same state"
            )
        runs.append(_own(again.effects, subject.call.service))
        if Counter(one.slug for one in runs[-1]) in [Counter(one.slug for one in run) for run in runs[:-1]]:
            break
        if len(runs) >= MOST_RUNS:
            raise DoesNotSettle(f"{subject.call.name} has other effects in each of {MOST_RUNS} runs: {_variants(runs)}")
        await fresh(lab, profile, limits, base, only=lesson.services, stays=stays)
    quiet = limits.quiet_async if lesson.involves_others else limits.quiet
    if lesson.involves_others:
        await fresh(lab, profile, limits, again.after, only=lesson.services, stays=stays)
    repeat = await lab.send(subject.call)
    twice, _ = await settle(lab, profile, limits, quiet=quiet, stays=stays)
    restarted = await fresh(lab, profile, limits, again.after, only=lesson.services, stays=stays)
    masks = _masks(lesson, again, base, profile)
    controls = Controls(
        before=(base,),
        after=(again.after, restarted),
        twice=twice,
        repeat=repeat,
        stays=stays,
        effects=tuple(runs),
        masks=masks,
    )
    if subject.undo:
        controls = await _undo_and_redo(lab, profile, limits, subject, controls)
    return await _tear_down(lab, profile, limits, subject, controls) if subject.teardown else controls


def _masks(lesson: Lesson, again: Lesson, base: Snapshot, profile: Profile) -> tuple[Mask, ...]:
    """What differs between two runs from the same state; never what is judged."""
    rules = profile.rules(())
    if canonical(lesson.before, rules).digest != canonical(base, rules).digest:
        return ()  # they began differently: a difference says nothing
    masks = learn_masks(canonical(lesson.after, rules), canonical(again.after, rules))
    if judged := [mask for mask in masks if profile.never_masked(mask)]:
        where = ", ".join(f"{mask.where} {mask.path}" for mask in judged[:3])
        raise DoesNotSettle(f"{lesson.subject.call.name} leads to another state each time: {where}")
    return masks


async def stable(lab: Lab, profile: Profile, limits: Limits, snapshot: Snapshot) -> Snapshot:
    """What a snapshot becomes by restarts, once another one changes nothing more.

    Some states change by a restart alone (EMCO leaves events in queues that rsync's next start works off). Every run
    begins with a restart, so all begin from the state that restarts lead to; else that work would run into the call.
    """
    rules = profile.rules(())
    for _ in range(MOST_RUNS):
        restarted = await fresh(lab, profile, limits, snapshot)
        if canonical(restarted, rules).digest == canonical(snapshot, rules).digest:
            return snapshot
        snapshot = restarted
    raise DoesNotSettle(f"the state changes by each of {MOST_RUNS} restarts without any call")


async def _undo_and_redo(lab: Lab, profile: Profile, limits: Limits, subject: Subject, controls: Controls) -> Controls:
    answers: list[Told] = []
    undone = controls.after[0]
    for call in subject.undo:
        if answers:
            await settle(lab, profile, limits, quiet=limits.quiet_async, stays=controls.stays)
        answers.append(await lab.send(call))
    if any(told.kind != "acknowledged" for told in answers):
        return replace(controls, undo=tuple(answers))  # it cannot be undone, with or without a fault
    undone, _ = await settle(lab, profile, limits, quiet=limits.quiet_async, stays=controls.stays)
    redo = await lab.send(subject.call)
    redone, _ = await settle(lab, profile, limits, quiet=limits.quiet_async, stays=controls.stays)
    return replace(controls, undone=undone, undo=tuple(answers), redone=redone, redo=redo)


async def _tear_down(lab: Lab, profile: Profile, limits: Limits, subject: Subject, controls: Controls) -> Controls:
    await fresh(lab, profile, limits, controls.after[0], stays=controls.stays)
    torn = controls.after[0]
    for call in subject.teardown:
        await lab.send(call)
        torn, _ = await settle(lab, profile, limits, quiet=limits.quiet_async, stays=controls.stays)
    return replace(controls, torn=torn)


def _own(effects: tuple[Seen, ...], service: str) -> tuple[Seen, ...]:
    return tuple(one for one in effects if one.source == service)


def _variants(runs: list[tuple[Seen, ...]]) -> str:
    common = set.intersection(*({one.slug for one in run} for run in runs))
    return ", ".join(sorted({one.slug for run in runs for one in run} - common)) or "their number varies"


def union(runs: Iterable[tuple[Seen, ...]]) -> tuple[Seen, ...]:
    """Every effect that any run has, as often as the run that has it most: those of the first run in their order, what
    a later run adds behind what it came after there."""
    merged: list[tuple[tuple[str, int], Seen]] = []
    for run in runs:
        at = 0
        counts: Counter[str] = Counter()
        places = {key: index for index, (key, _) in enumerate(merged)}
        for one in run:
            counts[one.slug] += 1
            key = (one.slug, counts[one.slug])
            if key in places:
                at = places[key] + 1
            else:
                merged.insert(at, (key, one))
                at += 1
                places = {known: index for index, (known, _) in enumerate(merged)}
    return tuple(one for _, one in merged)


def plan_call(
    lesson: Lesson,
    *,
    faults: tuple[Fault, ...],
    store_faults: tuple[Fault, ...] = (),
    note: str = "",
    runs: Iterable[tuple[Seen, ...]] = (),
) -> CallPlan:
    """Enumerate the boundaries of a call: before the first effect, after each, and after the answer.

    runs: its effects in further runs; what only some of them have is planned, too

    `after k` and `before k+1` are one point: between two neighbouring effects nothing durable can lie that the relays
    do not see, because every connection of the service to stores, services and edges goes through one.
    """
    call = lesson.subject.call
    own = union((_own(lesson.effects, call.service), *runs))
    points: list[CrashPoint] = []
    for fault in faults:
        counts: Counter[str] = Counter()
        for ordinal, one in enumerate(own, 1):
            counts[one.slug] += 1
            if ordinal == 1:
                points.append(CrashPoint(call.name, call.service, "before", one.slug, 1, 1, fault))
            points.append(CrashPoint(call.name, call.service, "after", one.slug, counts[one.slug], ordinal, fault))
        if fault == "crash":
            points.append(CrashPoint(call.name, call.service, "after", "answer", 1, 0, fault))
    points += [point for fault in store_faults for point in _store_points(call, own, fault)]
    return CallPlan(
        name=call.name,
        service=call.service,
        method=call.method,
        path=call.path,
        effects=tuple(one.slug for one in own),
        points=tuple(points),
        note=note,
    )


def fault_sides(fault: Fault) -> tuple[Side, ...]:
    """Where a fault of a store can be: a connection is reset with the request or with its reply, an error is both."""
    return ("before",) if fault == "error" else ("before", "after")


def _store_points(call: Call, own: tuple[Seen, ...], fault: Fault) -> Iterator[CrashPoint]:
    counts: Counter[str] = Counter()
    for ordinal, one in enumerate(own, 1):
        counts[one.slug] += 1
        if one.store in STORES:
            for side in fault_sides(fault):
                yield CrashPoint(call.name, call.service, side, one.slug, counts[one.slug], ordinal, fault)
