"""What an outage left behind, on tiny hand-written snapshots and answers."""

from typing import Any

import bson
import pytest

from harness.chaos.aftermath import (
    as_told,
    changed,
    disagreements,
    lost,
    misjudged_creates,
    misjudged_rest,
    reverted,
    shown,
    unasked,
    unkept,
    unrecorded,
)
from harness.chaos.clients import Ask, Asked, untrue
from harness.chaos.load import with_ballast
from harness.crashpoints.model import Told
from harness.stores.snapshot import Snapshot
from harness.wire.effects import Effect, Observation, digest

PROJECT = {"_id": 1, "project": "p", "keyId": "{project}", "data": {"metadata": {"name": "p"}}}


def snapshot(*documents: dict[str, Any], keys: tuple[str, ...] = ()) -> Snapshot:
    mongo = {"emco.resources": tuple(bson.encode(one) for one in documents)}
    return Snapshot("x", mongo, {key.encode(): b'""' for key in keys}, {})


def told(status: int | None, name: str = "new") -> Asked:
    ask = Ask("orchestrator", "POST", "/v2/projects", {"metadata": {"name": name}})
    return Asked(ask, Told(status), 1.0, 2.0)


def seen(
    op: str, key: str, *, ok: bool | None = True, end: str = "", value: str = "", at: float = 1.0, took: float = 0.5
) -> Observation:
    """An acknowledged write of etcd, or one without an answer (ok: None)."""
    pairs = (("key", key), ("range_end", end)) if end else (("key", key),)
    effect = Effect("etcd", op, "", pairs, value=digest(value.encode()) if value else "")
    answered = None if ok is None else at + took
    return Observation(0, "rsync", "etcd", effect, at, answered, forwarded=True, ok=ok)


def holding(key: str, value: str) -> Snapshot:
    return Snapshot("x", {}, {key.encode(): value.encode()}, {})


def test_lost_is_what_is_not_there_any_more_but_for_what_is_only_active() -> None:
    before = snapshot(PROJECT, keys=("/context/1/", "/activecontext/1/"))
    assert lost(before, before) == ()
    assert lost(before, snapshot({**PROJECT, "data": {}}, keys=("/context/1/",))) == ()
    assert lost(before, snapshot(keys=("/context/1/",))) == ("emco.resources {project} p",)
    assert lost(before, snapshot(PROJECT)) == ("/context/1/",)


def test_what_a_refused_request_leaves_is_what_is_new_or_changed() -> None:
    new = {**PROJECT, "_id": 2, "project": "new"}
    assert unasked(snapshot(PROJECT), snapshot(PROJECT, new), [told(201)]) == ()
    assert unasked(snapshot(PROJECT), snapshot(PROJECT, new), [told(None)]) == ()
    assert len(unasked(snapshot(PROJECT), snapshot(PROJECT, new), [told(500)])) == 1
    changed = {**PROJECT, "data": {"metadata": {"name": "p", "description": "replaced"}}}
    assert len(unasked(snapshot(PROJECT), snapshot(changed), [told(500)])) == 1


GROUP = {"_id": 9, "deploymentIntentGroup": "dig1", "project": "p", "keyId": "{deploymentIntentGroup,project}"}
OTHER = {**GROUP, "_id": 10, "deploymentIntentGroup": "dig10"}


def lifecycle(status: int | None, method: str = "POST") -> Asked:
    ask = Ask("orchestrator", method, "/v2/projects/p/deployment-intent-groups/dig1/instantiate")
    return Asked(ask, Told(status), 1.0, 2.0)


def test_one_request_that_was_not_refused_excuses_nothing_of_another() -> None:
    new, newer = {**PROJECT, "_id": 2, "project": "new"}, {**PROJECT, "_id": 3, "project": "newer"}
    before, after = snapshot(PROJECT), snapshot(PROJECT, new, newer)
    assert unasked(before, after, [told(201), told(500, "newer")]) == ("mongo emco.resources {project} newer",)
    assert unasked(before, after, [told(None), told(201, "newer")]) == ()
    for other in (lifecycle(202), lifecycle(None), lifecycle(500), lifecycle(200, "GET")):
        assert len(unasked(before, after, [told(500), told(500, "newer"), other])) == 2


