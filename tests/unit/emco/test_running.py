"""Whether an object runs, by its own status: both ways for every kind, and for clusters that say nothing."""

from collections.abc import Mapping
from typing import Any

import pytest

from harness.emco.running import SAYS_NOTHING, not_running
from harness.platforms.edge_emulator.behaviour import status_of, with_defaults

READY = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}
DAEMONS = {"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberReady": 3}
DONE = {"startTime": "t", "conditions": [{"type": "Complete", "status": "True"}]}
KEPT_BACK = {"replicas": 2, "updateStrategy": {"type": "OnDelete"}}


def thing(kind: str, status: Mapping[str, Any] | None, spec: Mapping[str, Any] | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"kind": kind, "metadata": {"name": "x", "generation": 2}, "spec": spec or {"replicas": 2}}
    return made if status is None else {**made, "status": status}


def pod(phase: str, ready: str = "") -> dict[str, Any]:
    return thing("Pod", {"phase": phase, "conditions": [{"type": "Ready", "status": ready}] if ready else []})


@pytest.mark.parametrize(
    "one, why",
    [
        (thing("Deployment", READY), ""),
        (thing("Deployment", {**READY, "readyReplicas": 1}), "has 1 of 2 replicas ready"),
        # An API server leaves out what is zero.
        (
            thing("Deployment", {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2}),
            "has 0 of 2 replicas ready",
        ),
        (thing("Deployment", {"observedGeneration": 2}, {"replicas": 0}), ""),
        (thing("Deployment", {**READY, "updatedReplicas": 1}), "has 1 of 2 replicas as they are to be"),
        (thing("Deployment", {**READY, "replicas": 3}), "has old replicas"),
        (thing("Deployment", {**READY, "observedGeneration": 1}), "is not yet what it was changed to"),
        (thing("StatefulSet", READY), ""),
        (thing("StatefulSet", {**READY, "readyReplicas": 1}), "has 1 of 2 replicas ready"),
        (thing("StatefulSet", {**READY, "updatedReplicas": 1}), "has 1 of 2 replicas as they are to be"),
        (thing("StatefulSet", {**READY, "updatedReplicas": 0}, KEPT_BACK), ""),
        (thing("ReplicaSet", READY), ""),
        (thing("ReplicaSet", {**READY, "readyReplicas": 0}), "has 0 of 2 replicas ready"),
        (thing("DaemonSet", DAEMONS), ""),
        (thing("DaemonSet", {**DAEMONS, "numberReady": 2}), "has 2 of 3 pods ready"),
        (thing("DaemonSet", {**DAEMONS, "updatedNumberScheduled": 1}), "has 1 of 3 pods as they are to be"),
        (pod("Running", "True"), ""),
        (pod("Succeeded", "False"), ""),
        (pod("Running", "False"), "is Running, and not ready"),
        (pod("Running"), "is Running, and not ready"),
        (pod("Pending", "False"), "is Pending"),
        (pod("Failed"), "is Failed"),
        (thing("Job", DONE), ""),
        (thing("Job", {"startTime": "t", "active": 1}), "has not come to its end"),
        (thing("Job", {"startTime": "t", "conditions": [{"type": "Failed", "status": "True"}]}), "has failed"),
        (thing("ConfigMap", None), ""),
        (thing("Service", {}), ""),
    ],
)
def test_an_object_runs_or_not_by_its_own_status(one: Mapping[str, Any], why: str) -> None:
    assert not_running(one) == why


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "ReplicaSet", "DaemonSet", "Pod", "Job"])
@pytest.mark.parametrize("status", [None, {}])
def test_a_cluster_that_says_nothing_lets_nothing_count_as_running(kind: str, status: Mapping[str, Any] | None) -> None:
    assert not_running(thing(kind, status)) == SAYS_NOTHING


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "ReplicaSet", "DaemonSet"])
def test_a_controller_that_has_seen_nothing_yet_says_nothing(kind: str) -> None:
    assert not_running(thing(kind, {"replicas": 0})) == SAYS_NOTHING


def test_what_is_being_deleted_does_not_run_any_more() -> None:
    one = thing("Deployment", READY)
    one["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not_running(one) == "is being deleted"


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "ReplicaSet", "DaemonSet", "Pod", "Job"])
def test_the_emulator_writes_statuses_that_are_understood(kind: str) -> None:
    bare = {"kind": kind, "metadata": {"name": "x", "generation": 1}}
    made = with_defaults(kind, bare, old=None, taken=set)
    for ready in (True, False):
        status = status_of(kind, made, ready=ready, now="2026-01-01T00:00:00Z")
        assert (not_running({**made, "status": status}) == "") is ready
