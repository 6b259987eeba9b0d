"""The judgement, on hand-written observations: one row for each thing that can be seen."""

from dataclasses import replace

import pytest

from harness.crashpoints.judge import (
    RESTART,
    Examination,
    Match,
    Verdict,
    expected_states,
    judge,
    judge_in_place,
    judge_whole,
    match,
    nearest,
)
from harness.crashpoints.learn import Controls
from harness.crashpoints.model import GRADES, Attempt, Change, Grade, Outcome, Told

from .conftest import EXISTS, GONE, OK, PROFILE, snapshot

NOWHERE = Match("")
CHANGES = ("before", (Change("mongo db.records b", "missing"),))


def attempt(name: str, reached: str, told: Told = OK) -> Attempt:
    return Attempt(name, (told,), reached)


NOTHING_HELPS = Examination(
    restart=Attempt(RESTART, (), ""),
    repeat=attempt("repeat", "", EXISTS),
    repeat_match=NOWHERE,
    undo_after_repeat=None,
    undo=attempt("undo", ""),
    redo=attempt("redo", ""),
    redo_match=NOWHERE,
    rungs=(attempt("put", ""),),
)
REPEAT_HELPS = replace(
    NOTHING_HELPS,
    repeat=attempt("repeat", "after"),
    repeat_match=Match("after"),
    undo_after_repeat=attempt("undo after repeat", "undone"),
)


@pytest.mark.parametrize(
    "told, reached, healed, expected",
    [
        (OK, "after", False, Outcome.ATOMIC),
        (GONE, "after", False, Outcome.ATOMIC),
        (GONE, "before", False, Outcome.ATOMIC),
        (Told(500), "before", False, Outcome.ATOMIC),
        (OK, "after", True, Outcome.SELF_HEALS),
        (GONE, "after", True, Outcome.SELF_HEALS),
        (GONE, "before", True, Outcome.SELF_HEALS),
        (OK, "before", False, None),
        (Told(500), "after", False, None),
        (GONE, "", False, None),
    ],
)
def test_a_control_state_counts_when_the_client_was_told_so(
    told: Told, reached: str, healed: bool, expected: Outcome | None
) -> None:
    verdict = judge_whole(told, Match(reached), self_healed=healed)
    assert expected == (verdict.outcome if verdict else None)


@pytest.mark.parametrize("state", [Match("after", leaks=("l",)), Match("after", orphans=("o",))])
def test_a_control_state_with_leftovers_has_to_be_examined(state: Match) -> None:
    assert judge_whole(OK, state, self_healed=False) is None


LEAKS = replace(REPEAT_HELPS, repeat_match=Match("after", leaks=("etcd context",)))
ORPHANS = replace(REPEAT_HELPS, repeat_match=Match("after", orphans=("etcd context",)))
UNDO_FAILS = replace(REPEAT_HELPS, undo_after_repeat=attempt("undo after repeat", ""))
NO_UNDO = replace(REPEAT_HELPS, undo_after_repeat=None, undo=None, redo=None)
REDO_HELPS = replace(NOTHING_HELPS, undo=attempt("undo", "before"), redo=attempt("redo", "redone"))
REDO_ALONE = replace(NOTHING_HELPS, redo=attempt("redo", "after"))
UNDO_ALONE = replace(NOTHING_HELPS, undo=attempt("undo", "before"))
PUT_HELPS = replace(NOTHING_HELPS, rungs=(attempt("put", "after"),))


@pytest.mark.parametrize(
    "told, state, why, tried, outcome, repair",
    [
        (GONE, NOWHERE, "", REPEAT_HELPS, Outcome.RETRY_HEALS, "retry"),
        (GONE, NOWHERE, "", NO_UNDO, Outcome.RETRY_HEALS, "retry"),
        (GONE, NOWHERE, "", LEAKS, Outcome.LEAKS, "retry"),
        (OK, Match("after", leaks=("l",)), "", LEAKS, Outcome.LEAKS, "retry"),
        (GONE, NOWHERE, "", ORPHANS, Outcome.ORPHANS, ""),
        (OK, Match("after", orphans=("o",)), "", ORPHANS, Outcome.ORPHANS, ""),
        (GONE, NOWHERE, "", UNDO_FAILS, Outcome.ORPHANS, ""),
        (GONE, NOWHERE, "", REDO_HELPS, Outcome.NEEDS_REPAIR, "undo+redo"),
        (GONE, NOWHERE, "", PUT_HELPS, Outcome.NEEDS_REPAIR, "put"),
        (GONE, NOWHERE, "", UNDO_ALONE, Outcome.NEEDS_REPAIR, "undo"),
        (GONE, NOWHERE, "", REDO_ALONE, Outcome.STUCK, ""),
        (GONE, NOWHERE, "", NOTHING_HELPS, Outcome.STUCK, ""),
        (GONE, Match("after"), "rsync waits", NOTHING_HELPS, Outcome.STUCK, ""),
        (GONE, Match("after"), "rsync waits", REDO_HELPS, Outcome.NEEDS_REPAIR, "undo+redo"),
        (OK, NOWHERE, "", REPEAT_HELPS, Outcome.LOST, ""),
        (OK, Match("before"), "", REPEAT_HELPS, Outcome.LOST, ""),
        (Told(500), Match("after"), "", REDO_HELPS, Outcome.NEEDS_REPAIR, "undo+redo"),
        (Told(500), Match("after"), "", NOTHING_HELPS, Outcome.STUCK, ""),
    ],
    ids=[
        "repeating heals",
        "repeating heals a call without an inverse",
        "repeating heals but something inert is left",
        "acknowledged and there but something inert is left",
        "repeating heals but something runs unowned",
        "acknowledged and there but something runs unowned",
        "repeating heals but what is left breaks the undo",
        "only undo and redo help",
        "only a rung helps",
        "only undo helps",
        "a redo after an undo that failed is no way",
        "nothing helps",
        "does not come to rest",
        "does not come to rest but something helps",
        "acknowledged and half there is lost even if repeating would help",
        "acknowledged and not there is lost",
        "refused but done: something helps",
        "refused but done: nothing helps",
    ],
)
def test_outcomes(told: Told, state: Match, why: str, tried: Examination, outcome: Outcome, repair: str) -> None:
    verdict = judge(told, state, why, CHANGES, tried)
    assert (outcome, repair) == (verdict.outcome, verdict.repair)