def test_a_lifecycle_call_may_leave_contexts_objects_and_the_state_of_its_own_group() -> None:
    state = {"stateInfo": {"actions": [{"state": "Instantiated"}]}}
    before = snapshot(GROUP, OTHER)
    after = snapshot({**GROUP, **state}, {**OTHER, **state}, keys=("/context/1234567890/",))
    of_both = [f"mongo emco.resources {{deploymentIntentGroup,project}} {name}/p" for name in ("dig1", "dig10")]
    for done in (lifecycle(202), lifecycle(None)):
        assert unasked(before, after, [done, told(500)]) == (of_both[1],)
    for not_done in (lifecycle(500), lifecycle(200, "GET"), told(201, "dig2")):
        assert {*of_both} < {*unasked(before, after, [not_done])}
        assert len(unasked(before, after, [not_done])) == 3


def applied(edge: str, name: str, context: str) -> dict[str, Any]:
    labels = {"emco/deployment-id": f"{context}-app1"}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
    }


def test_a_lifecycle_call_excuses_no_other_contexts_and_no_other_objects() -> None:
    mine, others, new = "1111111111", "2222222222", "3333333333"

    def at(value: bytes, *names: str, things: tuple[dict[str, Any], ...]) -> Snapshot:
        state = {"stateInfo": {"actions": [{"state": "Instantiated", "contextid": mine}]}}
        documents = {"emco.resources": (bson.encode({**GROUP, **state}), bson.encode(PROJECT))}
        keys = {f"/context/{name}/status/".encode(): value for name in names}
        return Snapshot("x", documents, {**keys, b"/elsewhere/": value}, {"c1": things})

    before = at(b"1", mine, others, things=())
    things = tuple(applied("c1", name, name) for name in (mine, others, new))
    after = at(b"2", mine, others, new, things=things)
    assert unasked(before, after, [lifecycle(202)]) == (
        f"edge c1 v1/ConfigMap default/{others}",
        f"etcd /context/{others}/status/",
        "etcd /elsewhere/",
    )
    assert len(unasked(before, after, [lifecycle(500)])) == 7


def test_what_stands_below_a_record_is_not_excused_with_it() -> None:
    intent = {**GROUP, "_id": 11, "groupIntent": "g", "keyId": "{deploymentIntentGroup,groupIntent,project}"}
    before, after = snapshot(GROUP, {**intent, "data": 1}), snapshot({**GROUP, "data": 2}, {**intent, "data": 2})
    (changed,) = unasked(before, after, [lifecycle(202)])
    assert changed.endswith(" dig1/g/p"), changed
    assert unasked(before, snapshot({**GROUP, "data": 2}, {**intent, "data": 1}), [lifecycle(202)]) == ()


def test_a_create_excuses_its_record_wherever_another_has_the_same_name() -> None:
    cluster = {"_id": 5, "clusterProvider": "p", "cluster": "new", "keyId": "{cluster,clusterProvider}"}
    project = {**PROJECT, "_id": 6, "project": "new"}
    assert unasked(snapshot(PROJECT), snapshot(PROJECT, project, cluster), [told(201)]) == ()


def test_a_create_excuses_its_record_below_one_of_the_same_name() -> None:
    above = {**PROJECT, "_id": 6, "project": "new"}
    cloud = {"_id": 7, "project": "new", "logicalCloud": "new", "keyId": "{logicalCloud,project}"}
    assert unasked(snapshot(above), snapshot(above, cloud), [told(201)]) == ()


def test_one_more_context_does_not_change_the_records_of_others() -> None:
    def of(name: str, context: str) -> dict[str, Any]:
        state = {"stateInfo": {"actions": [{"state": "Instantiated", "contextid": context}]}}
        return {**GROUP, "_id": name, "deploymentIntentGroup": name, **state}

    other, keys = of("dig2", "2222222222"), ("/context/2222222222/",)
    before = snapshot({**GROUP, "_id": "dig1"}, other, keys=keys)
    after = snapshot(of("dig1", "1111111111"), other, keys=(*keys, "/context/1111111111/"))
    assert unasked(before, after, [lifecycle(202)]) == ()


