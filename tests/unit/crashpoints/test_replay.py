"""Replaying points of a small system: from injection to verdict."""

from dataclasses import replace

import pytest

from harness.crashpoints.inplace import steps
from harness.crashpoints.lab import Call, Rung, Subject
from harness.crashpoints.model import CrashPoint, Outcome, PointResult, Told
from harness.crashpoints.replay import UNANSWERED, Case, Memory, Replayer
from harness.stores.snapshot import Snapshot

from .conftest import (
    EXISTS,
    LIMITS,
    OK,
    PROFILE,
    FakeCall,
    FakeLab,
    Script,
    State,
    case_of,
    create,
    point,
    remove,
)

BOTH = {"a": "made", "b": "made"}
# Makes a, then b. Repeating over a alone is refused; undoing needs b.
CREATE = Subject(create("a", "b"), (remove("a", "b"),))
CASE = case_of(CREATE, before={}, after=BOTH, undone={})


async def replayed(script: Script, case: Case = CASE, planned: CrashPoint | None = None) -> tuple[FakeLab, PointResult]:
    lab = FakeLab(script)
    planned = planned or point()
    result = await Replayer(lab.as_lab(), PROFILE, LIMITS, {"create": case}, Memory()).run(planned)
    return lab, result


def rung(name: str, state: State) -> Rung:
    return Rung(name, (FakeCall(name, lambda _: (OK, state)),))


@pytest.mark.parametrize(
    "script, outcome",
    [
        (Script(partial={}), Outcome.ATOMIC),
        (Script(partial=BOTH), Outcome.ATOMIC),
        (Script(partial={"a": "made"}, restarted=BOTH), Outcome.SELF_HEALS),
        (Script(partial={"a": "made"}, restarted={}), Outcome.SELF_HEALS),
        (Script(partial={"b": "made"}), Outcome.RETRY_HEALS),
        (Script(partial={"inert x": "1"}), Outcome.LEAKS),
        (Script(partial={"orphan x": "1"}), Outcome.ORPHANS),
        (Script(partial={"a": "made"}), Outcome.STUCK),
        (Script(partial={"b": "pending"}), Outcome.NEEDS_REPAIR),
    ],
    ids=lambda value: str(value) if isinstance(value, Outcome) else "",
)
async def test_a_crash_and_what_it_leaves(script: Script, outcome: Outcome) -> None:
    _, result = await replayed(script)
    assert outcome == result.outcome
    assert result.proof.proven is True


async def test_a_stuck_state_is_shown_with_its_difference_and_every_attempt() -> None:
    _, result = await replayed(Script(partial={"a": "made"}))
    assert result.reason == (
        "nothing heals: not repeating, not undo and redo, no rung of the ladder; "
        "repeating answers 409 over a partial record"
    )
    assert (result.nearest, [change.where for change in result.difference]) == ("before", ["mongo db.records a"])
    assert [(one.name, one.told[0].status, one.reached) for one in result.attempts] == [
        ("repeat", 409, ""),
        ("undo", 404, ""),
        ("redo", 409, ""),
    ]


@pytest.mark.parametrize("partial", [BOTH, {}], ids=["after", "before"])
async def test_a_whole_state_in_which_something_is_written_for_ever_is_no_pass(partial: State) -> None:
    _, result = await replayed(Script(partial=partial, endless=True))
    assert result.outcome is Outcome.STUCK
    assert "effects go on" in result.reason


async def test_what_never_stops_is_no_pass_either_where_something_is_to_be_done_that_no_state_shows() -> None:
    hidden = replace(PROFILE, at_work=lambda *_: ("p is pending",))
    lab = FakeLab(Script(partial=BOTH, endless=True))
    result = await Replayer(lab.as_lab(), hidden, LIMITS, {"create": CASE}, Memory()).run(point())
    assert result.outcome is Outcome.STUCK
    assert "p is pending; effects go on" in result.reason


async def test_the_first_rung_that_helps_is_enough_and_named() -> None:
    rungs = (rung("put", {"a": "other"}), rung("approve again", BOTH), rung("terminate", BOTH))
    case = case_of(replace(CREATE, rungs=rungs), before={}, after=BOTH, undone={})
    _, result = await replayed(Script(partial={"a": "made"}), case)
    assert (result.outcome, result.repair) == (Outcome.NEEDS_REPAIR, "approve again")
    assert [one.name for one in result.attempts] == ["repeat", "undo", "redo", "put", "approve again"]


async def test_what_still_runs_unowned_is_no_way_back() -> None:
    rungs = (rung("put", BOTH | {"orphan": "1"}), rung("terminate", BOTH))
    case = case_of(replace(CREATE, rungs=rungs), before={}, after=BOTH, undone={})
    _, result = await replayed(Script(partial={"a": "made"}), case)
    assert (result.repair, result.attempts[-2].note) == ("terminate", "orphan")


