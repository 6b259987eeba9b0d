"""What the harness knows of EMCO's records: names, contexts and who owns them, what is still at work."""

import json
from dataclasses import replace
from typing import Any

import bson
import pytest

from harness.emco.records import (
    Context,
    EffectNames,
    at_work,
    between_tries,
    contexts,
    document_label,
    effect_slug,
    may_be_at_work,
    object_label,
    reported,
    rules,
    without_idle_activity,
    without_inert,
    without_unowned,
)
from harness.stores.canonical import canonical
from harness.stores.snapshot import Snapshot
from harness.wire.effects import Effect, Key

ONE, TWO, THREE = "1000000001", "2000000002", "3000000003"
RSYNC = frozenset({"rsync"})


def state(
    *documents: dict[str, Any], etcd: dict[str, Any] | None = None, edge: tuple[dict[str, Any], ...] = ()
) -> Snapshot:
    raw = tuple(bson.encode(document) for document in documents)
    keys = {key.encode(): value.encode() if isinstance(value, str) else json.dumps(value).encode()
            for key, value in (etcd or {}).items()}  # fmt: skip
    return Snapshot("here", {"emco.resources": raw} if raw else {}, keys, {"p1+c1": edge} if edge else {})


def cloud(*ids: str, status: str = "") -> dict[str, Any]:
    actions = [{"state": "Created", "contextid": each, "timestamp": "now"} for each in ids]
    return {
        "keyId": "{logicalCloud,project}",
        "logicalCloud": "lc1",
        "project": "proj1",
        "stateInfo": {"statuscontextid": status, "actions": actions},
    }


def queue(*events: tuple[str, str]) -> dict[str, Any]:
    return {"AcQueue": [{"event": event, "status": status} for event, status in events]}


def applied(name: str, context: str, kind: str = "ConfigMap") -> dict[str, Any]:
    labels = {"labels": {"emco/deployment-id": f"{context}-app1"}} if context else {}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "default", **labels}}


# -- labels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document, label",
    [
        (cloud(), "{logicalCloud,project} lc1/proj1"),
        ({"keyId": "{a,b}", "b": "y"}, "{a,b} ?/y"),
        ({"name": "n", "kind": "k", "number": 3}, "{kind,name} k/n"),
    ],
)
def test_a_document_is_called_by_what_its_key_names(document: dict[str, Any], label: str) -> None:
    assert label == document_label(document)


@pytest.mark.parametrize(
    "thing, label",
    [
        (applied("cm", ""), "v1/ConfigMap default/cm"),
        ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns2"}}, "v1/Namespace ns2"),
        ({}, "/ "),
    ],
)
def test_an_object_is_called_by_kind_and_name(thing: dict[str, Any], label: str) -> None:
    assert label == object_label(thing)


@pytest.mark.parametrize(
    "effect, slug",
    [
        (("mongo", "findAndModify", (("project", "p"),), ("data", "keyId", "references")), "mongo.data"),
        (("mongo", "update", (("project", "p"),), ("stateInfo",)), "mongo.stateInfo"),
        (("mongo", "update", (("project", "p"),), ("data", "stateInfo")), "mongo.data+stateInfo"),
        (("mongo", "insert", (), ()), "mongo.insert"),
        (("mongo", "delete", (("logicalCloud", "l"), ("project", "p")), ()), "mongo.delete.logicalCloud"),
        (("mongo", "delete", (("$and.0.app", "a"), ("$and.1.project", "p")), ()), "mongo.delete.app"),
        (("mongo", "delete", (("b", "1"), ("a", "2"), ("keyId", "k")), ()), "mongo.delete.a+b"),
        (("mongo", "delete", (), ()), "mongo.delete.all"),
        (("etcd", "Put", (("key", f"/context/{ONE}/meta/"),), ()), "etcd.put:context/ID/meta"),
        (("etcd", "Put", (("key", f"/activecontext/{ONE}/"),), ()), "etcd.put:activecontext/ID"),
        (("etcd", "DeleteRange", (("key", f"/context/{ONE}/"),), ()), "etcd.deleterange:context/ID"),
        (("etcd", "Put", (("key", f"/context/{ONE}/app/a b'$(x)/"),), ()), "etcd.put:context/ID/app/abx"),
        (("grpc", "InstallApp", (), ()), "grpc.InstallApp"),
        (("edge", "POST", (("path", "/api/v1/namespaces"),), ()), "edge.POST:api/v1/namespaces"),
        (("edge", "PUT", (("path", f"/apis/x/rbs/{ONE}-app1"),), ()), "edge.PUT:apis/x/rbs/ID-app1"),
    ],
)  # fmt: skip
def test_slugs(effect: tuple[Any, str, Key, tuple[str, ...]], slug: str) -> None:
    store, op, key, fields = effect
    assert slug == effect_slug(Effect(store, op, "emco.resources", key, fields))