def test_the_worst_that_holds_wins() -> None:
    """Acknowledged, not there, not at rest, and nothing helps: lost is worse than stuck."""
    assert judge(OK, NOWHERE, "rsync waits", CHANGES, NOTHING_HELPS).outcome is Outcome.LOST
    # Something unowned runs, and an inert leftover lies about beside it.
    both = replace(REPEAT_HELPS, repeat_match=Match("after", leaks=("l",), orphans=("o",)))
    assert judge(GONE, NOWHERE, "", CHANGES, both).outcome is Outcome.ORPHANS


def test_who_was_told_that_it_is_accepted_has_no_reason_to_repeat() -> None:
    changes = ("after", (Change("etcd /context/ctx-1/app/a/cluster/p1+c1/resource/r/status/", "differs"),))
    verdict = judge(OK, NOWHERE, "", changes, REPEAT_HELPS, elsewhere=True)
    assert (verdict.outcome, verdict.repair) == (Outcome.NEEDS_REPAIR, "retry")
    assert judge(GONE, NOWHERE, "", changes, REPEAT_HELPS, elsewhere=True).outcome is Outcome.RETRY_HEALS
    inert = Match("after", leaks=("l",))
    assert judge(OK, inert, "", changes, LEAKS, elsewhere=True).outcome is Outcome.LEAKS


def test_an_acknowledgement_by_others_promises_what_comes_of_it_and_not_what_they_note_for_themselves() -> None:
    def verdict(why: str = "", where: str = "etcd /context/ctx-1/rsync/state/", reached: str = "") -> Verdict:
        changes = ("after", (Change(where, "differs"),))
        return judge(OK, Match(reached), why, changes, REDO_HELPS, elsewhere=True)

    assert verdict(where="edge p1+c1 v1/ConfigMap default/cm").outcome is Outcome.LOST
    assert verdict(where="mongo emco.resources {a} b").outcome is Outcome.LOST
    assert verdict(reached="before").outcome is Outcome.LOST
    assert verdict().outcome is Outcome.NEEDS_REPAIR
    never = verdict("status is Instantiating")
    assert never.outcome is Outcome.STUCK
    assert never.reason == (
        "acknowledged with 201, but its goal is never reached: status is Instantiating; undo+redo helps"
    )
    assert never.repair == "undo+redo"


def test_the_order_of_outcomes_is_from_best_to_worst() -> None:
    order = [Grade.PASS, Grade.WARN, Grade.FAIL, Grade.BLOCKER, Grade.ERROR]
    assert [GRADES[outcome] for outcome in Outcome] == sorted(GRADES.values(), key=order.index)


def test_an_answer_that_says_exists_over_a_partial_record_is_shown_as_a_lie() -> None:
    assert judge(GONE, NOWHERE, "", CHANGES, REDO_HELPS).reason == (
        "repeating does not heal, undo+redo does; repeating answers 409 over a partial record"
    )
    honest = replace(REDO_HELPS, repeat=attempt("repeat", ""))
    assert judge(GONE, NOWHERE, "", CHANGES, honest).reason == "repeating does not heal, undo+redo does"


def test_leftovers_are_listed_and_the_difference_is_kept() -> None:
    verdict = judge(GONE, NOWHERE, "", CHANGES, LEAKS)
    assert (verdict.leaks, verdict.nearest, verdict.difference) == (("etcd context",), *CHANGES)


CONTROLS = Controls(
    before=(snapshot({}),),
    after=(snapshot({"a": "1", "inert a": "1"}),),
    twice=snapshot({"a": "2"}),
    repeat=EXISTS,
    undone=snapshot({"tombstone": "1"}),
)
RULES = PROFILE.rules(())
EXPECTED = expected_states(CONTROLS, PROFILE, RULES)


