"""What a run found: findings, and counts by outcome, grade and call. All of it follows from the results."""

from collections.abc import Iterable
from dataclasses import dataclass

from harness.crashpoints.model import GRADES, CallPlan, Change, Grade, Outcome, Plan, PointResult, RunSummary, Told

_OUTCOMES = tuple(Outcome)
_GRADES = tuple(Grade)


@dataclass(frozen=True, slots=True)
class Finding:
    """An outcome that is not a pass.

    id:      the crash point's id
    nearest: the control state that the difference refers to
    repair:  what brought the state back, empty if nothing did
    replay:  the command that shows it again
    """

    id: str
    outcome: Outcome
    grade: Grade
    reason: str
    told: Told
    nearest: str
    difference: tuple[Change, ...]
    repair: str
    leaks: tuple[str, ...]
    replay: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Points of the plan, those with a result, those without, and the results by outcome and grade (all listed)."""

    planned: int
    ran: int
    not_run: int
    proven: int
    findings: int
    by_outcome: dict[Outcome, int]
    by_grade: dict[Grade, int]


@dataclass(frozen=True, slots=True)
class CallRow:
    """One call in a table. `worst` is None when none of its points ran."""

    name: str
    service: str
    points: int
    ran: int
    by_outcome: dict[Outcome, int]
    worst: Outcome | None
    seconds: float
    note: str


def severity(outcome: Outcome) -> int:
    """0 for the best outcome, more for worse ones."""
    return _OUTCOMES.index(outcome)


def replay_command(result: PointResult) -> str:
    """What a person types to see this point again."""
    return result.replay or f"emco-chaos replay '{result.point.id}'"


def finding(result: PointResult) -> Finding:
    """The finding that a result which is not a pass stands for."""
    return Finding(
        id=result.point.id,
        outcome=result.outcome,
        grade=result.grade,
        reason=result.reason,
        told=result.told,
        nearest=result.nearest,
        difference=result.difference,
        repair=result.repair,
        leaks=result.leaks,
        replay=replay_command(result),
    )


def findings(results: Iterable[PointResult]) -> tuple[Finding, ...]:
    """All findings, worst first, else in the order of the results."""
    found = [finding(result) for result in results if result.grade is not Grade.PASS]
    return tuple(sorted(found, key=lambda each: -severity(each.outcome)))


def merged(results: Iterable[PointResult], plan: Plan) -> tuple[PointResult, ...]:
    """One result per point, in the plan's order; where there are several (retries, shards), the worst one counts."""
    worst: dict[str, PointResult] = {}
    for result in results:
        seen = worst.get(result.point.id)
        if seen is None or severity(result.outcome) > severity(seen.outcome):
            worst[result.point.id] = result
    order = {point.id: number for number, point in enumerate(plan.points())}
    return tuple(sorted(worst.values(), key=lambda result: order.get(result.point.id, len(order))))


def by_outcome(results: Iterable[PointResult]) -> dict[Outcome, int]:
    """How many results have each outcome; outcomes that did not occur are listed with 0."""
    counts = dict.fromkeys(_OUTCOMES, 0)
    for result in results:
        counts[result.outcome] += 1
    return counts


def count(summary: RunSummary) -> Counts:
    """The run in numbers."""
    outcomes = by_outcome(summary.results)
    ran = {result.point.id for result in summary.results}
    planned = [point.id for point in summary.plan.points()]
    return Counts(
        planned=len(planned),
        ran=len(ran),
        not_run=sum(each not in ran for each in planned),
        proven=sum(result.proof.proven for result in summary.results),
        findings=sum(result.grade is not Grade.PASS for result in summary.results),
        by_outcome=outcomes,
        by_grade={g: sum(n for o, n in outcomes.items() if GRADES[o] is g) for g in _GRADES},
    )


def call_rows(plan: Plan, results: Iterable[PointResult]) -> tuple[CallRow, ...]:
    """The run call by call, in the order of the workload."""
    per_call: dict[str, list[PointResult]] = {}
    for result in results:
        per_call.setdefault(result.point.call, []).append(result)
    return tuple(_row(call, per_call.get(call.name, [])) for call in plan.calls)


def _row(call: CallPlan, results: list[PointResult]) -> CallRow:
    return CallRow(
        name=call.name,
        service=call.service,
        points=len(call.points),
        ran=len(results),
        by_outcome=by_outcome(results),
        worst=max((result.outcome for result in results), key=severity, default=None),
        seconds=round(sum(result.seconds for result in results), 3),
        note=call.note,
    )