# -- contexts -------------------------------------------------------------------------------------------------------


def test_a_context_is_owned_when_a_record_names_it() -> None:
    etcd: dict[str, Any] = {f"/context/{each}/meta/": {} for each in (ONE, TWO, THREE)}
    found = contexts(state(cloud(ONE, status=TWO), etcd=etcd))
    assert {context.id: context.owned for context in found} == {ONE: True, TWO: True, THREE: False}


def test_a_child_of_an_owned_context_is_owned_and_one_of_an_unowned_context_is_not() -> None:
    etcd = {
        f"/context/{ONE}/meta/": json.dumps({"ChildContextIDs": [TWO]}),
        f"/context/{TWO}/meta/": {},
        f"/context/{THREE}/meta/": {},
    }
    assert [one.owned for one in contexts(state(cloud(ONE), etcd=etcd))] == [True, True, False]
    assert [one.owned for one in contexts(state(cloud(THREE), etcd=etcd))] == [False, False, True]


@pytest.mark.parametrize(
    "key, queued",
    [
        (f"/context/{ONE}/rsync/AppContextEventQueue/", True),
        (f"/activecontext/{ONE}/", True),
        (f"/context/{ONE}/rsync/state/CurrentState/", False),
        (f"/activecontext/{TWO}/", False),
    ],
)
def test_a_context_is_queued_when_it_reached_rsync(key: str, queued: bool) -> None:
    found = contexts(state(etcd={f"/context/{ONE}/meta/": {}, key: {}}))
    assert queued == found[0].queued


def test_a_context_has_a_status_and_a_number_of_keys() -> None:
    etcd = {f"/context/{ONE}/": ONE, f"/context/{ONE}/status/": json.dumps({"Status": "Instantiated"})}
    assert contexts(state(etcd=etcd)) == (Context(ONE, owned=False, queued=False, status="Instantiated", keys=2),)


def test_nothing_but_contexts_is_a_context() -> None:
    assert contexts(state(etcd={"/other": "1", "/context/abc/x": "1"})) == ()


# -- at work --------------------------------------------------------------------------------------------------------

QUEUE = f"/context/{ONE}/rsync/AppContextEventQueue/"
PENDING = (f"rsync has Instantiate pending in {QUEUE}",)


@pytest.mark.parametrize(
    "etcd, running, started",
    [
        ({}, (), ()),
        ({QUEUE: queue(("Instantiate", "Pending"))}, PENDING, PENDING),
        ({QUEUE: queue(("Instantiate", "Done"))}, (), ()),
        ({QUEUE: queue(("Update", "Done"), ("UpdateDelete", "Pending"))}, (),
         (f"rsync has UpdateDelete pending in {QUEUE}",)),
        ({QUEUE: queue(("UpdateDelete", "Pending"), ("Instantiate", "Pending"))}, PENDING,
         (f"rsync has UpdateDelete pending in {QUEUE}",)),
        ({f"/activecontext/{ONE}/": "x", f"/context/{ONE}/": "x"}, (),
         (f"rsync has not worked off /activecontext/{ONE}/",)),
        ({f"/activecontext/{ONE}/": "x"}, (), ()),  # of a context that is gone: there is nothing to work off
        ({f"/context/{ONE}/status/": {"Status": "Terminating"}}, (f"/context/{ONE}/status/ is Terminating",),
         (f"/context/{ONE}/status/ is Terminating",)),
        ({f"/context/{ONE}/status/": {"Status": "Terminated"}}, (), ()),
        ({f"/context/{ONE}/app/a/cluster/p1+c1/status/": {"Status": "Updating"}}, (), ()),
    ],
)  # fmt: skip
def test_what_is_still_at_work(etcd: dict[str, Any], running: tuple[str, ...], started: tuple[str, ...]) -> None:
    assert running == at_work(state(etcd=etcd), RSYNC, restarted=False)
    assert started == at_work(state(etcd=etcd), RSYNC, restarted=True)


@pytest.mark.parametrize("older, newer", [(ONE, TWO), (TWO, ONE)])
def test_what_is_at_work_comes_in_the_order_of_its_words_whatever_the_ids(older: str, newer: str) -> None:
    etcd = {
        f"/context/{older}/status/": {"Status": "Terminating"},
        f"/context/{newer}/status/": {"Status": "Instantiating"},
    }
    assert at_work(state(etcd=etcd), RSYNC, restarted=False) == (
        f"/context/{newer}/status/ is Instantiating",
        f"/context/{older}/status/ is Terminating",
    )