CLOUD = {"_id": 5, "project": "p", "logicalCloud": "lc1", "keyId": "{logicalCloud,project}"}
BELOW = {**CLOUD, "_id": 6, "keyId": "{clusterReference,logicalCloud,project}", "clusterReference": "r1"}


def below(status: int | None) -> Asked:
    ask = Ask("dcm", "POST", "/v2/projects/p/logical-clouds/lc1/kv-pairs", {"metadata": {"name": "later"}})
    return Asked(ask, Told(status), 1.0, 2.0)


@pytest.mark.parametrize(
    "there, status, right",
    [
        (CLOUD, 201, True),
        (CLOUD, 404, False),
        (CLOUD, None, False),
        (BELOW, 404, True),
        (BELOW, 201, False),  # made below something that is gone
        (BELOW, None, False),
    ],
)
def test_a_create_is_acknowledged_where_what_it_stands_below_is_there(
    there: dict[str, Any], status: int | None, *, right: bool
) -> None:
    assert misjudged_creates([below(status)], snapshot(PROJECT, there)) == (
        () if right else (below(status).describe(),)
    )


def test_a_create_below_nothing_has_to_be_acknowledged() -> None:
    assert misjudged_creates([told(201), lifecycle(500)], snapshot()) == ()
    assert misjudged_creates([told(500)], snapshot()) == (told(500).describe(),)


def test_what_is_gone_is_neither_shown_nor_terminated() -> None:
    read = lifecycle(404, "GET")
    assert misjudged_rest([read, lifecycle(500), told(201)], reads=404) == ()
    assert misjudged_rest([read, lifecycle(500)], reads=200) == (read.describe(),)
    for status in (202, None):
        assert misjudged_rest([read, lifecycle(status)], reads=404) == (lifecycle(status).describe(),)


@pytest.mark.parametrize("status", [202, 500, None])
def test_a_terminate_takes_away_or_leaves_whole(status: int | None) -> None:
    assert as_told(Told(status), gone=True, runs=False)
    assert as_told(Told(status), gone=False, runs=True) == (status != 202)
    assert not as_told(Told(status), gone=False, runs=False)  # neither: half of it is there, or stuck


def test_acknowledged_keys_have_to_be_there_unless_they_were_deleted_since() -> None:
    history = [seen("Put", "/a/"), seen("Put", "/b/"), seen("Put", "/c/", ok=None), seen("Put", "/d/", ok=False)]
    assert unkept(history, snapshot(keys=("/a/", "/b/"))) == ()
    assert unkept(history, snapshot(keys=("/b/",))) == ("/a/",)
    deleted = [*history, seen("DeleteRange", "/a/", end="/a0")]
    assert unkept(deleted, snapshot(keys=("/b/",))) == ()
    assert unkept([*deleted, seen("Put", "/a/")], snapshot(keys=("/b/",))) == ("/a/",)


OLDER = "/a/ (an older value)"


