"""What is claimed of a store's outage, on hand-written answers, snapshots and journals: each claim holds and is broken.

Every table begins with an experiment in which all is well, and changes one thing; only what that concerns may change.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from fixtures import outage
from fixtures.experiment import Ran
from harness.chaos import goals
from harness.chaos.clients import Asked
from harness.crashpoints.outcomes import Outcome
from harness.evidence.run_folder import RunFolder
from harness.pytest_claims import Claims
from harness.reporting.claimed import read_claimed
from harness.reporting.seen import says
from harness.stores.snapshot import Snapshot
from harness.wire.knocks import Knock

from .experiments import (
    AGAIN,
    BOTH_LEFT,
    INERT,
    LIES,
    NEW,
    PROJECT,
    RUNS,
    TWICE,
    WHOLE,
    Case,
    Outcomes,
    differing,
    judged,
    knock,
    other,
    post,
    snapshot,
)

AT_REST = Case(
    outputs={
        "the store goes away": "mongo is paused",
        "the store is back": "mongo runs",
        "every service serves again": 0.2,
        LIES: [],
        AGAIN: [],
        RUNS: "it does",
    },
    asked=(post(201), post(500, "refused")),
    snapshots={"before": WHOLE, "answered": snapshot(PROJECT, NEW)},
)


@pytest.mark.parametrize(
    "change, expected",
    [
        ({}, {}),
        ({"failed": ["every service serves again"]}, {"serves-again": Outcome.NEEDS_REPAIR}),
        ({"asked": (post(201, ended=16.8),)}, {"answered": Outcome.BROKEN}),
        ({"asked": (post(201, ended=16.7),)}, {}),
        ({"asked": (post(201), post(None, "new"))}, {"answered": Outcome.BROKEN}),
        (
            {"asked": (post(None), post(None))},
            {
                "answered": Outcome.BROKEN,
                "truthful": Outcome.UNKNOWN,
                "refused-leaves-nothing": Outcome.UNKNOWN,
            },
        ),
        ({"lies": ["x was acknowledged (201) and did not take place"]}, {"truthful": Outcome.LOST}),
        ({"lies": ["x was refused (500) and took place"]}, {"truthful": Outcome.BROKEN}),
        ({"asked": (post(500), post(201, "other"))}, {"refused-leaves-nothing": Outcome.BROKEN}),
        ({"answered": INERT}, {"refused-leaves-nothing": Outcome.LEAKS}),
        ({"asked": (post(500),), "answered": BOTH_LEFT}, {"refused-leaves-nothing": Outcome.BROKEN}),
        ({"answered": snapshot(NEW)}, {"nothing-lost": Outcome.LOST}),
        ({"failed": [AGAIN]}, {"works-again": Outcome.STUCK}),
        ({"failed": [RUNS]}, {"works-again": Outcome.STUCK}),
        (
            {"answered": snapshot({**PROJECT, "data": {}}, NEW)},
            {"nothing-lost": Outcome.LOST, "refused-leaves-nothing": Outcome.BROKEN},
        ),
        ({"now": TWICE}, {"consistent": Outcome.BROKEN}),
        ({"restless": "rsync is at work"}, {"consistent": Outcome.BROKEN}),
        ({"now": INERT}, {"consistent": Outcome.LEAKS}),
    ],
)
def test_a_store_away_at_rest(
    change: dict[str, Any], expected: Mapping[str, Outcome], proven: Claims, outcomes: Outcomes
) -> None:
    case = AT_REST
    if (lies := change.pop("lies", None)) is not None:
        case = replace(case, outputs={**case.outputs, LIES: lies})
    if (answered := change.pop("answered", None)) is not None:
        case = replace(case, snapshots={**case.snapshots, "answered": answered})
    outage.claim_at_rest(proven, replace(case, **change).ran(), "mongo", "mongo/paused/1s")
    assert differing(outcomes) == expected
    assert len(judged(outcomes)) == 7


SERVES = "every service serves again"
RESTARTED = Case(
    outputs={
        "the node is switched off and on": "it was; 9 of 9 pods were there again",
        SERVES: 1.2,
        RUNS: "it does",
        "the application is terminated": {"status": 202},
        "EMCO is at rest again": "at rest",
    },
    snapshots={"before": WHOLE, "answered": WHOLE, "end": WHOLE},
)
REPORT = {"kind": "ResourceBundleState", "metadata": {"name": "r"}}
CONFIG = {"kind": "ConfigMap", "metadata": {"name": "c"}}


@pytest.mark.parametrize(
    "change, expected",
    [
        ({}, {}),
        ({"failed": [SERVES]}, {"serves-again": Outcome.NEEDS_REPAIR}),
        ({"failed": [RUNS]}, {"runs-on": Outcome.LOST}),
        ({"failed": ["the application is terminated"]}, {"removable": Outcome.STUCK}),
        ({"failed": ["EMCO is at rest again"]}, {"removable": Outcome.STUCK}),
        ({"answered": snapshot()}, {"nothing-lost": Outcome.LOST}),
        ({"answered": snapshot({**PROJECT, "data": {}})}, {"nothing-lost": Outcome.LOST}),
        ({"end": replace(WHOLE, edges={"p1+c1": (CONFIG, REPORT)})}, {"removable": Outcome.ORPHANS}),
        ({"end": replace(WHOLE, edges={"p1+c1": (REPORT,)})}, {}),
        ({"now": TWICE}, {"consistent": Outcome.BROKEN}),
    ],
)
def test_the_machine_of_emco_was_switched_off_and_on(
    change: dict[str, Any], expected: Mapping[str, Outcome], proven: Claims, outcomes: Outcomes
) -> None:
    kept: dict[str, Snapshot] = {name: change.pop(name) for name in ("answered", "end") if name in change}
    case = replace(RESTARTED, snapshots={**RESTARTED.snapshots, **kept}, **change)
    outage.claim_node_restarted(proven, case.ran())
    assert differing(outcomes) == expected
    assert len(judged(outcomes)) == 5


def test_a_machine_that_was_not_switched_off_proves_nothing(proven: Claims, outcomes: Outcomes) -> None:
    with pytest.raises(KeyError, match="no activity 'the node is switched off and on'"):
        outage.claim_node_restarted(proven, replace(RESTARTED, failed=["the node is switched off and on"]).ran())
    assert judged(outcomes) == {}


@pytest.mark.parametrize(
    "knocks, asked, proof",
    [
        ([knock(5.5)], AT_REST.asked, True),
        ([], AT_REST.asked, False),
        ([knock(4.9), knock(6.1)], AT_REST.asked, False),  # only before and after it
        ([knock(5.95)], AT_REST.asked, False),  # it was on its way back, and may have been there
        ([knock(5.5, target="p1+c1")], AT_REST.asked, False),
        ([], (post(201, began=5.1, ended=6.2),), True),  # its links are whole, and nobody answers over them
        ([], (post(201, began=5.1, ended=5.9),), False),
    ],
)
def test_a_store_that_nobody_ran_into_was_not_away(
    knocks: list[Knock], asked: tuple[Asked, ...], proof: bool, proven: Claims, outcomes: Outcomes
) -> None:
    outage.claim_at_rest(proven, replace(AT_REST, knocks=knocks, asked=asked).ran(), "mongo", "mongo/paused/1s")
    assert set(judged(outcomes).values()) == ({Outcome.HOLDS} if proof else {Outcome.UNKNOWN})


@pytest.mark.parametrize("step", ["everything up to the approval", "the store was asked"])
def test_a_step_that_fails_and_that_no_claim_is_about_is_trouble(
    step: str, proven: Claims, outcomes: Outcomes, folder: RunFolder
) -> None:
    outage.claim_at_rest(proven, replace(AT_REST, failed=[step]).ran(), "mongo", "mongo/paused/1s")
    assert set(judged(outcomes).values()) == {Outcome.UNKNOWN}
    (found,) = [one for one in read_claimed(folder).claims if one.id.endswith(":truthful")]
    assert found.reason.startswith(f"{step!r} failed: it failed: {step}; seen: ")


def test_an_experiment_that_was_interrupted_is_trouble(proven: Claims, outcomes: Outcomes) -> None:
    ran = AT_REST.ran()
    outage.claim_at_rest(proven, replace(ran, journal={**ran.journal, "status": "interrupted"}), "mongo", "x/1s")
    assert set(judged(outcomes).values()) == {Outcome.UNKNOWN}


def test_what_is_broken_is_told_by_the_names_of_invariants_first(proven: Claims, folder: RunFolder) -> None:
    case = replace(AT_REST, now=snapshot(PROJECT, {**PROJECT, "_id": 3}, {**NEW, "keyId": "{a,project}"}))
    outage.claim_at_rest(proven, case.ran(), "mongo", "mongo/paused/1s")
    (found,) = [one for one in read_claimed(folder).claims if one.id.endswith(":consistent")]
    assert says(found.reason, "I7-once, I9-key")
    assert not says(found.reason, "I7-once")


IN_EVENT = Case(
    outputs={
        "the store goes away in the middle of instantiate": "mongo is paused",
        "the store is back": "mongo runs",
        LIES: [],
        RUNS: goals.BY_ITSELF,
    },
    asked=(other(202),),
    snapshots={"before": WHOLE},
)


@pytest.mark.parametrize(
    "outputs, change, expected",
    [
        ({}, {}, {}),
        ({RUNS: goals.AGAIN}, {"asked": (other(500),)}, {}),
        ({RUNS: goals.AGAIN}, {}, {"reaches-goal": Outcome.NEEDS_REPAIR}),  # nobody was told that it failed
        ({RUNS: "said InstantiateFailed; terminate, instantiate"}, {}, {}),
        ({RUNS: "said Instantiating; terminate, instantiate"}, {}, {"reaches-goal": Outcome.NEEDS_REPAIR}),
        ({}, {"failed": [RUNS]}, {"reaches-goal": Outcome.STUCK}),
        ({LIES: ["x was acknowledged (202) and did not take place"]}, {}, {"truthful": Outcome.LOST}),
        ({}, {"asked": (other(None),)}, {"truthful": Outcome.UNKNOWN}),
        ({}, {"now": TWICE}, {"consistent": Outcome.BROKEN}),
    ],
)
def test_a_store_away_in_an_event(
    outputs: Mapping[str, Any],
    change: Mapping[str, Any],
    expected: Mapping[str, Outcome],
    proven: Claims,
    outcomes: Outcomes,
) -> None:
    case = replace(IN_EVENT, outputs={**IN_EVENT.outputs, **outputs}, **change)
    outage.claim_in_event(proven, case.ran(), "mongo", "mongo/paused/1s/begun")
    assert differing(outcomes) == expected
    assert len(judged(outcomes)) == 3


ACTIONS = {**PROJECT, "stateInfo": {"actions": [{"state": "Created"}, {"state": "Approved"}]}}
FEWER = {**PROJECT, "stateInfo": {"actions": [{"state": "Created"}]}}
UP = "the services are up"
BEFORE_START = Case(
    outputs={"the stores come later": "they run", UP: ["clm after 1 s"]},
    asked=(post(201),),
    snapshots={"before": WHOLE, "answered": WHOLE},
)


@pytest.mark.parametrize(
    "change, expected",
    [
        ({}, {}),
        ({"failed": [UP]}, {"come-up": Outcome.STUCK}),
        ({"snapshots": {"before": WHOLE, "answered": snapshot(NEW)}}, {"nothing-lost": Outcome.LOST}),
        # there, but with less in it
        (
            {"snapshots": {"before": snapshot(ACTIONS), "answered": snapshot(FEWER)}, "now": snapshot(ACTIONS)},
            {"nothing-lost": Outcome.LOST},
        ),
        ({"now": TWICE}, {"consistent": Outcome.BROKEN}),
        ({"asked": (post(201), post(500))}, {"works": Outcome.NEEDS_REPAIR}),
        ({"not_ready": "the AppContext is gone"}, {"works": Outcome.NEEDS_REPAIR}),
        ({"asked": ()}, {"works": Outcome.UNKNOWN}),  # the answers did not come in time
    ],
)
def test_services_that_start_before_their_stores(
    change: Mapping[str, Any], expected: Mapping[str, Outcome], proven: Claims, outcomes: Outcomes
) -> None:
    outage.claim_before_start(proven, replace(BEFORE_START, **change).ran(), "both", "both/1s")
    assert differing(outcomes) == expected
    assert len(judged(outcomes)) == 4


@pytest.mark.parametrize("at, proof", [(5.5, True), (5.1, False), (5.95, False), (6.1, False)])
def test_services_that_found_their_stores_did_not_start_before_them(
    at: float, proof: bool, proven: Claims, outcomes: Outcomes
) -> None:
    outage.claim_before_start(proven, replace(BEFORE_START, knocks=[knock(at)]).ran(), "both", "both/1s")
    assert set(judged(outcomes).values()) == ({Outcome.HOLDS} if proof else {Outcome.UNKNOWN})


def test_stores_are_late_from_the_start_of_the_services_on(proven: Claims, folder: RunFolder) -> None:
    outage.claim_before_start(proven, BEFORE_START.ran(), "both", "both/1s")
    (found,) = [one for one in read_claimed(folder).claims if one.id.endswith(":come-up")]
    assert round(float(found.measured["stores_late_s"]), 3) == 0.8


RSYNC_UP = "rsync is up"
GOES_ON = Case(outputs={RSYNC_UP: ["rsync after 1 s"], RUNS: goals.BY_ITSELF})


@pytest.mark.parametrize(
    "case, expected",
    [
        (GOES_ON, {}),
        (replace(GOES_ON, outputs={**GOES_ON.outputs, RUNS: goals.AGAIN}), {"goes-on": Outcome.NEEDS_REPAIR}),
        (replace(GOES_ON, failed=[RUNS]), {"goes-on": Outcome.STUCK}),
        (replace(GOES_ON, failed=[RSYNC_UP, RUNS]), {"goes-on": Outcome.STUCK}),
        (replace(GOES_ON, now=TWICE), {"consistent": Outcome.BROKEN}),
        (
            replace(GOES_ON, failed=["rsync asks for etcd"]),
            {"goes-on": Outcome.UNKNOWN, "consistent": Outcome.UNKNOWN},
        ),
    ],
)
def test_an_rsync_that_starts_without_etcd(
    case: Case, expected: Mapping[str, Outcome], proven: Claims, outcomes: Outcomes
) -> None:
    outage.claim_goes_on(proven, case.ran(), "errors", proof="2 connections", measured={})
    assert differing(outcomes) == expected
    assert len(judged(outcomes)) == 2


@pytest.mark.parametrize(
    "one, proof",
    [
        (knock(5.5, target="etcd"), True),
        (knock(5.5, "clm", "etcd"), False),
        (knock(5.5), False),
        (knock(5.1, target="etcd"), False),
        (knock(5.95, target="etcd"), False),
        (knock(6.1, target="etcd"), False),
    ],
)
def test_an_rsync_that_did_not_ask_for_etcd_did_not_miss_it(
    one: Knock, proof: bool, proven: Claims, outcomes: Outcomes
) -> None:
    outputs = {**GOES_ON.outputs, "etcd is not there for rsync": "1 link", "etcd is there": "healed"}
    outage.claim_goes_on_later(proven, replace(GOES_ON, outputs=outputs, knocks=[one]).ran(), "refused/1s")
    assert set(judged(outcomes).values()) == ({Outcome.HOLDS} if proof else {Outcome.UNKNOWN})


@pytest.mark.parametrize(
    "failed, expected",
    [
        ([], {"serves-creates": Outcome.HOLDS}),
        (["without a"], {"serves-creates": Outcome.NEEDS_REPAIR, "restart-helps": Outcome.HOLDS}),
        (["without a", "after a"], {"serves-creates": Outcome.NEEDS_REPAIR, "restart-helps": Outcome.STUCK}),
    ],
)
def test_a_service_that_cannot_look_for_the_schema(
    failed: list[str], expected: Mapping[str, Outcome], proven: Claims, outcomes: Outcomes
) -> None:
    steps = {"and starts again": "it did", **{f"it works {when} restart": "201" for when in ("without a", "after a")}}
    case = Case(outputs={"they failed": 2, **steps}, failed=[f"it works {when} restart" for when in failed])
    outage.claim_schema(proven, case.ran(), "clm")
    assert judged(outcomes) == {"consistent": Outcome.HOLDS, **expected}


@pytest.mark.parametrize(
    "status, answered, expected",
    [
        (500, WHOLE, {}),
        (201, WHOLE, {"refused": Outcome.BROKEN}),
        (None, WHOLE, {"refused": Outcome.BROKEN}),
        (500, snapshot({**PROJECT, "data": {}}), {"not-replaced": Outcome.LOST}),
        (500, snapshot(), {"not-replaced": Outcome.LOST}),
    ],
)
def test_a_create_that_cannot_look(
    status: int | None, answered: Snapshot, expected: Mapping[str, Outcome], proven: Claims, outcomes: Outcomes
) -> None:
    case = Case(
        outputs={"they failed": 2}, asked=(post(status, "p"),), snapshots={"before": WHOLE, "answered": answered}
    )
    outage.claim_existing(proven, case.ran())
    assert differing(outcomes) == expected
    assert len(judged(outcomes)) == 3


@pytest.mark.parametrize(
    "status, deployed, not_ready, now, expected",
    [
        (202, "Terminated", "it is gone", WHOLE, {}),
        (500, "Instantiated", "", WHOLE, {}),
        (202, "Instantiated", "", WHOLE, {"truthful": Outcome.ORPHANS}),
        (500, "Instantiating", "it is at work", WHOLE, {"truthful": Outcome.BROKEN}),
        (202, "Terminated", "it is gone", TWICE, {"consistent": Outcome.BROKEN}),
    ],
)
def test_a_queue_that_cannot_be_read(
    status: int,
    deployed: str,
    not_ready: str,
    now: Snapshot,
    expected: Mapping[str, Outcome],
    proven: Claims,
    outcomes: Outcomes,
) -> None:
    case = Case(outputs={"it could not": 2}, asked=(other(status),), now=now)
    outage.claim_queue(proven, replace(case, deployed=deployed, not_ready=not_ready).ran())
    assert differing(outcomes) == expected
    assert len(judged(outcomes)) == 2


def test_fewer_cuts_than_it_takes_are_unknown_with_the_number(
    proven: Claims, outcomes: Outcomes, folder: RunFolder
) -> None:
    fewer = "63 of 100 connections to etcd were cut within 5 s"
    step = {"activity": {"name": "it could not"}, "status": "failed", "exception": [fewer]}
    outage.claim_queue(proven, with_step(Case(asked=(other(None),)), step))
    assert set(judged(outcomes).values()) == {Outcome.UNKNOWN}
    assert any(fewer in one.reason for one in read_claimed(folder).claims)


@pytest.mark.parametrize(
    "why, expected",
    [
        ("/context/1/status/ is Instantiating", set()),  # it stays so: a state that can be judged
        ("rsync has Instantiate pending; effects go on after 25 s", {Outcome.UNKNOWN}),
    ],
)
def test_what_was_looked_at_while_emco_worked_is_not_judged(
    why: str, expected: set[Outcome], proven: Claims, outcomes: Outcomes
) -> None:
    exception = [f"EMCO does not come to rest: {why}"]
    step = {"activity": {"name": "EMCO comes to rest"}, "status": "failed", "exception": exception}
    case = Case(outputs={"they failed": 2}, asked=(post(500, "p"),), snapshots={"before": WHOLE, "answered": WHOLE})
    outage.claim_existing(proven, with_step(case, step))
    assert set(differing(outcomes).values()) == expected


def with_step(case: Case, step: dict[str, Any]) -> Ran:
    """An experiment with one more step."""
    ran = case.ran()
    return Ran({**ran.journal, "run": [*ran.journal["run"], step]}, ran.stage)
