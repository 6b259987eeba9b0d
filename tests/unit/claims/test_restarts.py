"""What is claimed of an rsync that is killed with no event in hand, and of two at work: each claim holds and breaks."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from fixtures import restarts
from harness.crashpoints.outcomes import Outcome
from harness.pytest_claims import Claims
from harness.wire.effects import Effect, Observation

from .experiments import TWICE, WHOLE, Case, Outcomes, differing, judged

EDGES_SAY = "the application runs by the word of the edges"
REST = Case(
    outputs={
        "rsync is killed": "SIGKILL reaped",
        "what runs on another edge ends": "Deployment r1-web on p1+c2: deleted",
        "EMCO says so": "it says so",
        "EMCO says so after its restart": "it says so",
        EDGES_SAY: False,
    },
    snapshots={"spoiled": WHOLE},
)
ALL = ("told", "told-after-restart", "consistent")


@pytest.mark.parametrize(
    "change, expected",
    [
        ({}, {}),
        ({"failed": ["EMCO says so"]}, {"told": Outcome.BROKEN}),
        ({"failed": ["EMCO says so after its restart"]}, {"told-after-restart": Outcome.BROKEN}),
        ({"now": TWICE}, {"consistent": Outcome.BROKEN}),
        ({"now": TWICE, "snapshots": {"spoiled": TWICE}}, {}),  # done by hand, not by EMCO
        # the fault did not take place: all of it runs
        ({"outputs": {**REST.outputs, EDGES_SAY: True}}, dict.fromkeys(ALL, Outcome.UNKNOWN)),
        ({"failed": ["rsync starts again"]}, dict.fromkeys(ALL, Outcome.UNKNOWN)),
    ],
)
def test_what_ends_on_an_edge_is_told(
    change: Mapping[str, Any], expected: Mapping[str, Outcome], proven: Claims, outcomes: Outcomes
) -> None:
    restarts.claim_at_rest(proven, replace(REST, **change).ran(), "deleted")
    assert differing(outcomes) == expected
    assert set(judged(outcomes)) == set(ALL)


CLEANUP = Case(
    outputs={
        "rsync is killed": "SIGKILL reaped",
        "that is before the clean-up": 0.3,
        "the edges report on it": 3,
        "no edge reports any more": "no edge reports any more",
        "the application is deployed again": "202",
        "it runs again": "dig1 is ready",
        "it is updated, to what it is already": "202",
        "it is terminated and removed": "DELETE 204",
    }
)


@pytest.mark.parametrize(
    "change, expected",
    [
        ({}, {}),
        ({"failed": ["no edge reports any more"]}, {"reports-removed": Outcome.BROKEN}),
        ({"failed": ["it is terminated and removed"]}, {"works-again": Outcome.STUCK}),
        ({"failed": ["it is updated, to what it is already"]}, {"works-again": Outcome.STUCK}),
        ({"now": TWICE}, {"consistent": Outcome.BROKEN}),
        (
            {"failed": ["rsync starts again"]},
            dict.fromkeys(("reports-removed", "works-again", "consistent"), Outcome.UNKNOWN),
        ),
    ],
)
def test_what_reports_on_an_application_goes_after_it(
    change: Mapping[str, Any], expected: Mapping[str, Outcome], proven: Claims, outcomes: Outcomes
) -> None:
    restarts.claim_cleanup(proven, replace(CLEANUP, **change).ran(), "8s")
    assert differing(outcomes) == expected


@pytest.mark.parametrize("step", ["that is before the clean-up", "the edges report on it"])
def test_where_nothing_was_to_be_cleaned_up_a_kill_proves_nothing(
    step: str, proven: Claims, outcomes: Outcomes
) -> None:
    restarts.claim_cleanup(proven, replace(CLEANUP, failed=[step]).ran(), "8s")
    assert set(judged(outcomes).values()) == {Outcome.UNKNOWN}


def noted(at: float, edge: str = "p1+c2") -> Observation:
    """rsync notes whether it reaches an edge."""
    key = f"/context/1/app/app1/cluster/{edge}/readystatus/"
    return Observation(0, "rsync", "etcd", Effect("etcd", "Put", "kv", (("key", key),)), at, at + 0.1, True, True)


OVERLAP = Case(
    history=(noted(3.5),),
    outputs={
        "a second rsync is started": "two instances of rsync are at work",
        "both try to reach the edge": "2 tries",
        "the newer rsync is paused": "rsync is paused",
        "the goal is reached": "dig1 is gone",
        "it stays so": "dig1 is gone",
        "the older rsync is killed": "the older SIGKILL reaped",
        "it is as before": "dig1 is gone",
    },
)
OVERLAPPED = ("taken-up", "reaches-goal", "lasts", "consistent")


@pytest.mark.parametrize("goal, left", [("gone", Outcome.ORPHANS), ("running", Outcome.STUCK)])
@pytest.mark.parametrize(
    "failed, expected",
    [
        ((), ()),
        (("the goal is reached",), ("reaches-goal",)),
        (("it stays so",), ("lasts",)),
        (("it is as before",), ("lasts",)),
    ],
)
def test_two_that_are_at_work_reach_one_goal(
    failed: tuple[str, ...],
    expected: tuple[str, ...],
    goal: str,
    left: Outcome,
    proven: Claims,
    outcomes: Outcomes,
) -> None:
    restarts.claim_overlap(proven, replace(OVERLAP, failed=failed).ran(), "given-up", goal)
    assert differing(outcomes) == dict.fromkeys(expected, left)
    assert set(judged(outcomes)) == set(OVERLAPPED)


def test_two_that_leave_stores_and_edges_at_odds(proven: Claims, outcomes: Outcomes) -> None:
    restarts.claim_overlap(proven, replace(OVERLAP, now=TWICE).ran(), "given-up", "gone")
    assert differing(outcomes) == {"consistent": Outcome.BROKEN}


@pytest.mark.parametrize("history", [(), (noted(4.5),), (noted(3.5, "p1+c1"),)], ids=["never", "later", "elsewhere"])
def test_a_newer_one_that_has_nothing_in_hand_is_told(
    history: tuple[Observation, ...], proven: Claims, outcomes: Outcomes
) -> None:
    restarts.claim_overlap(proven, replace(OVERLAP, history=history).ran(), "update", "changed")
    assert differing(outcomes) == {"taken-up": Outcome.BROKEN}


@pytest.mark.parametrize("failed", ["a second rsync is started", "the newer rsync is paused", "the edge is back"])
def test_where_there_were_no_two_nothing_is_known(failed: str, proven: Claims, outcomes: Outcomes) -> None:
    restarts.claim_overlap(proven, replace(OVERLAP, failed=[failed]).ran(), "given-up", "gone")
    assert set(judged(outcomes).values()) == {Outcome.UNKNOWN}
