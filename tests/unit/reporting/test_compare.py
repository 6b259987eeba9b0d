from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from harness.crashpoints.model import Outcome, RunSummary
from harness.evidence.encoding import from_json, to_json
from harness.reporting.compare import Comparison, Move, compare
from harness.session import only

if TYPE_CHECKING:
    from harness.evidence.redaction import Redactor
    from tests.unit.reporting.conftest import Make


def run(make: Make, name: str, *, reference: bool = False, **outcomes: Outcome) -> RunSummary:
    results = [make.result(outcome, make.point(effect=f"mongo.{effect}")) for effect, outcome in outcomes.items()]
    return make.summary(*results, run=name, reference=reference)


def move(effect: str, was: Outcome | None, now: Outcome | None) -> Move:
    return Move(f"dcm/create@after:mongo.{effect}.crash", was, now)


def test_every_kind_of_change_has_its_place(make: Make, redactor: Redactor) -> None:
    a = run(
        make,
        "a",
        same=Outcome.STUCK,
        fine=Outcome.ATOMIC,
        broke=Outcome.ATOMIC,
        fixed=Outcome.LOST,
        worse=Outcome.LEAKS,
        better=Outcome.LOST,
        unsure=Outcome.STUCK,
        old=Outcome.STUCK,
    )
    b = run(
        make,
        "b",
        same=Outcome.STUCK,
        fine=Outcome.RETRY_HEALS,
        broke=Outcome.LEAKS,
        fixed=Outcome.SELF_HEALS,
        worse=Outcome.ORPHANS,
        better=Outcome.STUCK,
        unsure=Outcome.UNKNOWN,
        added=Outcome.LOST,
        harmless=Outcome.ATOMIC,
    )
    expected = Comparison(
        a="a",
        b="b",
        new=(move("broke", Outcome.ATOMIC, Outcome.LEAKS), move("added", None, Outcome.LOST)),
        gone=(move("fixed", Outcome.LOST, Outcome.SELF_HEALS),),
        worse=(move("worse", Outcome.LEAKS, Outcome.ORPHANS),),
        better=(move("better", Outcome.LOST, Outcome.STUCK),),
        undecided=(move("unsure", Outcome.STUCK, Outcome.UNKNOWN),),
        only_a=(move("old", Outcome.STUCK, None),),
        only_b=(move("added", None, Outcome.LOST), move("harmless", None, Outcome.ATOMIC)),
    )
    actual = compare(a, b)
    assert expected == actual
    assert expected == from_json(to_json(actual, redactor), Comparison, where="x")


def test_a_run_with_itself_has_no_difference(make: Make) -> None:
    usual = make.usual()
    comparison = compare(usual, usual)
    assert comparison == Comparison(usual.run, usual.run, (), (), (), (), (), (), ())


def test_a_point_that_did_not_run_is_undecided_and_not_gone(make: Make) -> None:
    a = run(make, "a", x=Outcome.STUCK)
    b = make.summary(run="b", plan=a.plan, status="interrupted")
    comparison = compare(a, b)
    assert (comparison.undecided, comparison.gone) == ((move("x", Outcome.STUCK, None),), ())
    assert comparison.notes == ("b is interrupted: results are missing",)


def test_reference_against_real_is_said(make: Make) -> None:
    comparison = compare(run(make, "a", reference=True), run(make, "b"))
    assert comparison.notes == ("a was on the reference EMCO, b was not",)


def test_what_a_run_was_not_to_do_is_neither_new_nor_gone(make: Make) -> None:
    whole = run(make, "whole", x=Outcome.STUCK, y=Outcome.LOST, z=Outcome.ATOMIC)
    some = run(make, "some", x=Outcome.ATOMIC)
    left_out = tuple(f"dcm/create@after:mongo.{effect}.crash" for effect in "yz")
    some = dataclasses.replace(some, plan=dataclasses.replace(some.plan, left_out=left_out))
    forth, back = compare(some, whole), compare(whole, some)
    assert forth.new == (move("x", Outcome.ATOMIC, Outcome.STUCK),)
    assert back.gone == (move("x", Outcome.STUCK, Outcome.ATOMIC),)
    assert forth.only_a == forth.only_b == back.only_a == back.only_b == ()
    assert forth.notes == ("some left out 2 points that whole had: these are not compared",)


def test_the_part_of_a_plan_names_what_it_leaves_out(make: Make) -> None:
    plan = run(make, "a", x=Outcome.STUCK, y=Outcome.LOST).plan
    part = only(plan, {"dcm/create@after:mongo.y.crash"})
    assert [point.id for point in part.points()] == ["dcm/create@after:mongo.y.crash"]
    assert part.left_out == ("dcm/create@after:mongo.x.crash",)
    assert only(plan, {point.id for point in plan.points()}) == plan
