"""What the status API says, held against the AppContext and the edges."""

import json
from typing import Any

import pytest

from harness.emco.truth import untruths
from harness.stores.snapshot import Snapshot

CONTEXT, COLLECTS = "1000000001", "1000000002"


def state(status: str, *names: str, label: str = f"{COLLECTS}-app1") -> Snapshot:
    said_of = {CONTEXT: status, COLLECTS: "Updated"}
    etcd = {f"/context/{name}/status/".encode(): json.dumps({"Status": of}).encode() for name, of in said_of.items()}
    labels = {"emco/deployment-id": label}
    things = tuple({"kind": "ConfigMap", "metadata": {"name": name, "labels": labels}} for name in names)
    return Snapshot("here", {}, etcd, {"p1+c1": things})


def said(deployed: str, **resources: str) -> dict[str, Any]:
    listed = [
        {"GVK": {"Kind": "ConfigMap"}, "name": name, "deployedStatus": status} for name, status in resources.items()
    ]
    cluster = {"clusterProvider": "p1", "cluster": "c1", "resources": listed}
    apps = [{"name": "app1", "clusters": [cluster]}]
    actions = [{"state": "Created", "instance": ""}, {"state": "Updated", "instance": CONTEXT}, {"state": "Approved"}]
    return {"deployedStatus": deployed, "states": {"statusctxid": COLLECTS, "actions": actions}, "apps": apps}


@pytest.mark.parametrize(
    "body, snapshot, expected",
    [
        (said("Instantiated", cm="Applied"), state("Instantiated", "cm"), ()),
        (said("Terminated", cm="Deleted"), state("Terminated"), ()),
        (None, state("Instantiated"), ()),
        ({"states": {"actions": []}}, state("Instantiated"), ()),
        (said(""), state("Instantiated", "cm"), ("the API says nothing, the AppContext is Instantiated",)),
        (said(""), state(""), ()),
        (
            said("Instantiating", cm="Applied"),
            state("Instantiated", "cm"),
            ("the API says Instantiating, the AppContext is Instantiated",),
        ),
        (
            said("Instantiated", cm="Applied"),
            state("Instantiated"),
            ("ConfigMap cm is said to be applied, but is not on p1+c1",),
        ),
        (
            said("Terminated", cm="Deleted"),
            state("Terminated", "cm"),
            ("ConfigMap cm is said to be deleted, but is on p1+c1",),
        ),
        (
            said("Instantiated", cm="Applied"),
            state("Instantiated", "cm", label="77-app1"),
            ("ConfigMap cm is said to be applied, but is not on p1+c1",),
        ),
        (said("Terminated", cm="Deleted"), state("Terminated", "cm", label="77-app1"), ()),
    ],
    ids=[
        "true",
        "gone",
        "no answer",
        "not deployed",
        "silent",
        "not begun",
        "status",
        "applied",
        "deleted",
        "other's",
        "other's gone",
    ],
)
def test_what_is_said_and_is_not_so(body: Any, snapshot: Snapshot, expected: tuple[str, ...]) -> None:
    assert untruths(body, snapshot) == expected