def test_nothing_is_at_work_while_rsync_is_down() -> None:
    assert at_work(state(etcd={QUEUE: queue(("Instantiate", "Pending"))}), frozenset({"dcm"}), restarted=True) == ()


@pytest.mark.parametrize(
    "etcd, may",
    [
        ({f"/context/{ONE}/rsync/state/CurrentState/": {"Status": "Instantiating"}}, True),
        ({f"/context/{ONE}/rsync/state/CurrentState/": {"Status": "Instantiated"}}, False),
        ({f"/activecontext/{ONE}/": "x", QUEUE: queue(("UpdateDelete", "Pending"))}, True),
        ({QUEUE: queue(("UpdateDelete", "Pending"))}, False),
    ],
)
def test_what_may_be_at_work_in_the_next_moment(etcd: dict[str, Any], may: bool) -> None:
    """The status of a context says that it is done before rsync has noted that it is."""
    assert may_be_at_work(state(etcd=etcd), RSYNC) is may
    assert may_be_at_work(state(etcd=etcd), frozenset({"dcm"})) is False


def test_a_queue_is_read_although_emco_stores_json_within_json() -> None:
    text = json.dumps(json.dumps(queue(("Instantiate", "Pending"))))
    assert at_work(state(etcd={QUEUE: text}), RSYNC, restarted=False) == PENDING


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "7", '{"AcQueue": null}'])
def test_a_queue_that_cannot_be_read_holds_nothing(text: str) -> None:
    assert at_work(state(etcd={QUEUE: text}), RSYNC, restarted=True) == ()


@pytest.mark.parametrize(
    "events, stays",
    [
        ((("Instantiate", "Pending"),), True),
        ((("Instantiate", "Done"),), False),
        ((("UpdateDelete", "Pending"),), False),
        ((), False),
    ],
)
def test_activity_of_a_context_that_has_nothing_to_do_is_chance(
    events: tuple[tuple[str, str], ...], stays: bool
) -> None:
    snapshot = state(etcd={f"/activecontext/{ONE}/": "x", QUEUE: queue(*events)})
    assert stays == (f"/activecontext/{ONE}/".encode() in without_idle_activity(snapshot).etcd)
    assert QUEUE.encode() in without_idle_activity(snapshot).etcd


# -- leftovers ------------------------------------------------------------------------------------------------------

LEFTOVERS = state(
    cloud(ONE),
    etcd={
        f"/context/{ONE}/meta/": {},
        f"/context/{TWO}/meta/": {},
        f"/context/{TWO}/app/": "a",
        f"/context/{THREE}/meta/": {},
        f"/context/{THREE}/rsync/AppContextEventQueue/": queue(("Instantiate", "Done")),
        f"/context/{THREE}/status/": {"Status": "Instantiated"},
        f"/activecontext/{THREE}/": "x",
    },
    edge=(applied("one", ONE), applied("two", TWO), applied("three", THREE), applied("kube-root-ca.crt", "")),
)  # fmt: skip


def names(snapshot: Snapshot) -> list[str]:
    return [thing["metadata"]["name"] for thing in snapshot.edges["p1+c1"]]


def test_inert_is_what_no_record_owns_and_what_never_reached_rsync() -> None:
    fewer, lines = without_inert(LEFTOVERS)
    assert lines == ("etcd context that no record owns, never given to rsync (2 keys)",)
    assert {context.id for context in contexts(fewer)} == {ONE, THREE}
    assert names(fewer) == ["one", "two", "three", "kube-root-ca.crt"]


def test_reports_of_contexts_that_are_gone_are_inert() -> None:
    edge = (
        applied("stale", TWO, "ResourceBundleState"),
        applied("fresh", ONE, "ResourceBundleState"),
        applied("not a report", TWO),
        applied("somebody's", "", "ResourceBundleState"),
    )
    fewer, lines = without_inert(state(cloud(ONE), etcd={f"/context/{ONE}/meta/": {}}, edge=edge))
    assert names(fewer) == ["fresh", "not a report", "somebody's"]
    assert lines == ("1 ResourceBundleState on the edge of a context that is gone",)


def test_unowned_is_every_context_that_no_record_owns_with_what_it_applied() -> None:
    fewer, lines = without_unowned(LEFTOVERS)
    assert lines == (
        "etcd context that no record owns, without a status (2 keys)",
        "etcd context that no record owns, Instantiated (3 keys)",
    )
    assert list(fewer.etcd) == [f"/context/{ONE}/meta/".encode()]
    assert names(fewer) == ["one", "kube-root-ca.crt"]
    assert fewer.mongo == LEFTOVERS.mongo


def test_an_active_record_of_a_context_that_is_gone_is_unowned() -> None:
    there = {f"/context/{ONE}/": ONE, f"/activecontext/{ONE}/": ONE}
    fewer, lines = without_unowned(state(cloud(ONE), etcd=there | {f"/activecontext/{TWO}/": TWO}))
    assert lines == ("etcd active record of a context that is gone",)
    assert set(fewer.etcd) == {key.encode() for key in there}


