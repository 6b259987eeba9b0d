"""Replay one crash point: clean slate, injection, restart, rest, examination, verdict."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from harness.crashpoints.inject import Injected, inject
from harness.crashpoints.inplace import healed_by_restart, steps
from harness.crashpoints.judge import (
    RESTART,
    Examination,
    Expected,
    Match,
    Verdict,
    expected_states,
    judge,
    judge_in_place,
    judge_whole,
    match,
    nearest,
    restart_would_do,
)
from harness.crashpoints.lab import Call, Lab, Limits, Profile, Subject
from harness.crashpoints.learn import ENDLESS, Controls, Lesson, fresh, settle
from harness.crashpoints.model import Attempt, CrashPoint, Outcome, PointResult, Proof, Told
from harness.crashpoints.once import made_again
from harness.faults.victim import HarnessTrouble, ServiceDown
from harness.stores.canonical import CanonicalRules, Mask, canonical
from harness.stores.snapshot import Snapshot
from harness.wire.effects import Effect
from harness.wire.triggers import Trigger

# An attempt that leads nowhere near a control state differs in everything; these tell the story.
_MOST_CHANGES = 6
_TRIES = 3
_NO_SUCH_METHOD = 405


@dataclass(frozen=True, slots=True)
class Case:
    """A call with all that was learned of it."""

    lesson: Lesson
    controls: Controls
    expected: Expected
    rules: CanonicalRules

    @property
    def subject(self) -> Subject:
        return self.lesson.subject


def make_case(lesson: Lesson, controls: Controls, profile: Profile, masks: tuple[Mask, ...]) -> Case:
    """Put together what was learned of a call; masks are those of the whole campaign."""
    rules = profile.rules(masks)
    return Case(lesson, controls, expected_states(controls, profile, rules), rules)


class Memory:
    """What need not be looked at twice: examinations of partial states, equal ones are examined once, and what is said
    of a control state and not so, although nothing was done to anybody (call and state reached -> sentences)."""

    def __init__(self) -> None:
        self._done: dict[tuple[str, str], Examination] = {}
        self.said_anyway: dict[tuple[str, str], frozenset[str]] = {}

    def get(self, call: str, digest: str) -> Examination | None:
        return self._done.get((call, digest))

    def put(self, call: str, digest: str, examination: Examination) -> None:
        self._done[call, digest] = examination


UNANSWERED = "its status is not answered"
"""Said of a state by an Untrue where there is nothing to compare: never what is usual."""

Untrue = Callable[[Subject, Snapshot, str], Awaitable[tuple[str, ...]]]


async def _nothing(_: Subject, __: Snapshot, ___: str) -> tuple[str, ...]:
    return ()


class Replayer:
    """Replays points of cases in one lab."""

    def __init__(
        self,
        lab: Lab,
        profile: Profile,
        limits: Limits,
        cases: Mapping[str, Case],
        memory: Memory,
        *,
        untrue: Untrue = _nothing,
    ) -> None:
        """`untrue`: what the system says of a whole state that is not so, a sentence each."""
        self._untrue = untrue
        self._lab = lab
        self._profile = profile
        self._limits = limits
        self._cases = cases
        self._memory = memory

    async def run(self, point: CrashPoint) -> PointResult:
        """The judgement of one point. HarnessTrouble becomes `unknown`, never a pass."""
        started = time.monotonic()
        case = self._cases[point.call]
        try:
            result = await (self._refused(case, point) if point.side == "refused" else self._faulted(case, point))
        except HarnessTrouble as trouble:
            result = _unknown(
                point, Proof(False, 0, "", str(trouble)), Told(None), str(trouble), self._lab.log_tail(point.victim)
            )
        except ServiceDown as down:  # in a state that is known to be good
            result = _unknown(point, Proof(False, 0, "", str(down)), Told(None), str(down), down.log)
        return _timed(result, time.monotonic() - started)

    async def _faulted(self, case: Case, point: CrashPoint) -> PointResult:
        lab, limits = self._lab, self._limits
        blind = len(lab.relay.problems)
        injected = await self._injected(case, point)
        if not injected.proof.proven:
            reason = "; ".join((f"the fault is not proven: {injected.proof.how}", *lab.relay.problems[blind:][:3]))
            return _unknown(point, injected.proof, injected.told, reason, lab.log_tail(point.victim))
        at_crash = await self._restarted(case, point, injected)
        if isinstance(at_crash, ServiceDown):
            reason = f"{point.victim} does not come back after the crash: {at_crash}"
            return PointResult(point, Outcome.STUCK, reason, injected.proof, injected.told, logs=at_crash.log)
        # Who works beside the call was just started, and has to take up again what it had in hand.
        restarted = point.elsewhere and point.fault == "crash"
        state, why = await settle(
            lab,
            self._profile,
            limits,
            quiet=self._quiet(case),
            restarted=restarted,
            stays=case.controls.stays,
        )
        if dead := sorted(case.lesson.services - lab.running):
            reason = f"{dead[0]} ended by itself"
            return PointResult(point, Outcome.STUCK, reason, injected.proof, injected.told, logs=lab.log_tail(dead[0]))
        try:
            result = await self._judged(case, point, injected, at_crash, state, why)
        except ServiceDown as down:
            reason = f"in the state that the fault left a service does not start again: {down}"
            return PointResult(point, Outcome.STUCK, reason, injected.proof, injected.told, logs=down.log)
        if blinded := lab.relay.problems[blind:]:
            reason = f"traffic could not be decoded: {'; '.join(blinded[:3])}"
            return _unknown(point, injected.proof, injected.told, reason, "")
        return result

    async def _injected(self, case: Case, point: CrashPoint) -> Injected:
        """The call from a clean slate with the fault in it. What services have in hand side by side may make an effect
        come less often than planned, and some a call itself has not each time; then nothing was done to anybody, and
        that is tried again."""
        tries = _TRIES if point.elsewhere or _varies(case, point) else 1
        while True:
            tries -= 1
            await self._clean_slate(case)
            self._lab.edges_refuse(refuse=point.under == "edges-refused")
            start = self._lab.relay.seq()
            injected = await inject(self._lab, self._profile, self._limits, point, case.subject.call)
            if injected.proof.injections or not tries:
                return replace(injected, since=start)

    async def _clean_slate(self, case: Case) -> None:
        """The state before the call, made certain."""
        base, stays = case.controls.before[0], case.controls.stays
        slate = await fresh(self._lab, self._profile, self._limits, base, only=case.lesson.services, stays=stays)
        if not match(slate, case.expected, self._profile, case.rules, wanted=("before",)).clean:
            where = nearest(slate, case.expected, case.rules, names=("before",))[1]
            raise HarnessTrouble(
                f"the clean slate is not the state before: {', '.join(one.where for one in where[:3])}"
            )

    async def _restarted(self, case: Case, point: CrashPoint, injected: Injected) -> Snapshot | ServiceDown:
        """What was there at the crash, once the others are at rest; then the victim is started again."""
        if point.fault == "crash":
            if case.lesson.involves_others:  # what the others have still to do is not the victim's to heal
                at_crash, _ = await settle(
                    self._lab, self._profile, self._limits, quiet=self._limits.quiet_async, stays=case.controls.stays
                )
            else:
                at_crash = await self._lab.snapshot()
            try:
                await self._started_again(point, injected)
            except ServiceDown as down:
                return down
            return at_crash
        return await self._lab.snapshot()

    async def _started_again(self, point: CrashPoint, injected: Injected) -> None:
        """Start the victim, with what is wrong then. Raises ServiceDown; HarnessTrouble when that did not happen.

        A read that fails is one of the store in which it was struck. Who gives up over it is started once more.
        """
        relay = self._lab.relay
        if not point.under.startswith("start-error"):
            await self._lab.victim(point.victim).start()
            self._lab.edges_refuse(refuse=False)
            return
        relay.watch_reads(point.victim, watched=True)
        number = 2 if point.under == "start-error-2" else 1

        def matches(effect: Effect) -> bool:
            return effect.read and effect.store == injected.store

        armed = relay.arm(Trigger(point.victim, "before", matches, occurrence=number))
        start = asyncio.ensure_future(self._lab.victim(point.victim).start())
        try:
            await asyncio.wait({armed.hit}, timeout=self._limits.hit)
            refused = armed.hit.done() and await relay.refuse_held(point.victim)
            try:
                await start
            except ServiceDown:
                await self._lab.victim(point.victim).start()
        finally:
            armed.disarm()
            relay.watch_reads(point.victim, watched=False)
            start.cancel()
        if not refused:
            raise HarnessTrouble(f"{point.victim} was started again, but no read of its start could be refused")

    def _quiet(self, case: Case) -> float:
        return self._limits.quiet_async if case.lesson.involves_others else self._limits.quiet

    async def _judged(
        self, case: Case, point: CrashPoint, injected: Injected, at_crash: Snapshot, state: Snapshot, why: str
    ) -> PointResult:
        wanted = ("after", "before")
        found = match(state, case.expected, self._profile, case.rules, wanted=wanted)
        # A service that goes on without its client may just have been between two effects.
        while point.fault != "crash" and not found.clean:
            if not await self._lab.relay.moved(self._lab.relay.seq(), limit=self._limits.moment * 4):
                break
            state, why = await settle(
                self._lab, self._profile, self._limits, quiet=self._quiet(case), stays=case.controls.stays
            )
            found = match(state, case.expected, self._profile, case.rules, wanted=wanted)
        healed = (
            point.fault == "crash"
            and not match(at_crash, case.expected, self._profile, case.rules, wanted=wanted).clean
        )
        endless = ENDLESS in why
        verdict = None if endless else judge_whole(injected.told, found, self_healed=healed)
        attempts: tuple[Attempt, ...] = ()
        if verdict is None:
            tried = await self._examined(case, state, gave_up=_took_up_its_work(point))
            if restart_would_do(injected.told, found, tried):
                tried = replace(tried, there=await self._repeated_there(case, point))
            changes = nearest(state, case.expected, case.rules, names=_names(injected.told))
            verdict = judge(injected.told, found, why, changes, tried, elsewhere=point.elsewhere)
            attempts = tried.attempts()
        elif point.elsewhere and (amiss := await self._amiss(case, injected, state, found.reached)) is not None:
            if not amiss:
                return await self._faulted(case, point)
            verdict = Verdict(Outcome.NEEDS_REPAIR, f"the state {found.reached} the call, but {amiss}", found.reached)
        elif (broken := await self._in_place(case, found, state)) is not None:
            verdict, attempts = broken
        return _result(point, verdict, injected, attempts)

    async def _amiss(self, case: Case, injected: Injected, state: Snapshot, reached: str) -> str | None:
        """What is wrong with a whole state that the state alone does not show; None: nothing.

        Empty: nothing either, but to find that out a control state was put in its place, so that what services hold in
        memory is gone: the point has to be run again. That is needed once for a call.
        """
        seen = self._lab.relay.since(injected.since)
        if again := made_again(case.lesson.effects, seen, self._profile):
            return f"made again meanwhile: {'; '.join(again)}"
        said = await self._untrue(case.subject, state, reached)
        if not said:
            return None
        key = case.subject.call.name, reached
        known = key in self._memory.said_anyway
        if not known:
            self._memory.said_anyway[key] = await self._said_anyway(case, reached)
        lies = [one for one in said if one not in self._memory.said_anyway[key]]
        if lies:
            return f"what is said of it is not so: {'; '.join(lies[:3])}"
        return None if known else ""

    async def _said_anyway(self, case: Case, reached: str) -> frozenset[str]:
        """What is untrue without the fault as well, which is no finding of a crash point. Raises HarnessTrouble when a
        control state says nothing."""
        control = (case.controls.after if reached == "after" else case.controls.before)[0]
        only, stays = case.lesson.services, case.controls.stays
        there = await fresh(self._lab, self._profile, self._limits, control, only=only, stays=stays)
        said = frozenset(await self._untrue(case.subject, there, reached))
        if UNANSWERED in said:
            raise HarnessTrouble(f"in the state {reached} {case.subject.call.name}, without a fault, {UNANSWERED}")
        return said

    async def _repeated_there(self, case: Case, point: CrashPoint) -> Attempt | None:
        """The point once more, and its call repeated in place: what a client does, who restarts nothing. None: the
        fault could not be repeated, and the restart keeps the credit."""
        injected = await self._injected(case, point)
        if not injected.proof.proven or isinstance(await self._restarted(case, point, injected), ServiceDown):
            return None
        await settle(self._lab, self._profile, self._limits, quiet=self._quiet(case), stays=case.controls.stays)
        attempt, _ = await self._try(case, "repeat in place", (case.subject.call,), ("after", "twice"))
        return attempt

    async def _in_place(self, case: Case, found: Match, state: Snapshot) -> tuple[Verdict, tuple[Attempt, ...]] | None:
        """Go on from a whole state where it stands; None: all went as in the control runs."""
        done: list[Attempt] = []
        for step in steps(case.subject, case.controls, found.reached):
            attempt, _ = await self._try(case, step.name, step.calls, step.reach)
            done.append(attempt)
            if not step.held(attempt):
                tried = await self._examined(case, state)
                by_restart = healed_by_restart(step, found.reached, tried)
                verdict = judge_in_place(found, step.failed(attempt), tried, by_restart=by_restart)
                return verdict, (*done, *tried.attempts())
        return None

    async def _examined(self, case: Case, state: Snapshot, *, gave_up: bool = False) -> Examination:
        """gave_up: a victim that was restarted made no more of the state: it will not the next time, and no attempt
        need wait for that again."""
        digest = canonical(state, case.rules).digest + ("+gave-up" if gave_up else "")
        known = self._memory.get(case.subject.call.name, digest)
        if known is None:
            if gave_up:
                stays = case.controls.stays | frozenset(self._profile.at_work_after_restart(state, self._lab.running))
                case = replace(case, controls=replace(case.controls, stays=stays))
            known = await self._examine(case, state)
            self._memory.put(case.subject.call.name, digest, known)
        return known

    async def _examine(self, case: Case, state: Snapshot) -> Examination:
        """Each attempt from a fresh copy of the state, so that none helps the next."""
        subject = case.subject
        restarted = await fresh(
            self._lab, self._profile, self._limits, state, only=case.lesson.services, stays=case.controls.stays
        )
        restart_match = match(restarted, case.expected, self._profile, case.rules, wanted=("after", "before"))
        restart = Attempt(RESTART, (), restart_match.reached if restart_match.clean else "")
        repeat, repeat_match = await self._try(case, "repeat", (subject.call,), ("after", "twice"))
        undo_after = undo = redo = None
        redo_match = Match("")
        if subject.undo:
            if repeat_match.reached:
                undo_after, _ = await self._try(case, "undo after repeat", subject.undo, ("undone", "before"))
            await fresh(
                self._lab, self._profile, self._limits, state, only=case.lesson.services, stays=case.controls.stays
            )
            undo, _ = await self._try(case, "undo", subject.undo, ("before", "undone"))
            redo, redo_match = await self._try(case, "redo", (subject.call,), ("after", "redone", "twice"))
        rungs: list[Attempt] = []
        again = bool(repeat.reached) and (undo_after is None or bool(undo_after.reached))
        healed = bool(again or (redo is not None and redo.reached and undo is not None and undo.reached))
        anywhere: tuple[str, ...] = ("after", "redone", "twice", "undone", "before")
        removed: tuple[str, ...] = ("torn", "before")
        ladder = [(rung.name, rung.calls, anywhere) for rung in subject.rungs]
        ladder += [(rung.name, rung.calls, removed) for rung in subject.last_resorts]
        for name, calls, reach in () if healed else ladder:
            await fresh(
                self._lab, self._profile, self._limits, state, only=case.lesson.services, stays=case.controls.stays
            )
            attempt, _ = await self._try(case, name, calls, reach)
            rungs.append(attempt)
            if attempt.reached:
                break  # the ladder goes from the gentle to the drastic: one that helps is enough
        return Examination(restart, repeat, repeat_match, undo_after, undo, redo, redo_match, tuple(rungs))

    async def _try(
        self, case: Case, name: str, calls: tuple[Call, ...], wanted: tuple[str, ...]
    ) -> tuple[Attempt, Match]:
        answers: list[Told] = []
        for call in calls:
            if answers:  # a person would wait, too, until the one call has done its work before the next
                await settle(self._lab, self._profile, self._limits, quiet=self._quiet(case), stays=case.controls.stays)
            answers.append(await self._lab.send(call))
        state, why = await settle(
            self._lab, self._profile, self._limits, quiet=self._quiet(case), stays=case.controls.stays
        )
        found = match(state, case.expected, self._profile, case.rules, wanted=wanted)
        if dead := sorted(case.lesson.services - self._lab.running):
            found, why = Match(""), f"{dead[0]} ended by itself: {self._lab.log_tail(dead[0])[-300:]}"
        # What still runs unowned is no way back, nor is what never stops.
        reached = "" if found.orphans or ENDLESS in why else found.reached
        left = () if reached else nearest(state, case.expected, case.rules, names=wanted)[1]
        more = f"{len(left) - _MOST_CHANGES} more differences" if len(left) > _MOST_CHANGES else ""
        note = "; ".join(text for text in (why, *found.leaks, *found.orphans, more) if text)
        return Attempt(name, tuple(answers), reached, left[:_MOST_CHANGES], note), found

    async def _refused(self, case: Case, point: CrashPoint) -> PointResult:
        """No fault at all: the call must be refused, and what is refused must change nothing."""
        lab = self._lab
        told = await lab.send(case.subject.call)
        state, why = await settle(
            lab, self._profile, self._limits, quiet=self._limits.quiet_async, stays=case.controls.stays
        )
        proof = Proof(True, 0, "", f"no fault; answered {told.status}")
        if told.status is None or told.status == _NO_SUCH_METHOD:
            return _unknown(point, proof, told, f"the call was not refused, it had no proper answer: {told.body}", "")
        if told.kind != "refused":
            reason = f"must be refused ({case.subject.refused}) but was answered {told.status}"
            changes = nearest(state, case.expected, case.rules, names=("before",))[1]
            return PointResult(point, Outcome.NEEDS_REPAIR, reason, proof, told, "before", changes)
        found = match(state, case.expected, self._profile, case.rules, wanted=("before",))
        if found.clean and not why:
            return PointResult(point, Outcome.ATOMIC, "refused, and nothing changed", proof, told, "before")
        tried = await self._examine_refused(case, state)
        changes = nearest(state, case.expected, case.rules, names=("before",))[1]
        healed = next((attempt for attempt in tried if attempt.reached), None)
        reason = f"refused with {told.status}, but the state changed" + (
            f"; {healed.name} helps" if healed else "; nothing heals"
        )
        outcome = Outcome.NEEDS_REPAIR if healed or not tried else Outcome.STUCK
        if not tried:
            reason = f"refused with {told.status}, but the state changed; nothing was tried to mend it"
        return PointResult(point, outcome, reason, proof, told, "before", changes, tried, healed.name if healed else "")

    async def _examine_refused(self, case: Case, state: Snapshot) -> tuple[Attempt, ...]:
        tried = []
        services = case.lesson.services
        for rung in case.subject.rungs:
            await fresh(self._lab, self._profile, self._limits, state, only=services, stays=case.controls.stays)
            attempt, _ = await self._try(case, rung.name, rung.calls, ("before", "undone"))
            tried.append(attempt)
        if not case.subject.teardown or any(attempt.reached for attempt in tried):
            return tuple(tried)
        base = case.controls.before[0]
        await fresh(self._lab, self._profile, self._limits, base, only=services, stays=case.controls.stays)
        await self._try(case, "control", case.subject.teardown, ("before",))
        torn = canonical(await self._lab.snapshot(), case.rules)
        removed = replace(case, expected=replace(case.expected, torn=(torn,)))
        await fresh(self._lab, self._profile, self._limits, state, only=services, stays=case.controls.stays)
        attempt, _ = await self._try(removed, "removing it altogether", case.subject.teardown, ("torn",))
        return (*tried, attempt)


def _varies(case: Case, point: CrashPoint) -> bool:
    """Whether some run without the fault lacks the point's effect."""
    runs = (tuple(one for one in case.lesson.effects if one.source == point.service), *case.controls.effects)
    return point.effect != "answer" and any(
        sum(one.slug == point.effect for one in run) < point.occurrence for run in runs
    )


def _took_up_its_work(point: CrashPoint) -> bool:
    """Whether a victim beside the call was started again with nothing in its way: only then does what it left say that
    it leaves it for good."""
    return point.elsewhere and point.fault == "crash" and not point.under.startswith("start-error")


def _names(told: Told) -> tuple[str, ...]:
    """Which control states a faulted run may be compared with, given what the client was told."""
    if told.kind == "acknowledged":
        return ("after",)
    return ("before",) if told.kind == "refused" else ("before", "after")


def _result(point: CrashPoint, verdict: Verdict, injected: Injected, attempts: tuple[Attempt, ...]) -> PointResult:
    return PointResult(
        point=point,
        outcome=verdict.outcome,
        reason=verdict.reason,
        proof=injected.proof,
        told=injected.told,
        nearest=verdict.nearest,
        difference=verdict.difference,
        attempts=attempts,
        repair=verdict.repair,
        leaks=verdict.leaks,
    )


def _unknown(point: CrashPoint, proof: Proof, told: Told, reason: str, logs: str) -> PointResult:
    return PointResult(point, Outcome.UNKNOWN, reason, proof, told, logs=logs)


def _timed(result: PointResult, seconds: float) -> PointResult:
    return replace(result, seconds=round(seconds, 3))
