"""Each invariant on a small EMCO, written by hand: silent while all is well, found where exactly one thing is not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.crashpoints.model import Grade
from harness.emco.invariants import INVARIANTS, Violation, broken, check, named
from harness.stores.snapshot import Snapshot

from .small_emco import (
    APP,
    CLOUD,
    CLUSTER,
    CM,
    DIG,
    NEXT,
    OTHER,
    QUEUE,
    V1,
    WEB,
    Emco,
    cloud,
    config,
    record,
    schema,
    thing,
    told,
    workload,
)

Change = Callable[[Emco], Any]

# The invariant that each change breaks, and no other one; and what its violation says.
BREAKS: list[tuple[str, str, Change]] = [
    ("I1-data", "only stateInfo", lambda emco: emco.find("dig1").pop("data")),
    ("I1-state", "no stateInfo", lambda emco: emco.find("c1").pop("stateInfo")),
    ("I1-state", "no stateInfo", lambda emco: emco.find("lc2").update(stateInfo={"actions": []})),
    ("I1-state", "is Bogus", lambda emco: emco.tell("dig1", ("Bogus", DIG))),
    ("I1-state", "is empty", lambda emco: emco.tell("lc2", "")),
    ("I1-state", "actions of its stateInfo is none", lambda emco: emco.find("dig1")["stateInfo"]["actions"].insert(1,
     "Approved")),
    ("I1-private-key", "no private key", lambda emco: emco.find("lc2").pop("privatekey")),
    ("I2-content", "no appcontent", lambda emco: emco.find("app1").pop("appcontent")),
    ("I2-content", "no profilecontent", lambda emco: emco.find("prof1").pop("profilecontent")),
    ("I2-app-field", "app is None", lambda emco: emco.find("prof1").pop("app")),
    ("I3-cloud-config", "no cloud config", lambda emco: emco.records.remove(config("0", "default"))),
    ("I3-cloud-config", "no kubeconfig", lambda emco: emco.records[5].update(config={"config": ""})),
    (
        "I3-cloud-config",
        "no meta",
        lambda emco: emco.find("c1").update(data={"spec": {"props": {"gitopstype": "fluxcd"}}}),
    ),
    (
        "I3-cluster",
        "no such cluster",
        lambda emco: emco.records.append({**config("0", "default"), "cloudConfigCluster": "c2"}),
    ),
    ("I4-dangling", f"context {NEXT} is not in etcd", lambda emco: (emco.updated(), emco.drop(NEXT))),
    (
        "I4-dangling",
        f"context {OTHER}",
        lambda emco: emco.find("dig1")["stateInfo"]["actions"].insert(1, {"state": "x", "contextid": OTHER}),
    ),
    ("I4-dangling", "told Terminated, and names no context", lambda emco: emco.tell("lc2", "Terminated")),
    (
        "I4-dangling",
        "told Instantiated, and names no context",
        lambda emco: emco.find("dig1")["stateInfo"]["actions"].insert(2, {"state": "Instantiated", "contextid": ""}),
    ),
    (
        "I4-status-context",
        f"its status, {OTHER}",
        lambda emco: emco.find("dig1")["stateInfo"].update(statuscontextid=OTHER),
    ),
    ("I4-dangling", f"last action's context {CLOUD}", lambda emco: emco.drop(CLOUD)),
    ("I4-unowned", "rsync was given it: Terminated", lambda emco: emco.context(OTHER, workload(CM="Deleted",
     WEB="Deleted"), status="Terminated")),
    ("I4-inert", "never given", lambda emco: emco.etcd.update({f"/context/{OTHER}/meta/": {}})),
    ("I5-told-and-done", "told Terminated, its context", lambda emco: emco.tell("lc1", ("Terminated", CLOUD))),
    ("I5-told-and-done", "told Instantiated", lambda emco: emco.status(CLOUD, "Terminated")),
    (
        "I6-parent",
        "{project} proj2",
        lambda emco: emco.records.append({**cloud("lc3", "0", told("Created")), "project": "proj2"}),
    ),
    (
        "I6-parent",
        "v1/dig9/proj1",
        lambda emco: emco.records.append(record({**V1, "deploymentIntentGroup": "dig9", "unheardOf": "x"})),
    ),
    ("I6-reference", "{cluster,clusterProvider} c9/p1", lambda emco: emco.find("ref1")["references"][0]["key"].update(
     cluster="c9")),
    ("I6-reference", "fits its key id", lambda emco: emco.find("ref1")["references"][0].update(keyid="{cluster}")),
    ("I7-once", "2 times", lambda emco: emco.records.append(record({"project": "proj1"}, data={"metadata": {"x": 1}}))),
    ("I8-idle", "has no event", lambda emco: (emco.drop(DIG, QUEUE),
     emco.etcd.update({f"/activecontext/{DIG}/": DIG}))),
    ("I8-idle", "no such context", lambda emco: emco.etcd.update({f"/activecontext/{OTHER}/": OTHER})),
    ("I9-key", "no sorted list", lambda emco: emco.find("rsync").update(keyId="{controllerGroup,controller}")),
    ("I9-key", "no sorted list", lambda emco: emco.records.append({"cluster": "c9", "data": {}})),
    ("I9-key", "it also has cluster", lambda emco: emco.find("rsync").update(cluster="c1")),
    ("I9-key", "has no more", lambda emco: emco.find("rsync").update(keyId="{controller,controllerGroup,more}")),
    ("I9-key", "does not know", lambda emco: emco.records.append(record({"strange": "s"}))),
    ("I10-updated", "last state is Updated", lambda emco: (emco.migrated(target=False), emco.drop(NEXT),
     emco.put(DIG, QUEUE, {"AcQueue": [{"event": "Instantiate", "status": "Done"}]}))),
    ("I11-user-config", "no cloud config of level 1", lambda emco: (emco.tell("lc2", ("Instantiated", CLOUD)))),
    ("I12-schema", "2 schema segments", lambda emco: emco.records.append(schema())),
    ("I12-schema", "no schema segment", lambda emco: emco.records.pop(0)),
    ("context-app-order", "no order of apps", lambda emco: emco.drop(CLOUD, "app/instruction/order/")),
    (
        "context-app-order",
        "names app2",
        lambda emco: emco.put(DIG, "app/instruction/order/", json.dumps({"apporder": ["app1", "app2"]})),
    ),
    ("context-app-order", "app logical-cloud is on no cluster", lambda emco: emco.drop(CLOUD,
     "app/logical-cloud/cluster/")),
    ("context-app-order", "an order of apps without any", lambda emco: (emco.drop(CLOUD, "app/"), emco.put(CLOUD,
     "app/instruction/order/", {"apporder": []}))),
    (
        "context-resource-order",
        "names gone+Secret",
        lambda emco: emco.put(DIG, f"{CLUSTER}resource/instruction/order/", {"resorder": [CM, WEB, "gone+Secret"]}),
    ),
    ("context-cluster-order", "rsync skips", lambda emco: emco.drop(DIG, f"{CLUSTER}resource/instruction/order/")),
    (
        "context-status-kept",
        f"in context {OTHER}",
        lambda emco: (emco.updated(), emco.put(NEXT, "statusappctxid/", OTHER)),
    ),
    ("context-resource-status", f"{CM} has no status", lambda emco: emco.drop(DIG, f"{CLUSTER}resource/{CM}/status/")),
    (
        "context-truthful",
        f"{WEB} is Failed",
        lambda emco: emco.put(DIG, f"{CLUSTER}resource/{WEB}/status/", {"Status": "Failed"}),
    ),
    ("context-queue", "Terminate pending", lambda emco: emco.put(DIG, QUEUE, {"AcQueue": [{"event": "Terminate",
     "status": "Pending"}]})),
    ("context-finished", "stays Instantiating", lambda emco: emco.status(DIG, "Instantiating")),
    ("context-states", "CurrentState Terminated", lambda emco: emco.put(CLOUD, "rsync/state/CurrentState/",
     {"Status": "Terminated"})),
    ("context-states", "DesiredState is Updated", lambda emco: emco.put(CLOUD, "rsync/state/DesiredState/",
     {"Status": "Updated"})),
    ("context-stop-flag", "record says Instantiated", lambda emco: emco.put(DIG, "stopflag/", True)),
    ("edge-owned", "is not there", lambda emco: emco.apply("Secret", "s", OTHER)),
    ("edge-owned", "is Terminated", lambda emco: (stopped_cloud(emco), emco.apply("Secret", "s", CLOUD))),
    ("edge-owned", "record says Terminated", lambda emco: (stopped_cloud(emco, "TerminateFailed"),
     emco.apply("Secret", "s", CLOUD))),
    ("edge-applied", "but not on the edge", lambda emco: emco.edge.pop(0)),
    ("edge-deleted", "but still on the edge", lambda emco: (emco.updated(), emco.put(DIG,
     f"{CLUSTER}resource/{CM}/status/", {"Status": "Deleted"}))),
]  # fmt: skip


def stopped_cloud(emco: Emco, status: str = "Terminated") -> Emco:
    return emco.tell("lc1", ("Terminated", CLOUD)).status(CLOUD, status)


def twice_deployed(emco: Emco) -> None:
    """Instantiated, the record never written; then instantiated again: one workload, two contexts."""
    emco.context(OTHER, workload())


# What looks odd and is how EMCO leaves things when nothing goes wrong.
HARMLESS: dict[str, Change] = {
    "nothing was done": lambda emco: None,
    "an UpdateDelete stays queued after an update": lambda emco: emco.updated(),
    "the source of a migration stays Updated": lambda emco: emco.migrated(),
    "so it does when the target was terminated and deleted": lambda emco: (
        emco.migrated(target=False),
        emco.drop(NEXT),
    ),
    "a cloud's context from before it was instantiated again is gone": lambda emco: emco.find("lc1")["stateInfo"][
        "actions"
    ].insert(1, {"state": "Terminated", "contextid": OTHER}),
    "the report of a deployment outlives it by two minutes": lambda emco: emco.edge.append(
        thing("ResourceBundleState", f"{OTHER}-app1", OTHER)
    ),
    "the child of an owned context is owned": lambda emco: (
        emco.put(DIG, "meta/", {"ChildContextIDs": [OTHER]}),
        emco.context(OTHER, workload(CM="Deleted", WEB="Deleted"), status="Terminated"),
    ),
    "rsync adds a cluster for the status of a later context": lambda emco: (
        emco.updated(),
        emco.put(DIG, f"{APP}cluster/p1+c2/", "p1+c2"),
        emco.put(DIG, f"{APP}cluster/p1+c2/reference/", NEXT),
    ),
    "a stopped one has its flag set": lambda emco: (
        emco.tell("lc1", ("InstantiateStopped", CLOUD)),
        emco.put(CLOUD, "stopflag/", True),
    ),
    "a failed context is not what it was to become": lambda emco: (
        emco.status(CLOUD, "InstantiateFailed"),
        emco.put(CLOUD, "rsync/state/DesiredState/", {"Status": "Instantiated"}),
    ),
    "a deleted resource was applied again by another context": lambda emco: (
        emco.context(OTHER, workload(CM="Deleted", WEB="Deleted"), status="Terminated"),
        emco.find("dig1")["stateInfo"]["actions"].insert(1, {"state": "Terminated", "contextid": OTHER}),
    ),
    "an edge that was not looked at is not judged": lambda emco: emco.put(
        CLOUD, "app/logical-cloud/cluster/p1+c9/resource/instruction/order/", {"resorder": []}
    ),
    "a user's cloud at work with its cloud config": lambda emco: (
        emco.tell("lc2", ("Instantiated", CLOUD)),
        emco.add(config("1", "ns2")),
    ),
    "a cluster by GitOps has meta instead of a kubeconfig": lambda emco: (
        emco.find("c1").update(data={"spec": {"props": {"gitopstype": "fluxcd"}}}),
        emco.records[5].update(config={"config": ""}, meta={"gitopsparams": []}),
    ),
}


def after(change: Change) -> Snapshot:
    emco = Emco()
    change(emco)
    return emco.snapshot()


@pytest.mark.parametrize("name", HARMLESS)
def test_silent_while_all_is_well(name: str) -> None:
    assert check(after(HARMLESS[name])) == ()


@pytest.mark.parametrize("number", range(len(BREAKS)), ids=[f"{name}-{says}" for name, says, _ in BREAKS])
def test_exactly_the_broken_one_is_found(number: int) -> None:
    name, says, change = BREAKS[number]
    found = check(after(change))
    assert {one.invariant for one in found} == {name}
    assert says in " ".join(one.sentence for one in found)
    assert {one.grade for one in found} == {named(name).grade}


def test_each_invariant_is_broken_once_at_least() -> None:
    assert {name for name, _, _ in BREAKS} == {one.name for one in INVARIANTS}


def test_names_are_unique_and_each_says_why_and_what_helps() -> None:
    assert len({one.name for one in INVARIANTS}) == len(INVARIANTS)
    assert all(one.why.endswith(".") and one.repair for one in INVARIANTS)
    assert {one.grade for one in INVARIANTS} == {Grade.WARN, Grade.FAIL, Grade.BLOCKER}
    with pytest.raises(KeyError):
        named("I13")


def test_what_may_be_so_for_a_moment_is_judged_at_rest_only() -> None:
    snapshot = after(lambda emco: (emco.status(DIG, "Instantiating"), emco.find("app1").pop("appcontent")))
    assert {one.invariant for one in check(snapshot)} == {"context-finished", "I2-content"}
    assert {one.invariant for one in check(snapshot, at_rest=False)} == {"I2-content"}


def test_an_update_that_was_never_recorded_is_found_in_all_its_parts() -> None:
    """Crash between the two state writes: rsync runs the new context, the record ends with Updated."""
    found = check(after(lambda emco: emco.migrated(target=False)))
    assert {one.invariant for one in found} == {"I10-updated", "I4-unowned"}


def test_a_context_that_nobody_finished_is_inert_and_nothing_else() -> None:
    def begun(emco: Emco) -> None:
        emco.context(OTHER, {"app/instruction/order/": {"apporder": ["app1"]}, "app/app1/": "app1"})
        emco.drop(OTHER, QUEUE)

    assert {one.invariant for one in check(after(begun))} == {"I4-inert"}


def test_of_a_context_that_no_record_names_nobody_asks_where_its_status_is() -> None:
    def restored(emco: Emco) -> None:
        emco.context(OTHER, workload() | {"statusappctxid/": NEXT})

    assert {one.invariant for one in check(after(restored))} == {"I4-unowned"}


def test_a_workload_deployed_twice_is_found_although_its_objects_look_well() -> None:
    """Killed after rsync had accepted, then instantiated again: the context before is nobody's."""
    assert [(one.invariant, one.where) for one in check(after(twice_deployed))] == [
        ("I4-unowned", f"etcd /context/{OTHER}/")
    ]