@pytest.mark.parametrize(
    "state, wanted, expected",
    [
        ({}, ("after", "before"), Match("before")),
        ({"a": "1", "inert a": "1"}, ("after", "before"), Match("after")),
        ({"a": "1"}, ("after", "before"), Match("after")),
        ({"a": "1", "inert b": "1"}, ("after", "before"), Match("after", leaks=("inert b",))),
        ({"a": "1", "orphan": "1"}, ("after", "before"), Match("after", orphans=("orphan",))),
        ({"a": "2"}, ("after", "before"), Match("")),
        ({"a": "2"}, ("after", "twice"), Match("twice")),
        ({"tombstone": "1"}, ("before", "undone"), Match("undone")),
        ({"a": "3"}, ("after", "before", "twice", "undone", "redone", "torn"), Match("")),
    ],
    ids=str,
)
def test_a_state_is_matched_with_the_wanted_control_states(
    state: dict[str, str], wanted: tuple[str, ...], expected: Match
) -> None:
    assert expected == match(snapshot(state), EXPECTED, PROFILE, RULES, wanted=wanted)


def test_the_nearest_control_state_is_the_one_with_the_fewest_changes() -> None:
    name, changes = nearest(snapshot({"a": "9"}), EXPECTED, RULES, names=("before", "after"))
    assert (name, [(change.where, change.kind) for change in changes]) == (
        "before",
        [("mongo db.records a", "unexpected")],
    )
    name, changes = nearest(snapshot({"a": "9", "inert a": "1"}), EXPECTED, RULES, names=("before", "after"))
    assert (name, changes) == ("after", (Change("mongo db.records a", "differs", {"value": "1"}, {"value": "9"}),))


def test_attempts_come_in_the_order_of_trying_and_without_those_not_made() -> None:
    names = [one.name for one in REPEAT_HELPS.attempts()]
    assert names == ["repeat", "undo after repeat", "undo", "redo", "put"]
    assert [one.name for one in NO_UNDO.attempts()] == ["repeat", "put"]


def restarted(reached: str, tried: Examination = REPEAT_HELPS) -> Examination:
    return replace(tried, restart=Attempt(RESTART, (), reached))


@pytest.mark.parametrize(
    "told, state, reached, expected",
    [
        (GONE, NOWHERE, "after", Outcome.NEEDS_REPAIR),
        (GONE, NOWHERE, "before", Outcome.NEEDS_REPAIR),
        (OK, NOWHERE, "after", Outcome.NEEDS_REPAIR),
        (GONE, Match("after", orphans=("o",)), "after", Outcome.NEEDS_REPAIR),
        # the restart is no way to what the client was told, or there is nothing that it would have to bring back
        (OK, NOWHERE, "before", Outcome.LOST),
        (Told(500), NOWHERE, "after", Outcome.RETRY_HEALS),
        (GONE, NOWHERE, "", Outcome.RETRY_HEALS),
        (Told(500), Match("after"), "after", Outcome.STUCK),
    ],
)
def test_what_a_restart_alone_brings_back_is_credited_to_nothing_else(
    told: Told, state: Match, reached: str, expected: Outcome
) -> None:
    verdict = judge(told, state, "", CHANGES, restarted(reached))
    assert verdict.outcome is expected
    by_restart = "partial until all services are restarted" in verdict.reason
    assert by_restart == (verdict.repair == RESTART)
    assert by_restart == (expected is Outcome.NEEDS_REPAIR)


def test_what_a_repeat_in_place_heals_needed_no_restart() -> None:
    heals = replace(restarted("after"), there=attempt("repeat in place", "after"))
    assert judge(GONE, NOWHERE, "", CHANGES, heals).outcome is Outcome.RETRY_HEALS
    assert heals.attempts()[0].name == "repeat in place"
    not_so = replace(heals, there=attempt("repeat in place", ""))
    assert judge(GONE, NOWHERE, "", CHANGES, not_so).repair == RESTART


def test_a_restart_is_among_the_attempts_when_it_is_news() -> None:
    assert RESTART not in [one.name for one in restarted("").attempts()]
    assert restarted("after").attempts()[0].name == RESTART


@pytest.mark.parametrize(
    "tried, by_restart, outcome, repair",
    [
        (NOTHING_HELPS, True, Outcome.NEEDS_REPAIR, RESTART),
        (replace(NOTHING_HELPS, rungs=(attempt("put", "after"),)), False, Outcome.NEEDS_REPAIR, "put"),
        (NOTHING_HELPS, False, Outcome.STUCK, ""),
    ],
)
def test_a_whole_state_that_services_cannot_go_on_with(
    tried: Examination, by_restart: bool, outcome: Outcome, repair: str
) -> None:
    verdict = judge_in_place(Match("after"), "undo in place is answered 500", tried, by_restart=by_restart)
    assert (verdict.outcome, verdict.repair) == (outcome, repair)
    assert verdict.reason.startswith("the state after the call, but undo in place is answered 500; ")
