"""What a run found: findings, and counts by outcome, grade and call. All of it follows from the results."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.crashpoints.claims import ClaimResult, Figure
from harness.crashpoints.model import GRADES, CallPlan, Change, Grade, Outcome, Plan, PointResult, RunSummary, Told
from harness.crashpoints.outcomes import Judged

_OUTCOMES = tuple(Outcome)
_GRADES = tuple(Grade)


@dataclass(frozen=True, slots=True)
class Finding:
    """A crash point's outcome that is not a pass.

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
class ClaimFinding:
    """A claim's outcome that is not a pass; the fields are those of ClaimResult."""

    id: str
    outcome: Outcome
    grade: Grade
    reason: str
    claim: str
    proof: str
    measured: Mapping[str, Figure]
    evidence: tuple[str, ...]
    replay: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Points of the plan, those with a result, those without; claims; both by outcome and grade (all listed).

    proven: points whose fault is proven;  findings: of points and of claims
    """

    planned: int
    ran: int
    not_run: int
    proven: int
    claims: int
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


def replay_command(result: Judged) -> str:
    """What a person types to see this point or claim again."""
    if not result.replay and isinstance(result, ClaimResult):
        return f"pytest scenarios/{result.scenario}"
    return result.replay or f"emco-chaos replay '{result.id}'"


def judged(summary: RunSummary) -> tuple[PointResult | ClaimResult, ...]:
    """All results of a run: of crash points, then of claims."""
    return (*summary.results, *summary.claims)


def finding(result: PointResult | ClaimResult) -> Finding | ClaimFinding:
    """The finding that a result which is not a pass stands for."""
    if isinstance(result, ClaimResult):
        return ClaimFinding(
            id=result.id,
            outcome=result.outcome,
            grade=result.grade,
            reason=result.reason,
            claim=result.claim,
            proof=result.proof,
            measured=result.measured,
            evidence=result.evidence,
            replay=replay_command(result),
        )
    return Finding(
        id=result.id,
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


def findings(results: Iterable[PointResult | ClaimResult]) -> tuple[Finding | ClaimFinding, ...]:
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


def by_outcome(results: Iterable[Judged]) -> dict[Outcome, int]:
    """How many results have each outcome; outcomes that did not occur are listed with 0."""
    counts = dict.fromkeys(_OUTCOMES, 0)
    for result in results:
        counts[result.outcome] += 1
    return counts


def count(summary: RunSummary) -> Counts:
    """The run in numbers."""
    every = judged(summary)
    outcomes = by_outcome(every)
    ran = {result.point.id for result in summary.results}
    planned = [point.id for point in summary.plan.points()]
    return Counts(
        planned=len(planned),
        ran=len(ran),
        not_run=sum(each not in ran for each in planned),
        proven=sum(result.proof.proven for result in summary.results),
        claims=len(summary.claims),
        findings=sum(result.grade is not Grade.PASS for result in every),
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