@pytest.mark.parametrize(
    "history, there, expected",
    [
        ([seen("Put", "/a/", value="1"), seen("Put", "/a/", value="2", at=2.0)], "2", ()),
        ([seen("Put", "/a/", value="1"), seen("Put", "/a/", value="2", at=2.0)], "1", (OLDER,)),
        # refused, or not answered: it may have taken place
        ([seen("Put", "/a/", value="1"), seen("Put", "/a/", value="2", at=2.0, ok=None)], "1", ()),
        ([seen("Put", "/a/", value="1"), seen("Put", "/a/", value="2", at=2.0, ok=None)], "2", ()),
        ([seen("Put", "/a/", value="1"), seen("Put", "/a/", value="2", at=2.0, ok=False)], "1", ()),
        ([seen("Put", "/a/", value="1"), seen("Put", "/a/", value="2", at=2.0, ok=None)], "3", (OLDER,)),
        # long after one without an answer
        ([seen("Put", "/a/", value="1", ok=None), seen("Put", "/a/", value="2", at=9.0)], "1", (OLDER,)),
        ([seen("Put", "/a/", value="1", ok=None), seen("Put", "/a/", value="2", at=2.0)], "1", ()),
        # side by side: whichever came last
        ([seen("Put", "/a/", value="1", took=2.0), seen("Put", "/a/", value="2", at=2.0)], "1", ()),
        ([seen("Put", "/a/", value="1"), seen("DeleteRange", "/a/"), seen("Put", "/a/", value="2", at=2.0)], "2", ()),
        ([seen("Put", "/a/", value="1"), seen("Txn", "/a/")], "3", ()),
        ([seen("Put", "/a/")], "3", ()),  # what was written is not known
    ],
)
def test_an_acknowledged_key_has_the_value_that_was_written_last(
    history: list[Observation], there: str, expected: tuple[str, ...]
) -> None:
    assert unkept(history, holding("/a/", there)) == expected


def dig(*states: str) -> Snapshot:
    document = {
        **dict.fromkeys(("project", "compositeApp", "compositeAppVersion"), "x"),
        "_id": 9,
        "deploymentIntentGroup": "dig1",
        "keyId": "{compositeApp,compositeAppVersion,deploymentIntentGroup,project}",
        "stateInfo": {"actions": [{"state": state, "contextid": ""} for state in states]},
    }
    return snapshot(document)


def update(status: int | None = 202) -> Asked:
    return Asked(Ask("orchestrator", "POST", "/v2/projects/x/groups/dig1/update"), Told(status), 1.0, 2.0)


@pytest.mark.parametrize(
    "asked, states, lost",
    [
        ([update()], ("Instantiated", "Updated", "Instantiated"), False),
        ([update(), update()], ("Instantiated", "Updated", "Instantiated"), True),
        ([update(), update(500), update(None)], ("Instantiated", "Updated", "Instantiated"), False),
        ([update()], (), True),
        ([update(500), told(201), lifecycle(202)], ("Instantiated",), False),
    ],
)
def test_each_acknowledged_update_has_a_revision(asked: list[Asked], states: tuple[str, ...], *, lost: bool) -> None:
    assert bool(unrecorded(dig("Instantiated"), dig(*states), asked)) == lost


def test_what_was_there_and_holds_less_is_not_kept() -> None:
    more, less = {**PROJECT, "data": {"metadata": {"name": "p", "description": "d"}}}, PROJECT
    assert reverted(snapshot(more), snapshot(less), [told(201)]) == (
        "mongo emco.resources {project} p (not as before)",
    )
    assert reverted(snapshot(more), snapshot(less), [told(500, "p")]) == ()  # somebody asked for it
    assert reverted(snapshot(more), snapshot(), []) == ()  # that is lost
    keys = Snapshot("x", {}, {b"/context/1234567890/": b"1", b"/activecontext/1234567890/": b"1"}, {})
    other = Snapshot("x", {}, {b"/context/1234567890/": b"2", b"/activecontext/1234567890/": b"2"}, {})
    assert reverted(keys, other, []) == ("etcd /context/1234567890/ (not as before)",)


def test_nothing_changed_means_nothing_missing_new_or_different() -> None:
    before = snapshot(PROJECT, keys=("/context/1/", "/activecontext/1/"))
    assert changed(before, snapshot(PROJECT, keys=("/context/1/",))) == ()
    assert changed(before, snapshot(PROJECT)) == ("etcd /context/1/ (missing)",)
    assert changed(before, snapshot(PROJECT, keys=("/context/1/", "/k/"))) == ("etcd /k/ (unexpected)",)
    assert changed(before, snapshot({**PROJECT, "data": {}}, keys=("/context/1/",))) == (
        "mongo emco.resources {project} p",
    )


def test_what_is_broken_counts_unless_it_was_before() -> None:
    twice = snapshot(PROJECT, {**PROJECT, "_id": 2})
    assert disagreements(twice, twice) == ()
    assert [one.invariant for one in disagreements(snapshot(PROJECT), twice)] == ["I7-once"]