def test_an_object_of_another_owner_is_no_proof() -> None:
    def taken(emco: Emco) -> None:
        emco.context(OTHER, workload())
        emco.edge[0] = thing("ConfigMap", "r1-cm", OTHER)

    found = {one.invariant: one.sentence for one in check(after(taken))}
    assert "was applied as 4000000004-app1" in found["edge-applied"]
    assert OTHER in found["edge-owned"]


def test_an_object_of_the_same_name_in_another_namespace_is_no_finding() -> None:
    def besides(emco: Emco) -> None:
        emco.context(OTHER, workload())
        emco.edge.append(thing("ConfigMap", "r1-cm", OTHER))

    assert "edge-applied" not in {one.invariant for one in check(after(besides))}


def test_only_what_is_new_counts_after_an_experiment() -> None:
    def more(emco: Emco) -> None:
        emco.find("app1").pop("appcontent")
        emco.find("prof1").pop("app")

    before = after(lambda emco: emco.find("app1").pop("appcontent"))
    assert [one.invariant for one in broken(after(more))] == ["I2-content", "I2-app-field"]
    assert [one.invariant for one in broken(after(more), before=before)] == ["I2-app-field"]
    assert broken(before, before=before) == ()


def test_the_same_invariant_broken_in_another_way_is_new() -> None:
    before = after(lambda emco: emco.tell("dig1", ("Terminated", DIG)))
    worse = after(lambda emco: (emco.tell("dig1", ("Terminated", DIG)), emco.status(DIG, "InstantiateFailed")))
    new = [one.sentence for one in broken(worse, before=before) if one.invariant == "I5-told-and-done"]
    assert new == [f"it was told Terminated, its context {DIG} is InstantiateFailed"]


