from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from harness.crashpoints.model import Outcome, PointResult, Proof
from harness.reporting.baseline import Baseline, BaselineVerdict, Entry, apply
from harness.reporting.verdict import Verdict, judge

if TYPE_CHECKING:
    from tests.unit.reporting.conftest import Make

TODAY = date(2026, 1, 14)


def held(*results: PointResult, accepted: Outcome | None = None) -> BaselineVerdict:
    ids = {result.point.id for result in results}
    entries = tuple(Entry(each, accepted, "r", "o", TODAY) for each in ids) if accepted else ()
    return apply(Baseline(entries), results, today=TODAY, selected_ids=ids)


@pytest.mark.parametrize("outcome", [Outcome.ATOMIC, Outcome.SELF_HEALS, Outcome.RETRY_HEALS, Outcome.LEAKS])
def test_passes_and_warnings_give_0(make: Make, outcome: Outcome) -> None:
    result = make.result(outcome)
    assert judge(make.summary(result), held(result)) == Verdict(0, ())


@pytest.mark.parametrize("outcome", [Outcome.ORPHANS, Outcome.NEEDS_REPAIR, Outcome.STUCK, Outcome.LOST])
def test_a_failure_gives_1_unless_it_is_accepted(make: Make, outcome: Outcome) -> None:
    result = make.result(outcome)
    expected = Verdict(1, ("1 failure",))
    assert expected == judge(make.summary(result), held(result))
    assert judge(make.summary(result), held(result, accepted=outcome)) == Verdict(0, ())


@pytest.mark.parametrize("outcome", [Outcome.ATOMIC, Outcome.LEAKS, Outcome.LOST])
def test_a_baseline_that_is_not_true_any_more_gives_1(make: Make, outcome: Outcome) -> None:
    result = make.result(outcome)
    assert judge(make.summary(result), held(result, accepted=Outcome.STUCK)).code == 1


def test_unknown_comes_before_failures_but_these_are_still_said(make: Make) -> None:
    results = (make.result(Outcome.UNKNOWN), make.bad(point=make.point(effect="mongo.x")))
    verdict = judge(make.summary(*results), held(*results))
    assert verdict == Verdict(3, ("1 point with outcome unknown", "1 failure"))


def test_an_interrupted_or_failed_run_gives_3(make: Make) -> None:
    summary = make.summary(make.result(), status="failed", trouble="etcd did not start")
    assert judge(summary, held(make.result())) == Verdict(3, ("the run is failed: etcd did not start",))
    assert judge(make.summary(make.result(), status="interrupted"), held(make.result())).code == 3


def test_a_pass_without_proof_is_no_pass(make: Make) -> None:
    result = make.result(proof=Proof(False, 0, "", "nothing was killed"))
    assert judge(make.summary(result), held(result)).code == 3


def test_points_that_silently_did_not_run_give_3(make: Make) -> None:
    result = make.result()
    summary = make.summary(result, plan=make.plan(result.point, make.point(effect="mongo.other")))
    assert judge(summary, held(result)) == Verdict(3, ("1 point of the plan without a result",))


def test_a_run_that_tested_nothing_gives_3(make: Make) -> None:
    assert judge(make.summary(), held()) == Verdict(3, ("nothing was tested",))
