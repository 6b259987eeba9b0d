"""The values of a crash-point campaign: points, outcomes, results. Each can be printed, stored and read back."""

from dataclasses import dataclass, field
from typing import Any, Literal

from harness.crashpoints.claims import ClaimResult
from harness.crashpoints.outcomes import GRADES, Grade, Outcome

# The words of judgement stand apart because claims use them, and a run's summary holds claims; most want all from here.
__all__ = [
    "GRADES",
    "Attempt",
    "CallPlan",
    "Change",
    "CrashPoint",
    "Fault",
    "Grade",
    "Outcome",
    "Plan",
    "PointResult",
    "Proof",
    "RunSummary",
    "Side",
    "Told",
]

Side = Literal["before", "after", "refused"]
Fault = Literal["crash", "disconnect", "none", "reset", "error"]
"""What is done: SIGKILL of the victim; its client hangs up; nothing (a call that must be refused); its connection to a
store is reset; a store answers it with an error."""
Under = Literal["", "edges-refused", "start-error", "start-error-2"]
"""What is wrong beside that: edges refuse connections from before the call until the victim is back; the first (or the
second) read of a store that the victim makes after its restart is answered with an error."""
QUIET = "quiet"
"""Stands for an effect where the victim waits for its next try and does nothing."""
STORE_FAULTS: tuple[Fault, ...] = ("reset", "error")


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """One (call, boundary, fault).

    call:       readable and stable name of the call, `dcm/logical-clouds/create-l1`
    service:    the service that is called
    side:       before or after the effect; `refused` for a call that must be refused without any fault
    effect:     slug of the boundary's effect, `mongo.stateInfo`; `answer` for "answer delivered to the client"; `quiet`
                for "the victim waits for its next try"
    occurrence: which of the victim's effects with this slug during the call, from 1
    ordinal:    position of the effect among the victim's own effects of the call, from 1; 0 where there is none.
                For display only: it is not part of the id
    victim:     the service that the fault is done to, whose effect it is; the called one when nothing else is said
    under:      what is wrong beside the fault
    """

    call: str
    service: str
    side: Side
    effect: str
    occurrence: int
    ordinal: int
    fault: Fault
    victim: str = ""
    under: Under = ""

    def __post_init__(self) -> None:
        if not self.victim:
            object.__setattr__(self, "victim", self.service)

    @property
    def id(self) -> str:
        """Stable readable id, the same on every run and EMCO version that makes the effect."""
        nth = f"~{self.occurrence}" if self.occurrence > 1 else ""
        whose = f"{self.victim}:" if self.elsewhere else ""
        under = f"+{self.under}" if self.under else ""
        return f"{self.call}@{self.side}:{whose}{self.effect}{nth}.{self.fault}{under}"

    @property
    def elsewhere(self) -> bool:
        """Whether the victim is not the called service: it works on its own, beside the call and after its answer."""
        return self.victim != self.service


CALLED = "called"
"""Stands for the called service where victims are named."""


def kind_of(point_id: str) -> tuple[str, str]:
    """Victim (CALLED for the called service) and fault that an id names, also one of a plan that is not known here."""
    boundary = point_id.rpartition("@")[2].partition(":")[2]
    whose, colon, _ = boundary.partition(":")
    # A slug has a dot before its colon (`etcd.put:context`), a service's name has none.
    return whose if colon and "." not in whose else CALLED, boundary.rpartition(".")[2].partition("+")[0]


@dataclass(frozen=True, slots=True)
class Told:
    """What the client was told: an HTTP status and the body's beginning, or how the connection ended."""

    status: int | None
    body: str = ""

    @property
    def kind(self) -> Literal["acknowledged", "refused", "nothing"]:
        if self.status is None:
            return "nothing"
        return "acknowledged" if self.status < 400 else "refused"


@dataclass(frozen=True, slots=True)
class Proof:
    """Why we may say that the fault happened as planned.

    injections: how often the fault was injected (a verdict needs exactly one; none for fault `none`)
    at:         the effect at which it happened, as decoded
    how:        one sentence: `SIGKILL reaped (pid 4711), 5 of 5 connections ended`
    overlap:    seconds for which a replacement may have run beside what was crashed; 0 where it was killed at once
    """

    proven: bool
    injections: int
    at: str
    how: str
    overlap: float = 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """One document, key or object that differs from the nearest expected state.

    where: `mongo emco.resources {logicalCloud,project} lc2/proj1`, `etcd /context/ctx-1/meta/`,
           `edge p1+c1 v1/ConfigMap default/r1-cm`
    kind:  missing (expected, not there), unexpected (there, not expected), differs
    """

    where: str
    kind: Literal["missing", "unexpected", "differs"]
    expected: Any = None
    actual: Any = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to get from the post-crash state to a state of the control runs.

    name:   wait, repeat, undo, undo+redo, or a rung of the repair ladder
    told:   the answers, in order, of the calls it made
    reached: before, after, undone or "" (none of the control states)
    difference: what still differs from the nearest control state when nothing was reached
    """

    name: str
    told: tuple[Told, ...]
    reached: str
    difference: tuple[Change, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class PointResult:
    """The judgement of one crash point, with all that is needed to believe it.

    nearest:    the control state that the post-crash state is compared with (`before` or `after`)
    repair:     what brought it back (`retry`, `undo+redo`, name of a rung), empty when nothing was needed or helped
    leaks:      inert orphans that remain (`etcd /context/ctx-3/ (11 keys)`)
    reason:     the sentence that explains the outcome
    logs:       tail of the victim's log where it is part of the evidence (service does not come back, unknown)
    seconds:    wall time spent on this point
    replay:     the command that runs this point again, under the same settings
    """

    point: CrashPoint
    outcome: Outcome
    reason: str
    proof: Proof
    told: Told
    nearest: str = ""
    difference: tuple[Change, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    repair: str = ""
    leaks: tuple[str, ...] = ()
    logs: str = ""
    seconds: float = 0.0
    replay: str = ""

    @property
    def id(self) -> str:
        """The crash point's id."""
        return self.point.id

    @property
    def grade(self) -> Grade:
        return GRADES[self.outcome]


@dataclass(frozen=True, slots=True)
class CallPlan:
    """One call of the plan with its learned effects (of the called service, in order) and its points.

    refused: sentence why the call takes no points (it is refused without a fault, say); empty otherwise
    """

    name: str
    service: str
    method: str
    path: str
    effects: tuple[str, ...]
    points: tuple[CrashPoint, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that will be done, before anything is done. `digest` is that of workload, settings and binaries.

    left_out: ids of points that there are, and that this run was not to do
    """

    digest: str
    title: str
    calls: tuple[CallPlan, ...]
    masks: tuple[str, ...] = ()
    not_tested: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def points(self) -> tuple[CrashPoint, ...]:
        """All points, in the order of the workload."""
        return tuple(point for call in self.calls for point in call.points)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What reports/out/<run>/summary.json holds (docs/summary.md): crash points, claims of disruptions, or both.

    status: complete, interrupted (Ctrl-C, SIGTERM) or failed (harness trouble); `trouble` says what
    reference: True when the run was on the reference EMCO: such a run can never be a sign-off
    """

    schema: int
    run: str
    title: str
    reference: bool
    started: str
    seconds: float
    seed: int
    status: Literal["complete", "interrupted", "failed"]
    settings: dict[str, Any]
    versions: dict[str, str]
    plan: Plan
    results: tuple[PointResult, ...]
    trouble: str = ""
    performance: dict[str, float] = field(default_factory=dict)
    claims: tuple[ClaimResult, ...] = ()
