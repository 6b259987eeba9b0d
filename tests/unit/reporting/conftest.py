"""Hand-written results: small runs whose counts can be checked by eye."""

from typing import Any

import pytest

from harness.crashpoints.claims import ClaimResult
from harness.crashpoints.model import (
    Attempt,
    CallPlan,
    Change,
    CrashPoint,
    Fault,
    Outcome,
    Plan,
    PointResult,
    Proof,
    RunSummary,
    Side,
    Told,
)
from harness.evidence.redaction import Redactor

CHANGE = Change(
    where="mongo emco.resources {logicalCloud,project} proj1/lc1",
    kind="differs",
    expected={"metadata": {"name": "lc1"}, "stateInfo": {"actions": [{"state": "Created"}]}, "level": "1"},
    actual={"metadata": {"name": "lc1"}, "level": "0", "password": "s3nt1nel"},
)


class Make:
    """Builds values with defaults that make a plain pass."""

    change = CHANGE

    def point(
        self, call: str = "dcm/create", effect: str = "mongo.data", side: Side = "after", fault: Fault = "crash"
    ) -> CrashPoint:
        return CrashPoint(call, call.split("/", maxsplit=1)[0], side, effect, 1, 0 if effect == "answer" else 1, fault)

    def result(self, outcome: Outcome = Outcome.ATOMIC, point: CrashPoint | None = None, **more: Any) -> PointResult:
        values: dict[str, Any] = {
            "point": point or self.point(),
            "outcome": outcome,
            "reason": f"it is {outcome.value}",
            "proof": Proof(True, 1, "mongo findAndModify emco.resources", "SIGKILL reaped (pid 4711)"),
            "told": Told(201, '{"metadata": {"name": "lc1"}}'),
            "seconds": 0.5,
        }
        return PointResult(**(values | more))

    def bad(self, outcome: Outcome = Outcome.STUCK, point: CrashPoint | None = None) -> PointResult:
        attempts = (Attempt("wait", (), "", (CHANGE,)), Attempt("repeat", (Told(409, "exists"),), "", (CHANGE,), "lie"))
        return self.result(outcome, point, nearest="after", difference=(CHANGE,), attempts=attempts, told=Told(None))

    def claim(
        self, outcome: Outcome = Outcome.HOLDS, name: str = "goal", variant: str = "update/refused", **more: Any
    ) -> ClaimResult:
        scenario = more.get("scenario", "cluster_partition")
        values: dict[str, Any] = {
            "id": f"{scenario}/{variant}:{name}",
            "scenario": scenario,
            "claim": f"it reaches its {name}",
            "outcome": outcome,
            "reason": f"seen as {outcome.value}",
            "proof": "refused for 12.0 s, 9 connections",
            "measured": {"attempts": 5, "spacing_s": 2.04, "bounded": False},
            "seconds": 14.5,
            "replay": "pytest 'scenarios/cluster_partition'",
        }
        return ClaimResult(**(values | more))

    def plan(self, *points: CrashPoint) -> Plan:
        calls: dict[str, list[CrashPoint]] = {}
        for point in points:
            calls.setdefault(point.call, []).append(point)
        return Plan(
            digest="d1",
            title="Crash points of EMCO",
            calls=tuple(
                CallPlan(
                    name,
                    name.split("/", maxsplit=1)[0],
                    "POST",
                    f"/v2/{name}",
                    ("mongo.data", "mongo.state"),
                    tuple(own),
                )
                for name, own in calls.items()
            ),
            not_tested=("orchestrator POST /v2/unknown",),
        )

    def summary(self, *results: PointResult, **more: Any) -> RunSummary:
        values: dict[str, Any] = {
            "schema": 2,
            "run": "20260114T093000Z-a",
            "title": "Crash points of EMCO",
            "reference": False,
            "started": "2026-01-14T09:30:00Z",
            "seconds": 61.5,
            "seed": 7,
            "status": "complete",
            "settings": {"workers": 2, "db": {"password": "s3nt1nel"}},
            "versions": {"emco": "22.06", "harness": "0.1.0"},
            "plan": self.plan(*(result.point for result in results)),
            "results": results,
            "performance": {"points_per_minute": 97.0},
        }
        return RunSummary(**(values | more))

    def disrupted(self, **more: Any) -> RunSummary:
        """A point that passes; claims of two scenarios: two hold, one leaks, one is broken, one is stuck."""
        claims = (
            self.claim(),
            self.claim(Outcome.BROKEN, "bounded"),
            self.claim(Outcome.STUCK, variant="update/slow", evidence=("claims/slow/attempts.svg",)),
            self.claim(Outcome.HOLDS, "rpo", "restored", scenario="namespace_wipe", measured={"rpo_documents": 0}),
            self.claim(Outcome.LEAKS, "clean", "restored", scenario="namespace_wipe", measured={}),
        )
        return self.summary(self.result(), claims=claims, **more)

    def usual(self, **more: Any) -> RunSummary:
        """Five points over two calls: two passes, a warning, a failure, a blocker."""
        return self.summary(
            self.result(),
            self.bad(Outcome.STUCK, self.point(effect="mongo.state")),
            self.result(Outcome.LEAKS, self.point(effect="answer"), leaks=("etcd /context/ctx-3/ (11 keys)",)),
            self.result(Outcome.RETRY_HEALS, self.point("clm/delete")),
            self.bad(Outcome.NEEDS_REPAIR, self.point("clm/delete", fault="disconnect")),
            **more,
        )


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def redactor() -> Redactor:
    return Redactor(salt=b"salt")
