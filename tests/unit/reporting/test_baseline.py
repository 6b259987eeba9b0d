from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.crashpoints.claims import ClaimResult, claim_subject
from harness.crashpoints.model import Outcome
from harness.reporting.baseline import (
    Baseline,
    BaselineError,
    BaselineVerdict,
    Entry,
    Match,
    apply,
    from_run,
    parse_baseline,
    read_baseline,
    write_baseline,
)

if TYPE_CHECKING:
    from tests.unit.reporting.conftest import Make

TODAY = date(2026, 1, 14)
ID = "dcm/create@after:mongo.data.crash"
ENTRY = Entry(ID, Outcome.NEEDS_REPAIR, "known since 22.06", "dcm team", TODAY)
GOOD = """\
- id: dcm/create@after:mongo.data.crash
  outcome: needs-repair
  reason: known since 22.06
  owner: dcm team
  expires: 2026-01-14
"""


def verdict(make: Make, outcome: Outcome, entry: Entry = ENTRY) -> BaselineVerdict:
    return apply(Baseline((entry,)), [make.result(outcome)], today=TODAY, selected_ids={ID})


def test_a_finding_as_accepted_is_known_up_to_the_last_day(make: Make) -> None:
    found = verdict(make, Outcome.NEEDS_REPAIR)
    assert found == BaselineVerdict(known=(Match(ENTRY, make.result(Outcome.NEEDS_REPAIR)),))
    assert found.holds


def test_the_day_after_it_is_expired(make: Make) -> None:
    entry = Entry(ID, Outcome.NEEDS_REPAIR, "r", "o", date(2026, 1, 13))
    found = verdict(make, Outcome.NEEDS_REPAIR, entry)
    assert found == BaselineVerdict(expired=(Match(entry, make.result(Outcome.NEEDS_REPAIR)),))
    assert not found.holds


@pytest.mark.parametrize("outcome", [Outcome.STUCK, Outcome.LOST])
def test_a_worse_outcome_is_reported_as_worse(make: Make, outcome: Outcome) -> None:
    found = verdict(make, outcome)
    assert found == BaselineVerdict(worse=(Match(ENTRY, make.result(outcome)),))
    assert not found.holds
    assert found.worse[0].sentence() == (
        f"{ID}: accepted as needs-repair by dcm team until 2026-01-14, is now {outcome.value}"
    )


@pytest.mark.parametrize("outcome", [Outcome.ATOMIC, Outcome.LEAKS, Outcome.ORPHANS])
def test_a_better_outcome_makes_the_entry_vanish_even_if_it_still_fails(make: Make, outcome: Outcome) -> None:
    found = verdict(make, outcome)
    assert found == BaselineVerdict(vanished=(Match(ENTRY, make.result(outcome)),))
    assert not found.holds


def test_as_bad_for_another_reason_was_not_accepted(make: Make) -> None:
    entry = replace(ENTRY, seen="repeating does not heal")

    def held(reason: str) -> BaselineVerdict:
        result = make.result(Outcome.NEEDS_REPAIR, reason=reason)
        return apply(Baseline((entry,)), [result], today=TODAY, selected_ids={ID})

    assert held("repeating does not heal; repeating answers 409").known
    other = held("rsync: ended right after its start: exit code 2")
    assert other.worse[0].sentence() == (
        f"{ID}: accepted as needs-repair (repeating does not heal) by dcm team until 2026-01-14, "
        "is now needs-repair (rsync: ended right after its start: exit code 2)"
    )
    assert not other.holds


def test_a_claim_is_accepted_for_what_its_id_says(make: Make) -> None:
    claim = make.claim(Outcome.BROKEN, reason="it said Available")
    written = from_run([claim], Baseline(), today=TODAY, reason="new", owner="you", expires=TODAY)
    assert written.entries == (Entry(claim.id, Outcome.BROKEN, "new", "you", TODAY),)


def test_of_invariants_only_those_are_accepted_that_were_broken_before(make: Make) -> None:
    def broken(names: str) -> ClaimResult:
        claim = make.claim(Outcome.BROKEN, reason=f"{names}: mongo x, etcd y")
        return replace(claim, id=f"{claim_subject(claim.id)}:consistent")

    def held(names: str) -> BaselineVerdict:
        return apply(written, [broken(names)], today=TODAY, selected_ids=())

    written = from_run([broken("I4-dangling")], Baseline(), today=TODAY, reason="new", owner="you", expires=TODAY)
    assert [entry.seen for entry in written.entries] == ["I4-dangling"]
    assert held("I4-dangling").holds
    assert len(held("I4-dangling, edge-owned").worse) == len(held("edge-owned").worse) == 1


@pytest.mark.parametrize("before, after", [("", ""), ("it said", "it said"), ("said", "it said Available")])
def test_how_a_claims_reason_begins_stays_where_somebody_wrote_it(make: Make, before: str, after: str) -> None:
    claim = make.claim(Outcome.BROKEN, reason="it said Available")
    previous = Baseline((Entry(claim.id, Outcome.BROKEN, "why", "me", TODAY, before),))
    written = from_run([claim], previous, today=TODAY, reason="new", owner="you", expires=TODAY)
    assert [entry.seen for entry in written.entries] == [after]


def test_an_unknown_outcome_says_nothing_about_the_entry(make: Make) -> None:
    found = verdict(make, Outcome.UNKNOWN)
    assert found == BaselineVerdict(undecided=(Match(ENTRY, make.result(Outcome.UNKNOWN)),))