def test_where_all_is_owned_nothing_is_taken_out() -> None:
    snapshot = state(cloud(ONE), etcd={f"/context/{ONE}/meta/": {}}, edge=(applied("one", ONE),))
    assert without_inert(snapshot) == (snapshot, ())
    assert without_unowned(snapshot) == (snapshot, ())


# -- canonical ------------------------------------------------------------------------------------------------------


def world(context: str, *, stamp: str, uid: str) -> Snapshot:
    record = cloud(context)
    record["stateInfo"]["actions"][0]["timestamp"] = stamp
    thing = applied("one", context)
    thing["metadata"] |= {"uid": uid, "resourceVersion": uid, "creationTimestamp": stamp}
    thing["status"] = {"seen": stamp}
    return state(record, etcd={f"/context/{context}/meta/": {"Project": "proj1"}}, edge=(thing,))


def test_two_runs_of_the_same_calls_are_equal() -> None:
    one = canonical(world(ONE, stamp="today", uid="1"), rules())
    two = canonical(world(TWO, stamp="tomorrow", uid="2"), rules())
    assert one.entries == two.entries
    assert one.entries["edge p1+c1 v1/ConfigMap default/one"]["metadata"]["labels"] == {
        "emco/deployment-id": "ctx-1-app1"
    }


def test_a_record_that_names_a_context_that_is_not_there_is_another_state() -> None:
    whole = world(ONE, stamp="today", uid="1")
    dangling = Snapshot("here", whole.mongo, {}, whole.edges)
    assert canonical(whole, rules()).digest != canonical(dangling, rules()).digest


@pytest.mark.parametrize(
    "key",
    [
        f"/context/{ONE}/app/a/cluster/p1+c1/status/",
        f"/context/{ONE}/app/a/cluster/p1+c1/resource/r/resourcesready/",
    ],
)
def test_what_the_monitor_reported_does_not_count(key: str) -> None:
    plain = state(etcd={f"/context/{ONE}/meta/": {}})
    reported = state(etcd={f"/context/{ONE}/meta/": {}, key: "anything"})
    assert canonical(plain, rules()).digest == canonical(reported, rules()).digest


# -- names of effects by a service that works beside the call ---------------------------------------------------------


def etcd_effect(op: str, key: str) -> Effect:
    return Effect("etcd", op, "", (("key", key),))


def test_the_context_that_a_service_touches_first_has_a_name_of_its_own() -> None:
    name = EffectNames()
    touched = [
        etcd_effect("Put", f"/activecontext/{TWO}/"),
        etcd_effect("Put", f"/context/{TWO}/status/"),
        etcd_effect("Put", f"/activecontext/{ONE}/"),
        etcd_effect("Put", f"/context/{TWO}/status/"),
        etcd_effect("DeleteRange", f"/activecontext/{ONE}/"),
        etcd_effect("Put", f"/context/{THREE}/status/"),
    ]
    assert [name(effect) for effect in touched] == [
        "etcd.put:activecontext/ID",
        "etcd.put:context/ID/status",
        "etcd.put:activecontext/ID2",
        "etcd.put:context/ID/status",
        "etcd.deleterange:activecontext/ID2",
        "etcd.put:context/ID2/status",
    ]


def test_a_read_and_what_an_edge_reported_are_no_touch() -> None:
    name = EffectNames()
    assert name(replace(etcd_effect("Range", f"/context/{ONE}/status/"), read=True)) == "etcd.range:context/ID/status"
    report = f"/context/{ONE}/app/a/cluster/p1+c1/status/"
    assert reported(name(etcd_effect("Put", report)))
    assert name(etcd_effect("Put", f"/context/{TWO}/status/")) == "etcd.put:context/ID/status"
    assert not reported("etcd.put:context/ID/app/a/cluster/p1+c1/resource/r1-cm+ConfigMap/status")
    assert not reported("etcd.put:context/ID/status")
    assert reported("etcd.put:context/ID/app/a/cluster/p1+c1/resource/r1-web+Deployment/resready")


@pytest.mark.parametrize(
    "key, word, waits",
    [
        ("/context/1/app/a/cluster/p1+c1/readystatus/", "Retrying", True),
        ("/context/1/app/a/cluster/p1+c1/readystatus/", "Available", False),
        ("/context/1/app/a/cluster/p1+c1/status/", "Retrying", False),
    ],
)
def test_rsync_waits_for_its_next_try_where_it_has_noted_so(key: str, word: str, *, waits: bool) -> None:
    assert between_tries(state(etcd={key: word})) is waits