async def test_every_attempt_begins_with_a_fresh_copy_of_the_state_that_was_left() -> None:
    rungs = (rung("put", {"a": "other"}), rung("approve again", BOTH))
    case = case_of(replace(CREATE, rungs=rungs), before={}, after=BOTH, undone={})
    lab, _ = await replayed(Script(partial={"a": "made"}), case)
    assert lab.slates == [{}, *[{"a": "made"}] * 4]


async def test_a_disconnect_restarts_nothing() -> None:
    lab, result = await replayed(Script(partial={"b": "made"}), planned=point("disconnect"))
    assert result.outcome is Outcome.RETRY_HEALS
    assert "start" not in lab.log


async def test_an_acknowledged_call_whose_result_is_gone_is_lost() -> None:
    async def lost(restarted: State) -> PointResult:
        return (await replayed(Script(restarted=restarted), planned=point(effect="answer")))[1]

    assert (await lost({"a": "made"})).outcome is Outcome.LOST
    result = await lost({})
    assert (result.outcome, result.told) == (Outcome.LOST, OK)
    assert result.reason == "acknowledged with 201, but the result is not there"
    assert [change.kind for change in result.difference] == ["missing", "missing"]
    assert (await lost(BOTH)).outcome is Outcome.ATOMIC


async def test_a_fault_that_is_not_proven_is_unknown_with_the_log() -> None:
    lab, result = await replayed(Script(partial={}, signal=15))
    assert (result.outcome, result.logs) == (Outcome.UNKNOWN, "log of svc")
    assert result.reason == "the fault is not proven: SIGTERM reaped (pid 7), 3 of 3 connections ended"
    assert "start" not in lab.log


async def test_connections_that_could_not_be_decoded_are_named_when_the_fault_is_not_proven() -> None:
    _, result = await replayed(Script(signal=15, problems=("link svc -> mongo: nonsense",)))
    assert result.reason.endswith("connections ended; link svc -> mongo: nonsense")


async def test_a_verdict_on_traffic_that_could_not_be_decoded_is_none() -> None:
    _, result = await replayed(Script(problems=("link svc -> mongo: nonsense",)))
    assert (result.outcome, result.proof.proven) == (Outcome.UNKNOWN, True)
    assert result.reason == "traffic could not be decoded: link svc -> mongo: nonsense"


async def test_trouble_of_the_harness_is_unknown() -> None:
    _, result = await replayed(Script(dead=True))
    assert (result.outcome, result.proof.proven) == (Outcome.UNKNOWN, False)
    assert (result.reason, result.logs) == ("svc was to be killed, but it did not run any more", "log of svc")


async def test_a_service_that_does_not_come_back_is_stuck_with_its_log() -> None:
    _, result = await replayed(Script(partial={"a": "made"}, down=True))
    assert (result.outcome, result.logs, result.proof.proven) == (Outcome.STUCK, "panic: nil map", True)
    assert result.reason.startswith("svc does not come back after the crash: svc: ended right after its start")


async def test_a_state_on_which_no_service_starts_again_is_stuck_with_the_log() -> None:
    _, result = await replayed(Script(partial={"poison": "1"}, down_on="poison"))
    assert (result.outcome, result.logs) == (Outcome.STUCK, "panic: what is this?")
    assert result.reason.startswith("in the state that the fault left a service does not start again: svc: ended")


async def test_a_service_that_does_not_start_before_the_fault_is_unknown() -> None:
    case = case_of(CREATE, before={"poison": "1"}, after=BOTH)
    _, result = await replayed(Script(down_on="poison"), case)
    assert (result.outcome, result.logs) == (Outcome.UNKNOWN, "panic: what is this?")


async def test_equal_partial_states_are_examined_once() -> None:
    memory = Memory()
    results = []
    for partial in ({"a": "made"}, {"a": "made"}, {"a": "other"}):
        lab = FakeLab(Script(partial=partial))
        result = await Replayer(lab.as_lab(), PROFILE, LIMITS, {"create": CASE}, memory).run(point())
        results.append((result.outcome, result.attempts, len(lab.slates)))
    first, second, third = results
    assert first[:2] == second[:2]
    assert (first[2], second[2], third[2]) == (3, 1, 3)


# -- calls that must be refused -------------------------------------------------------------------------------------

REFUSED = CrashPoint("create", "svc", "refused", "it exists", 1, 0, "none")