def test_a_violation_says_where() -> None:
    violation = check(after(lambda emco: emco.find("app1").pop("appcontent")))[0]
    where = "mongo emco.resources {app,compositeApp,compositeAppVersion,project} app1/ca1/v1/proj1"
    assert violation == Violation("I2-content", Grade.FAIL, where, "it has no appcontent")


def test_without_any_snapshot_of_edges_no_edge_is_judged() -> None:
    assert check(replace(Emco().snapshot(), edges={})) == ()


# -- nothing that stores can hold is an error of the checker --------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "x", DIG, "Instantiated", "{project}"])
names = st.sampled_from(["state", "contextid", "key", "keyid", "data", "spec", "actions", "event"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_a_record_or_key_of_any_shape_is_judged_without_failing(data: st.DataObject) -> None:
    emco = Emco()
    document = data.draw(st.sampled_from(emco.records))
    for name in data.draw(st.sets(st.sampled_from(sorted({*document, "references", "stateInfo"})), max_size=3)):
        document[name] = data.draw(values)
    for key in data.draw(st.sets(st.sampled_from(sorted(emco.etcd)), max_size=3)):
        emco.etcd[key] = data.draw(values)
    snapshot = emco.snapshot()
    etcd = dict(snapshot.etcd) | {data.draw(st.sampled_from(sorted(snapshot.etcd))): data.draw(st.binary(max_size=6))}
    snapshot = replace(snapshot, etcd=etcd)
    first = check(snapshot)
    assert first == check(copy.deepcopy(snapshot))
    assert broken(snapshot, before=snapshot) == ()
