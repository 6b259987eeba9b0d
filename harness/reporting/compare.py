"""Two runs side by side: what is new, gone, worse, better, and which points and claims only one of them had."""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.crashpoints.model import GRADES, Grade, Outcome, RunSummary
from harness.reporting.findings import judged, severity


@dataclass(frozen=True, slots=True)
class Move:
    """One point or claim in both runs; None: that run did not plan it or has no result for it."""

    id: str
    was: Outcome | None
    now: Outcome | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """From run `a` to run `b`, in the order of b's plan, then claims; all that differs is in one of the five places.

    new:     a finding that was a pass, or whose point or claim did not exist
    gone:    was a finding, is a pass
    worse, better: findings of both, with another outcome
    undecided: one of the runs has no result or an unknown outcome for what both planned
    only_a, only_b: ids that only one of the runs has. Findings among those of b are in `new`, too
    notes:   why the comparison may mislead (a part of the plan, reference against real EMCO)

    A point that one of the runs had and was not to do says nothing of a change: it is in none of the places.
    """

    a: str
    b: str
    new: tuple[Move, ...]
    gone: tuple[Move, ...]
    worse: tuple[Move, ...]
    better: tuple[Move, ...]
    undecided: tuple[Move, ...]
    only_a: tuple[Move, ...]
    only_b: tuple[Move, ...]
    notes: tuple[str, ...] = ()


def compare(a: RunSummary, b: RunSummary) -> Comparison:
    """What changed from run a to run b."""
    was = {result.id: result.outcome for result in judged(a)}
    now = {result.id: result.outcome for result in judged(b)}
    left_out = {*a.plan.left_out, *b.plan.left_out}
    planned_a, planned_b = ([point for point in _planned(run) if point not in left_out] for run in (a, b))
    in_a, in_b = set(planned_a), set(planned_b)
    places: dict[str, list[Move]] = {name: [] for name in ("new", "gone", "worse", "better", "undecided")}
    for point in planned_b:
        move = Move(point, was.get(point), now.get(point))
        place = _place(move) if point in in_a else _place_of_addition(move)
        if place:
            places[place].append(move)
    return Comparison(
        a=a.run,
        b=b.run,
        only_a=tuple(Move(point, was.get(point), None) for point in planned_a if point not in in_b),
        only_b=tuple(Move(point, None, now.get(point)) for point in planned_b if point not in in_a),
        notes=tuple(_notes(a, b)),
        **{name: tuple(moves) for name, moves in places.items()},
    )


def _planned(run: RunSummary) -> list[str]:
    """Ids of points, and of claims: a claim is known once it was checked."""
    return [*(point.id for point in run.plan.points()), *(claim.id for claim in run.claims)]


def _place(move: Move) -> str:
    if move.was is None or move.now is None or Outcome.UNKNOWN in (move.was, move.now):
        return "" if move.was is move.now is None else "undecided"
    if _passes(move.was) or _passes(move.now):
        if _passes(move.was) and _passes(move.now):
            return ""
        return "new" if _passes(move.was) else "gone"
    if move.was is move.now:
        return ""
    return "worse" if severity(move.now) > severity(move.was) else "better"


def _place_of_addition(move: Move) -> str:
    if move.now is None or _passes(move.now):
        return ""
    return "undecided" if move.now is Outcome.UNKNOWN else "new"


def _passes(outcome: Outcome) -> bool:
    return GRADES[outcome] is Grade.PASS


def _notes(a: RunSummary, b: RunSummary) -> Iterator[str]:
    if a.reference != b.reference:
        one, other = (a, b) if a.reference else (b, a)
        yield f"{one.run} was on the reference EMCO, {other.run} was not"
    for run, other in ((a, b), (b, a)):
        if missing := set(run.plan.left_out) & set(_planned(other)):
            yield f"{run.run} left out {len(missing)} points that {other.run} had: these are not compared"
    for run in (a, b):
        if run.status != "complete":
            yield f"{run.run} is {run.status}: results are missing"
