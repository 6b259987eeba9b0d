"""What is claimed of a store that ends under load, loses its volume or has a full disk: each claim holds and breaks."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from fixtures import store_loss
from harness.chaos.clients import Ask, Asked
from harness.crashpoints.model import Told
from harness.crashpoints.outcomes import Outcome
from harness.pytest_claims import Claims
from harness.wire.effects import Effect, Observation

from .experiments import INERT, NEW, PROJECT, TWICE, WHOLE, Case, Outcomes, differing, judged, other, post, snapshot

EARLY, OPEN, LATE = post(201, "a"), post(None, "b", began=4.9, ended=5.1), post(201, "c", began=7.0, ended=7.1)
UNKEPT = Observation(
    0, "rsync", "etcd", Effect("etcd", "Put", "", (("key", "/k/"),)), 1.0, 2.0, forwarded=True, ok=True
)
UPDATE = Asked(Ask("orchestrator", "POST", "/v2/x/groups/dig1/update"), Told(202), 1.0, 1.1)
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
        # there, but as it was long ago
        (
            {"snapshots": {"before": WHOLE, "answered": snapshot({**PROJECT, "data": {}})}},
            {"acknowledged-kept": Outcome.LOST},
        ),
        ({"history": (UNKEPT,)}, {"acknowledged-kept": Outcome.LOST}),
        ({"load": (EARLY, OPEN, LATE, UPDATE)}, {"acknowledged-kept": Outcome.LOST}),
        (
            {"failed": ["clients write"]},
            {"serves-again": Outcome.UNKNOWN, "acknowledged-kept": Outcome.UNKNOWN, "consistent": Outcome.UNKNOWN},
        ),
        ({"load": (OPEN, LATE)}, {"acknowledged-kept": Outcome.UNKNOWN}),  # nothing there was that could be lost
        ({"load": (OPEN, LATE), "there": False}, {"acknowledged-kept": Outcome.LOST}),
        # nothing was under way: it is not proven that it crashed under load
        ({"load": (EARLY, LATE)}, dict.fromkeys(("serves-again", "acknowledged-kept", "consistent"), Outcome.UNKNOWN)),
        ({"now": TWICE}, {"consistent": Outcome.BROKEN}),
    ],
)
def test_a_store_that_crashes_under_load(
    change: Mapping[str, Any], expected: Mapping[str, Outcome], proven: Claims, outcomes: Outcomes
) -> None:
    how = ("mongo crashes", "mongo is back")
    store_loss.claim_crash_under_load(proven, replace(LOAD, **change).ran(), "crash-under-load/mongo", "mongo", *how)
    assert differing(outcomes) == expected
    assert len(judged(outcomes)) == 3


def refused(path: str, *, label: str = "") -> Asked:
    body = {"metadata": {"name": label}} if label else None
    return Asked(Ask("orchestrator", "POST", path, body), Told(500), 5.2, 5.3)


@pytest.mark.parametrize("store, claimed", [("mongo", True), ("etcd", False)])
def test_under_load_on_etcd_it_is_chance_what_rsync_has_in_hand(
    store: str, claimed: bool, proven: Claims, outcomes: Outcomes
) -> None:
    outputs = {name.replace("mongo", store): output for name, output in LOAD.outputs.items()}
    how = (f"{store} crashes", f"{store} is back")
    store_loss.claim_crash_under_load(
        proven, replace(LOAD, outputs=outputs).ran(), f"crash-under-load/{store}", store, *how
    )
    assert ("steady-afterwards" in outcomes()) == claimed
    assert ("consistent" in outcomes()) == claimed


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
    store_loss.claim_full_disk(proven, replace(FULL, **change).ran(), "mongo")
    assert differing(outcomes) == expected
    assert len(judged(outcomes)) == 4


def test_where_no_disk_can_be_full_nothing_holds(proven: Claims, outcomes: Outcomes) -> None:
    store_loss.claim_full_disk(proven, replace(FULL, failed=["mongo has a small disk"]).ran(), "mongo")
    assert judged(outcomes) == {"acknowledged-kept": Outcome.UNKNOWN}


def test_of_a_full_disk_that_refused_nobody_no_refusal_is_claimed(proven: Claims, outcomes: Outcomes) -> None:
    store_loss.claim_full_disk(proven, replace(FULL, load=(EARLY, LATE)).ran(), "mongo")
    assert set(judged(outcomes)) == {"serves-again", "consistent", "acknowledged-kept"}
    assert differing(outcomes) == {}


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
            dict.fromkeys(
                ("consistent", "told-plainly", "creates-work", "restart-works", "removable"), Outcome.UNKNOWN
            ),
        ),
    ],
)
def test_a_store_that_loses_its_volume(
    change: Mapping[str, Any], expected: Mapping[str, Outcome], proven: Claims, outcomes: Outcomes
) -> None:
    store_loss.claim_volume_lost(proven, replace(LOST, **change).ran(), "mongo")
    assert differing(outcomes) == expected
    assert len(judged(outcomes)) == 5