def failed_context() -> Snapshot:
    below = "/context/1234567890/app/app1/cluster/p1+c2/"
    keys = {
        "/context/1234567890/status/": '{"Status": "Terminated"}',
        "/context/1234567890/rsync/AppContextEventQueue/": '{"AcQueue": [{"event": "Terminate", "status": "Done"}]}',
        f"{below}resource/r1-cm+ConfigMap/": "x",
        f"{below}resource/r1-cm+ConfigMap/status/": '{"Status": "Failed"}',
    }
    return Snapshot("x", {}, {key.encode(): value.encode() for key, value in keys.items()}, {})


def on_edge(op: str, *, ok: bool = True, edge: str = "p1+c2", at: float = 1.0) -> Observation:
    path = "/api/v1/namespaces/n/configmaps" + ("" if op == "POST" else "/r1-cm")
    effect = Effect("edge", op, edge, (("path", path),), value="r1-cm" if op == "POST" else "")
    return Observation(0, "rsync", edge, effect, at, at + 0.5, forwarded=True, ok=ok)


def terminated(context: str = "1234567890", *, at: float = 3.0, until: float | None = 3.2) -> list[Observation]:
    """A terminate of a context: rsync is asked, puts it into its queue, and answers."""
    uninstall = Effect("grpc", "UninstallApp", "installapp.Installapp", ())
    queue = Effect("etcd", "Put", "", (("key", f"/context/{context}/rsync/AppContextEventQueue/"),))
    return [
        Observation(0, "orchestrator", "rsync", uninstall, at, until, forwarded=True),
        Observation(1, "rsync", "etcd", queue, at + 0.1, at + 0.1, forwarded=True, ok=True),
    ]


ANOTHER = "5555555555"


@pytest.mark.parametrize(
    "history, excused",
    [
        (terminated(), True),
        (terminated(until=None), True),  # its client heard nothing
        ([on_edge("POST", ok=False), *terminated()], True),
        ([on_edge("POST", edge="p1+c1"), *terminated()], True),
        ([on_edge("POST"), on_edge("DELETE"), *terminated()], True),
        ([on_edge("POST"), *terminated()], False),  # it was applied: nothing excuses that it could not be deleted
        ([on_edge("PUT"), *terminated()], False),
        ([], False),  # nobody terminated anything
        (terminated(ANOTHER), False),  # another one was terminated when it was not there yet
        ([*terminated(ANOTHER, at=0.2, until=0.4), on_edge("POST"), *terminated()], False),
        ([on_edge("POST"), *terminated(), on_edge("DELETE", at=4.0), *terminated(ANOTHER, at=5.0, until=5.2)], False),
    ],
)
def test_a_failed_resource_is_excused_where_terminate_came_before_it_was_applied(
    history: list[Observation], *, excused: bool
) -> None:
    found = [one.invariant for one in disagreements(None, failed_context(), history)]
    assert ("context-truthful" not in found) == excused


def test_a_client_may_hear_nothing_but_not_the_opposite() -> None:
    name = told(201).ask.name
    assert untrue([told(201), told(None)], {name: True}) == ()
    assert untrue([told(500), told(None)], {name: False}) == ()
    assert untrue([told(201)], {name: False}) == (f"{name} was acknowledged (201) and did not take place",)
    assert untrue([told(500)], {name: True}) == (f"{name} was refused (500) and took place",)


def test_ballast_stands_for_so_many_characters() -> None:
    ask = Ask("dcm", "POST", "/v2/x", {"metadata": {"name": "n"}, "spec": {"kv": [{"a": "ballast"}, 1]}})
    assert with_ballast(ask, 5).body == {"metadata": {"name": "n"}, "spec": {"kv": [{"a": "xxxxx"}, 1]}}


def test_of_many_names_a_few_are_shown() -> None:
    assert shown(["a", "b"]) == "a, b"
    assert shown("abcdefg") == "a, b, c, d, e and 2 more"