def test_a_point_that_was_not_selected_has_not_vanished_and_one_without_result_is_undecided() -> None:
    assert apply(Baseline((ENTRY,)), [], today=TODAY, selected_ids=()) == BaselineVerdict(not_selected=(ENTRY,))
    undecided = BaselineVerdict(undecided=(Match(ENTRY, None),))
    assert undecided == apply(Baseline((ENTRY,)), [], today=TODAY, selected_ids={ID})


def test_in_a_run_of_the_whole_plan_an_entry_without_a_point_has_vanished() -> None:
    held = apply(Baseline((ENTRY,)), [], today=TODAY, selected_ids=(), covers=lambda _: True)
    assert held == BaselineVerdict(vanished=(Match(ENTRY, None),))


def test_failures_without_entry_are_new_but_warnings_and_unknown_are_not(make: Make) -> None:
    results = [
        make.result(outcome, make.point(effect=f"mongo.{outcome.value}"))
        for outcome in (Outcome.ATOMIC, Outcome.LEAKS, Outcome.ORPHANS, Outcome.LOST, Outcome.UNKNOWN)
    ]
    found = apply(Baseline(), results, today=TODAY, selected_ids={result.point.id for result in results})
    assert found == BaselineVerdict(new=(results[2], results[3]))
    assert not found.holds


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "baseline.yaml"
    path.write_text(GOOD)
    assert read_baseline(path) == Baseline((ENTRY,))
    path.write_text(GOOD + "  seen: nothing heals\n")
    assert read_baseline(path) == Baseline((replace(ENTRY, seen="nothing heals"),))
    assert parse_baseline("# nothing yet\n", where="b") == Baseline()


@pytest.mark.parametrize(
    "text, message",
    [
        (GOOD + "  reson: x\n", r"b\.yaml:6: unknown key `reson`; an entry has id, outcome, .*, expires, seen"),
        (GOOD + "  seen: stuck; nothing heals\n", r"b\.yaml:6: `seen` has words and ends before .*: write `stuck`"),
        (GOOD + "  seen: 1 2\n", r"b\.yaml:6: `seen` has words and ends before .*: leave it out"),
        (GOOD + GOOD, r"b\.yaml:6: `dcm/create@after:mongo\.data\.crash` is listed twice"),
        (GOOD + "  owner: me\n", r"b\.yaml:6: `owner` is given twice"),
        (
            GOOD.replace("needs-repair", "leaks"),
            r"b\.yaml:2: outcome `leaks` cannot be accepted; expected one of orphans",
        ),
        (GOOD.replace("needs-repair", "unknown"), r"b\.yaml:2: outcome `unknown` cannot be accepted"),
        (GOOD.replace("2026-01-14", "soon"), r"b\.yaml:5: expires is a day such as 2026-12-31, not `soon`"),
        (GOOD.replace("known since 22.06", "''"), r"b\.yaml:3: `reason` has to be a text that is not empty"),
        (GOOD.replace("known since 22.06", "[a]"), r"b\.yaml:3: `reason` has to be a text"),
        ("- id: x\n", r"b\.yaml:1: this entry lacks outcome, reason, owner, expires"),
        ("- just text\n", r"b\.yaml:1: an entry has the keys"),
        ("a: b\n", r"b\.yaml:1: a baseline is a list of entries"),
        ("- id: x\n  - y", r"b\.yaml:2: this is not YAML"),
        ("- id: x\x00", r"b\.yaml: this is not YAML"),
    ],
)
def test_what_is_not_a_baseline_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(BaselineError, match=message):
        parse_baseline(text, where="b.yaml")


def test_a_baseline_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match=r"none\.yaml: the baseline cannot be read"):
        read_baseline(tmp_path / "none.yaml")


def test_a_new_baseline_accepts_the_failures_and_keeps_what_is_still_true(make: Make, tmp_path: Path) -> None:
    later, known = date(2026, 6, 30), "it is orphans"
    names = ("kept", "worse", "expired", "gone", "unsure", "elsewhere")
    points = {name: make.point(effect=f"mongo.{name}") for name in (*names, "added", "warned")}
    previous = Baseline(
        tuple(
            Entry(points[name].id, Outcome.ORPHANS, f"why {name}", "me", date(2026, 1, 13 if name == "expired" else 20))
            for name in names
        )
    )
    outcomes = {
        "kept": Outcome.ORPHANS,
        "worse": Outcome.LOST,
        "expired": Outcome.ORPHANS,
        "gone": Outcome.ATOMIC,
        "unsure": Outcome.UNKNOWN,
        "added": Outcome.STUCK,
        "warned": Outcome.LEAKS,
    }
    results = [make.result(outcome, points[name]) for name, outcome in outcomes.items()]
    written = from_run(results, previous, today=TODAY, reason="new", owner="you", expires=later)
    assert {entry.id: entry for entry in written.entries} == {
        points["kept"].id: Entry(points["kept"].id, Outcome.ORPHANS, "why kept", "me", date(2026, 1, 20), known),
        points["worse"].id: Entry(points["worse"].id, Outcome.LOST, "why worse", "me", later, "it is lost"),
        points["expired"].id: Entry(points["expired"].id, Outcome.ORPHANS, "why expired", "me", later, known),
        points["unsure"].id: Entry(points["unsure"].id, Outcome.ORPHANS, "why unsure", "me", date(2026, 1, 20)),
        points["elsewhere"].id: Entry(
            points["elsewhere"].id, Outcome.ORPHANS, "why elsewhere", "me", date(2026, 1, 20)
        ),
        points["added"].id: Entry(points["added"].id, Outcome.STUCK, "new", "you", later, "it is stuck"),
    }
    write_baseline(tmp_path / "b.yaml", written)
    assert written == read_baseline(tmp_path / "b.yaml")