async def refused(act: FakeCall, *rungs: Rung, before: State = {"a": "1"}) -> PointResult:  # noqa: B006  only read
    case = case_of(Subject(act, (), rungs, refused="it exists"), before=before, after={})
    lab = FakeLab()
    lab.state = before
    return await Replayer(lab.as_lab(), PROFILE, LIMITS, {"create": case}, Memory()).run(REFUSED)


def answers(told: Told, state: State) -> FakeCall:
    return FakeCall("create", lambda _: (told, state))


async def test_a_refused_call_that_changes_nothing_is_atomic() -> None:
    result = await refused(answers(Told(409), {"a": "1"}))
    assert (result.outcome, result.reason) == (Outcome.ATOMIC, "refused, and nothing changed")


async def test_a_refused_call_that_changes_something_is_stuck_when_nothing_helps() -> None:
    result = await refused(answers(Told(409), {}), rung("put", {"a": "2"}))
    assert (result.outcome, result.reason) == (
        Outcome.STUCK,
        "refused with 409, but the state changed; nothing heals",
    )
    assert [change.kind for change in result.difference] == ["missing"]


async def test_a_refused_call_that_leaves_work_undone_is_no_pass() -> None:
    queue = {"q": "pending"}
    result = await refused(answers(Told(409), queue), before=queue)
    assert (result.outcome, result.attempts) == (Outcome.NEEDS_REPAIR, ())
    assert result.reason.endswith("nothing was tried to mend it")


async def test_a_refused_call_that_changes_something_needs_the_rung_that_helps() -> None:
    result = await refused(answers(Told(409), {}), rung("put", {"a": "1"}))
    assert (result.outcome, result.repair) == (Outcome.NEEDS_REPAIR, "put")


@pytest.mark.parametrize("told", [Told(None, "connection lost"), Told(405)], ids=["no answer", "no such method"])
async def test_what_is_no_proper_refusal_is_unknown(told: Told) -> None:
    assert (await refused(answers(told, {}))).outcome is Outcome.UNKNOWN


async def test_a_call_that_must_be_refused_and_is_not_is_never_a_pass() -> None:
    result = await refused(answers(Told(204), {}))
    assert result.outcome is Outcome.NEEDS_REPAIR
    assert result.reason.startswith("must be refused (it exists) but was answered")


async def test_equal_stores_are_no_pass_when_the_next_call_is_not_answered_as_without_the_fault() -> None:
    repeatable = replace(CASE, controls=replace(CASE.controls, repeat=Told(200)))
    _, result = await replayed(Script(partial=BOTH), repeatable)
    assert [one.name for one in result.attempts[:3]] == ["undo in place", "redo in place", "repeat in place"]
    # undo and redo would be a way, although there is nothing to repair in the stores
    assert (result.outcome, result.repair) == (Outcome.NEEDS_REPAIR, "undo+redo")
    assert "but repeat in place is answered 409, where a run without the fault has it acknowledged" in result.reason


# -- going on from a whole state ------------------------------------------------------------------------------------


class Forgetful(FakeLab):
    """Its service has something in memory that a restart of all makes it forget: the undo breaks on it."""

    def __init__(self, script: Script, *, breaks: str, answer: Told, leaves: State) -> None:
        super().__init__(script)
        self._breaks = breaks
        self._answer = answer
        self._leaves = leaves

    async def clean_slate(self, taken: Snapshot, *, only: frozenset[str] | None = None) -> None:
        await super().clean_slate(taken, only=only)
        if len(self.slates) > 1:
            self._breaks = ""

    async def send(self, call: Call) -> Told:
        if call.name == self._breaks:
            self.log.append(f"send {call.name}")
            self.state = self._leaves
            return self._answer
        return await super().send(call)


@pytest.mark.parametrize(
    "partial, breaks, answer, leaves, sentence",
    [
        (BOTH, "remove", Told(500), BOTH, "undo in place is answered 500, where a run without the fault has it"),
        (BOTH, "remove", Told(204), BOTH, "undo in place (answered 204) leads to another state than without the fault"),
        ({}, "create", Told(500), {}, "the state before the call, but repeat in place is answered 500"),
    ],
)
async def test_what_is_whole_in_the_stores_and_broken_in_memory_is_no_pass(
    partial: State, breaks: str, answer: Told, leaves: State, sentence: str
) -> None:
    lab = Forgetful(Script(partial=partial), breaks=breaks, answer=answer, leaves=leaves)
    result = await Replayer(lab.as_lab(), PROFILE, LIMITS, {"create": CASE}, Memory()).run(point())
    assert (result.outcome, result.repair) == (Outcome.NEEDS_REPAIR, "restart of all services")
    assert sentence in result.reason


