"""What is claimed of a store's outage, on hand-written answers, snapshots and journals: each claim holds and is broken.

Every table begins with an experiment in which all is well, and changes one thing; only what that concerns may change.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import bson
import pytest

from fixtures import outage
from fixtures.experiment import Ran
from harness.chaos import goals
from harness.chaos.clients import Ask, Asked
from harness.crashpoints.model import Told
from harness.crashpoints.outcomes import Outcome
from harness.emco.status import GroupStatus
from harness.pytest_claims import Claims
from harness.stores.snapshot import Snapshot
from harness.wire.effects import Effect, Observation

Outcomes = Callable[[], Mapping[str, Outcome]]
RUNS = "the application runs everywhere"
AGAIN = "clients ask again for what was refused"
LIES = "what of it is not true"
PROJECT = {"_id": 1, "project": "p", "keyId": "{project}", "data": {"metadata": {"name": "p"}}}
NEW = {**PROJECT, "_id": 2, "project": "new"}


def snapshot(*documents: dict[str, Any], keys: tuple[str, ...] = ()) -> Snapshot:
    mongo = {"emco.resources": tuple(bson.encode(one) for one in documents)}
    return Snapshot("x", mongo, {key.encode(): b'""' for key in keys}, {})


WHOLE = snapshot(PROJECT)
TWICE = snapshot(PROJECT, {**PROJECT, "_id": 3})  # breaks an invariant
INERT = snapshot(PROJECT, keys=("/context/1234567890/",))
BOTH_LEFT = snapshot(PROJECT, NEW, keys=("/context/1234567890/",))


def post(status: int | None, name: str = "new", *, began: float = 1.0, ended: float = 2.0) -> Asked:
    return Asked(Ask("orchestrator", "POST", "/v2/projects", {"metadata": {"name": name}}), Told(status), began, ended)


def other(status: int | None, method: str = "POST") -> Asked:
    return Asked(Ask("orchestrator", method, "/v2/projects/p/x/dig1/terminate"), Told(status), 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Case:
    """An experiment. The store goes away at 5.0 and is back at 6.0.

    outputs, failed: of activities;  asked, load: what clients were told;  there: whether what they asked for is
    """

    outputs: Mapping[str, Any] = field(default_factory=dict)
    failed: Sequence[str] = ()
    asked: Sequence[Asked] = ()
    load: Sequence[Asked] = ()
    there: bool = True
    snapshots: Mapping[str, Snapshot] = field(default_factory=dict)
    now: Snapshot = WHOLE
    not_ready: str = ""
    deployed: str = "Terminated"
    history: Sequence[Observation] = ()

    def ran(self) -> Ran:
        run: list[dict[str, Any]] = [
            {"activity": {"name": name}, "status": "failed", "exception": [f"it failed: {name}"]}
            for name in self.failed
        ]
        run += [
            {"activity": {"name": name}, "status": "succeeded", "output": output}
            for name, output in self.outputs.items()
            if name not in self.failed
        ]
        moments = {"outage mongo": 5.0, "back mongo": 6.0, "outage both": 5.0, "back both": 6.0, "empty": 0.0}
        moments |= {"outage etcd": 5.0, "back etcd": 6.0}
        stage = SimpleNamespace(
            snapshots=self.snapshots,
            snapshot=lambda: self.now,
            objects=dict,
            clients=SimpleNamespace(asked=list(self.asked), took_place=lambda _: self.there),
            load=SimpleNamespace(asked=list(self.load)),
            groups=SimpleNamespace(
                not_ready=lambda _: self.not_ready,
                status=lambda _: GroupStatus(self.deployed, "", {}, {}, ()),
            ),
            knocks=lambda **_: ("a", "b"),
            history=lambda _: self.history,
            marked=lambda name: SimpleNamespace(at=moments[name]),
        )
        return Ran({"status": "completed", "deviated": False, "run": run}, cast("Any", stage))


def judged(outcomes: Outcomes) -> dict[str, Outcome]:
    """All but what claim_steady says, of which test_steady.py is, and that no test came to its end."""
    return {name: one for name, one in outcomes().items() if name not in ("steady-afterwards", "carried-out")}


def differing(outcomes: Outcomes) -> dict[str, Outcome]:
    return {name: outcome for name, outcome in judged(outcomes).items() if outcome is not Outcome.HOLDS}


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
        ({"now": TWICE}, {"consistent": Outcome.BROKEN}),
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
        ({RUNS: goals.AGAIN}, {}, {}),
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


BEFORE_START = Case(
    outputs={"the stores come later": "they run", "the services are up": ["clm after 1 s"]},
    asked=(post(201),),
    snapshots={"before": WHOLE, "answered": WHOLE},
)


@pytest.mark.parametrize(
    "change, expected",
    [
        ({}, {}),
        ({"failed": ["the services are up"]}, {"come-up": Outcome.STUCK}),
        ({"snapshots": {"before": WHOLE, "answered": snapshot(NEW)}}, {"nothing-lost": Outcome.LOST}),
        ({"asked": (post(201), post(500))}, {"works": Outcome.NEEDS_REPAIR}),
        ({"not_ready": "the AppContext is gone"}, {"works": Outcome.NEEDS_REPAIR}),
        ({"asked": ()}, {"works": Outcome.UNKNOWN}),  # the answers did not come in time
    ],
)
def test_services_that_start_before_their_stores(
    change: Mapping[str, Any], expected: Mapping[str, Outcome], proven: Claims, outcomes: Outcomes
) -> None:
    outage.claim_before_start(proven, replace(BEFORE_START, **change).ran(), "1s")
    assert differing(outcomes) == expected
    assert len(judged(outcomes)) == 3


@pytest.mark.parametrize(
    "case, outcome",
    [
        (Case(outputs={RUNS: goals.BY_ITSELF}), Outcome.HOLDS),
        (Case(outputs={RUNS: goals.AGAIN}), Outcome.NEEDS_REPAIR),
        (Case(failed=[RUNS]), Outcome.STUCK),
    ],
)
def test_an_rsync_that_starts_without_etcd(case: Case, outcome: Outcome, proven: Claims, outcomes: Outcomes) -> None:
    outage.claim_goes_on(proven, case.ran(), "errors", proof="2 connections", measured={})
    assert judged(outcomes) == {"goes-on": outcome}


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
    steps = {f"it works {when} restart": "201" for when in ("without a", "after a")}
    case = Case(outputs={"they failed": 2, **steps}, failed=[f"it works {when} restart" for when in failed])
    outage.claim_schema(proven, case.ran(), "clm")
    assert judged(outcomes) == expected


@pytest.mark.parametrize(
    "status, answered, expected",
    [
        (500, WHOLE, {}),
        (201, WHOLE, {"refused": Outcome.BROKEN}),
        (None, WHOLE, {"refused": Outcome.BROKEN}),
        (500, snapshot({**PROJECT, "data": {}}), {"not-replaced": Outcome.LOST}),
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
    assert len(judged(outcomes)) == 2


SCHEMA = snapshot(
    {
        "_id": 4,
        "SegmentId": "s",
        "segment": {"name": "emco-base", "resources": [{"name": "project", "parent": ""}]},
        "keyId": "{SegmentId}",
    }
)


@pytest.mark.parametrize(
    "status, deployed, not_ready, answered, expected",
    [
        (202, "Terminated", "it is gone", SCHEMA, {}),
        (500, "Instantiated", "", SCHEMA, {}),
        (202, "Instantiated", "", SCHEMA, {"truthful": Outcome.ORPHANS}),
        (500, "Instantiating", "it is at work", SCHEMA, {"truthful": Outcome.BROKEN}),
        (202, "Terminated", "it is gone", snapshot(), {"consistent": Outcome.BROKEN}),
    ],
)
def test_a_queue_that_cannot_be_read(
    status: int,
    deployed: str,
    not_ready: str,
    answered: Snapshot,
    expected: Mapping[str, Outcome],
    proven: Claims,
    outcomes: Outcomes,
) -> None:
    case = Case(outputs={"it could not": 2}, asked=(other(status),), snapshots={"answered": answered})
    outage.claim_queue(proven, replace(case, deployed=deployed, not_ready=not_ready).ran())
    assert differing(outcomes) == expected
    assert len(judged(outcomes)) == 2


EARLY, OPEN, LATE = post(201, "a"), post(None, "b", began=4.9, ended=5.1), post(201, "c", began=7.0, ended=7.1)
UNKEPT = Observation(
    0, "rsync", "etcd", Effect("etcd", "Put", "", (("key", "/k/"),)), 1.0, 2.0, forwarded=True, ok=True
)
LOAD = Case(
    outputs={
        "mongo crashes": "SIGKILL",
        "mongo is back": "it runs",
        "clients are acknowledged again": 2,
        "clients stop": "2 acknowledged",
    },
    load=(EARLY, OPEN, LATE),
    snapshots={"before": WHOLE, "answered": WHOLE},
)


@pytest.mark.parametrize(
    "change, expected",
    [
        ({}, {}),
        ({"failed": ["clients are acknowledged again"]}, {"serves-again": Outcome.STUCK}),
        ({"there": False}, {"acknowledged-kept": Outcome.LOST}),
        ({"snapshots": {"before": WHOLE, "answered": snapshot(NEW)}}, {"acknowledged-kept": Outcome.LOST}),
        ({"history": (UNKEPT,)}, {"acknowledged-kept": Outcome.LOST}),
        ({"load": (OPEN, LATE)}, {"acknowledged-kept": Outcome.UNKNOWN}),  # nothing there was that could be lost
        ({"load": (OPEN, LATE), "there": False}, {"acknowledged-kept": Outcome.LOST}),
        # nothing was under way: it is not proven that it crashed under load
        ({"load": (EARLY, LATE)}, {"serves-again": Outcome.UNKNOWN, "acknowledged-kept": Outcome.UNKNOWN}),
    ],
)
def test_a_store_that_crashes_under_load(
    change: Mapping[str, Any], expected: Mapping[str, Outcome], proven: Claims, outcomes: Outcomes
) -> None:
    how = ("mongo crashes", "mongo is back")
    outage.claim_crash_under_load(proven, replace(LOAD, **change).ran(), "crash-under-load/mongo", "mongo", *how)
    assert differing(outcomes) == expected
    assert len(judged(outcomes)) == 2


def refused(path: str, *, label: str = "") -> Asked:
    body = {"metadata": {"name": label}} if label else None
    return Asked(Ask("orchestrator", "POST", path, body), Told(500), 5.2, 5.3)


@pytest.mark.parametrize("store, claimed", [("mongo", True), ("etcd", False)])
def test_under_load_on_etcd_it_is_chance_what_rsync_has_in_hand(
    store: str, claimed: bool, proven: Claims, outcomes: Outcomes
) -> None:
    outputs = {name.replace("mongo", store): output for name, output in LOAD.outputs.items()}
    how = (f"{store} crashes", f"{store} is back")
    outage.claim_crash_under_load(
        proven, replace(LOAD, outputs=outputs).ran(), f"crash-under-load/{store}", store, *how
    )
    assert ("steady-afterwards" in outcomes()) == claimed


FULL = Case(
    outputs={
        "mongo has a small disk": "64 MB",
        "the disk is full": "it is",
        "somebody notices": "500",
        "there is space again": "it is",
        "clients are acknowledged again": 2,
        "clients stop": "1 acknowledged",
    },
    load=(EARLY, refused("/v2/x/update")),
    snapshots={"before": WHOLE, "answered": WHOLE},
)


@pytest.mark.parametrize(
    "change, expected",
    [
        ({}, {}),
        ({"failed": ["clients are acknowledged again"]}, {"serves-again": Outcome.STUCK}),
        ({"there": False}, {"acknowledged-kept": Outcome.LOST}),
        ({"load": (refused("/v2/x/update"),)}, {"acknowledged-kept": Outcome.UNKNOWN}),
        ({"load": (EARLY, refused("/v2/x", label="d"))}, {"refused-leaves-nothing": Outcome.BROKEN}),
        ({"snapshots": {"before": WHOLE, "answered": INERT}}, {"refused-leaves-nothing": Outcome.LEAKS}),
    ],
)
def test_a_disk_that_is_full(
    change: Mapping[str, Any], expected: Mapping[str, Outcome], proven: Claims, outcomes: Outcomes
) -> None:
    outage.claim_full_disk(proven, replace(FULL, **change).ran(), "mongo")
    assert differing(outcomes) == expected
    assert len(judged(outcomes)) == 3


def test_where_no_disk_can_be_full_nothing_holds(proven: Claims, outcomes: Outcomes) -> None:
    outage.claim_full_disk(proven, replace(FULL, failed=["mongo has a small disk"]).ran(), "mongo")
    assert judged(outcomes) == {"acknowledged-kept": Outcome.UNKNOWN}


def test_of_a_full_disk_that_refused_nobody_no_refusal_is_claimed(proven: Claims, outcomes: Outcomes) -> None:
    outage.claim_full_disk(proven, replace(FULL, load=(EARLY, LATE)).ran(), "mongo")
    assert judged(outcomes) == {"serves-again": Outcome.HOLDS, "acknowledged-kept": Outcome.HOLDS}


READ = other(404, "GET")
LOST = Case(
    outputs={
        "the store loses its volume": "SIGKILL",
        "creates work after a restart": "201",
        "what belongs to the application can be removed": "404",
    },
    asked=(post(201), READ, other(500)),
    snapshots={"before": WHOLE, "lost": snapshot()},
)


@pytest.mark.parametrize(
    "change, expected",
    [
        ({}, {}),
        ({"asked": (post(201), other(200, "GET"), other(500))}, {"told-plainly": Outcome.BROKEN}),
        ({"asked": (post(201), READ, other(202))}, {"told-plainly": Outcome.BROKEN}),
        ({"asked": (post(500), READ, other(500))}, {"creates-work": Outcome.NEEDS_REPAIR}),
        ({"failed": ["creates work after a restart"]}, {"restart-works": Outcome.NEEDS_REPAIR}),
        ({"failed": ["what belongs to the application can be removed"]}, {"removable": Outcome.STUCK}),
        # the answers did not come in time
        ({"asked": ()}, {"told-plainly": Outcome.UNKNOWN, "creates-work": Outcome.UNKNOWN}),
        # nothing is gone: it is not proven that the volume was lost
        (
            {"snapshots": {"before": WHOLE, "lost": WHOLE}},
            dict.fromkeys(("told-plainly", "creates-work", "restart-works", "removable"), Outcome.UNKNOWN),
        ),
    ],
)
def test_a_store_that_loses_its_volume(
    change: Mapping[str, Any], expected: Mapping[str, Outcome], proven: Claims, outcomes: Outcomes
) -> None:
    outage.claim_volume_lost(proven, replace(LOST, **change).ran(), "mongo")
    assert differing(outcomes) == expected
    assert len(judged(outcomes)) == 4
