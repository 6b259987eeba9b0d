"""Whether EMCO is steady and consistent after the rollbacks, on hand-written journals and snapshots."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest

from fixtures.claims import claim_consistent, claim_steady
from fixtures.experiment import Ran
from harness.crashpoints.outcomes import Outcome
from harness.pytest_claims import Claims
from harness.stores.snapshot import Snapshot

from .experiments import INERT, TWICE, WHOLE, Case, Outcomes

ANSWERS = {"activity": {"name": "every service answers"}, "status": "succeeded", "tolerance_met": True}
ACTIVE = {"activity": {"name": "nothing is active"}, "status": "succeeded", "tolerance_met": False}
UNSTEADY = {"steady_state_met": False, "probes": [ANSWERS, ACTIVE]}
STEADY = {"steady_state_met": True, "probes": [ANSWERS]}
FAILED = {"activity": {"name": "mend"}, "status": "failed", "exception": ["harness.HarnessTrouble: no\n"]}


@pytest.mark.parametrize(
    "journal, outcome",
    [
        ({"steady_states": {"after_rollbacks": STEADY}}, Outcome.HOLDS),
        ({"steady_states": {"after_rollbacks": UNSTEADY}}, Outcome.BROKEN),
        ({"steady_states": {"after_rollbacks": STEADY}, "rollbacks": [FAILED]}, Outcome.UNKNOWN),
        ({"steady_states": {}}, Outcome.UNKNOWN),
        ({}, Outcome.UNKNOWN),
    ],
)
def test_a_steady_state_that_does_not_hold_afterwards_is_a_finding(
    journal: Mapping[str, Any],
    outcome: Outcome,
    proven: Claims,
    outcomes: Callable[[], Mapping[str, Outcome]],
) -> None:
    claim_steady(proven, Ran({"status": "completed", "deviated": False, **journal}, cast("Any", None)))
    assert outcomes()["steady-afterwards"] == outcome


@pytest.mark.parametrize(
    "now, before, journal, restless, outcome",
    [
        (WHOLE, None, {}, "", Outcome.HOLDS),
        (TWICE, None, {}, "", Outcome.BROKEN),
        (TWICE, TWICE, {}, "", Outcome.HOLDS),  # it was so before
        (INERT, None, {}, "", Outcome.LEAKS),
        (INERT, None, {}, "rsync is at work", Outcome.BROKEN),
        (WHOLE, None, {}, "rsync is at work", Outcome.BROKEN),
        (WHOLE, None, {"rollbacks": [FAILED]}, "", Outcome.UNKNOWN),
    ],
)
def test_what_does_not_agree_afterwards_is_a_finding(
    now: Snapshot,
    before: Snapshot | None,
    journal: Mapping[str, Any],
    restless: str,
    outcome: Outcome,
    proven: Claims,
    outcomes: Outcomes,
) -> None:
    ran = Case(now=now, restless=restless).ran()
    claim_consistent(proven, Ran({**ran.journal, **journal}, ran.stage), before)
    assert outcomes()["consistent"] == outcome