async def test_a_whole_state_is_gone_on_from_without_any_restart() -> None:
    lab, result = await replayed(Script(partial=BOTH))
    assert (result.outcome, len(lab.slates)) == (Outcome.ATOMIC, 1)
    assert lab.log[-3:] == ["send create", "send remove", "send create"]


@pytest.mark.parametrize(
    "half, outcome, repair",
    [
        # beside the half, the call goes through as well; or it is refused until the restart has taken the half away
        ({"b": "half"}, Outcome.RETRY_HEALS, "retry"),
        ({"a": "half"}, Outcome.NEEDS_REPAIR, "restart of all services"),
    ],
)
async def test_what_only_a_restart_heals_is_no_retry_that_heals(half: State, outcome: Outcome, repair: str) -> None:
    class Heals(FakeLab):
        async def clean_slate(self, taken: Snapshot, *, only: frozenset[str] | None = None) -> None:
            await super().clean_slate(taken, only=only)
            if "half" in self.state.values():
                self.state = {}
            self._ended.clear()

    lab = Heals(Script(partial=half))
    result = await Replayer(lab.as_lab(), PROFILE, LIMITS, {"create": CASE}, Memory()).run(point())
    assert (result.outcome, result.repair) == (outcome, repair)
    assert [one.name for one in result.attempts[:2]] == ["repeat in place", "restart of all services"]


def test_steps_in_place_follow_what_the_control_runs_saw() -> None:
    def names(reached: str, *, repeat: Told = EXISTS, undone: bool = True) -> list[str]:
        controls = replace(CASE.controls, repeat=repeat)
        return [step.name for step in steps(CREATE, controls if undone else replace(controls, undone=None), reached)]

    assert names("before") == names("after") == ["repeat in place", "undo in place", "redo in place"]
    # one that takes place again was not undone in the control runs
    assert names("after", repeat=OK) == ["undo in place", "redo in place", "repeat in place"]
    assert names("after", undone=False) == ["repeat in place"]


async def test_an_effect_that_not_every_run_has_is_waited_for_again() -> None:
    """Whether it comes up is chance; a run in which it does not says nothing of the fault."""

    class Chance(FakeLab):
        async def clean_slate(self, taken: Snapshot, *, only: frozenset[str] | None = None) -> None:
            await super().clean_slate(taken, only=only)
            self.script.answer = OK if len(self.slates) < 3 else None

    async def run(case: Case) -> tuple[int, Outcome]:
        lab = Chance(Script(partial={}))
        result = await Replayer(lab.as_lab(), PROFILE, LIMITS, {"create": case}, Memory()).run(point())
        return len(lab.slates), result.outcome

    assert await run(CASE) == (1, Outcome.UNKNOWN)
    varies = replace(CASE, controls=replace(CASE.controls, effects=((), CASE.lesson.effects)))
    assert await run(varies) == (3, Outcome.ATOMIC)


async def said_of(usual: tuple[str, ...], *now: str) -> tuple[FakeLab, list[PointResult]]:
    """Two points beside the call after which all looks well, but the system says `now` of it, and `usual` of the state
    after a run without any fault."""
    lab, asked = FakeLab(Script(partial=BOTH)), []

    async def untrue(_: Subject, __: Snapshot, reached: str) -> tuple[str, ...]:
        asked.append(reached)
        return usual if len(asked) == 2 else now

    case = case_of(CREATE, before={}, after=BOTH, undone={})
    beside = CrashPoint("create", "other", "after", "write", 1, 1, "crash", victim="svc")
    replayer = Replayer(lab.as_lab(), PROFILE, LIMITS, {"create": case}, Memory(), untrue=untrue)
    return lab, [await replayer.run(beside) for _ in range(2)]


async def test_what_is_said_and_not_so_is_a_finding_unless_it_is_said_without_the_fault_as_well() -> None:
    _, results = await said_of((), "all is well")
    assert {one.outcome for one in results} == {Outcome.NEEDS_REPAIR}
    assert results[0].reason == "the state after the call, but what is said of it is not so: all is well"
    lab, results = await said_of(("all is well",), "all is well")
    assert {one.outcome for one in results} == {Outcome.ATOMIC}
    # Looking at the control state restarts everything: the point is made again, or what is in memory would be lost.
    assert lab.slates == [{}, BOTH, {}, {}]
    _, results = await said_of(("all is well",), "all is well", "it was deleted")
    assert [one.reason.rpartition(": ")[2] for one in results] == ["it was deleted"] * 2


async def test_a_control_state_of_which_nothing_is_said_excuses_nothing() -> None:
    _, results = await said_of((UNANSWERED,), UNANSWERED)
    assert {one.outcome for one in results} == {Outcome.UNKNOWN}
