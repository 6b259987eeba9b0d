"""What an outage left behind, on tiny hand-written snapshots and answers."""

from typing import Any

import bson
import pytest

from harness.chaos.aftermath import (
    as_told,
    disagreements,
    lost,
    misjudged_creates,
    misjudged_rest,
    shown,
    unasked,
    unkept,
)
from harness.chaos.clients import Ask, Asked, untrue
from harness.chaos.load import with_ballast
from harness.crashpoints.model import Told
from harness.stores.snapshot import Snapshot
from harness.wire.effects import Effect, Observation

PROJECT = {"_id": 1, "project": "p", "keyId": "{project}", "data": {"metadata": {"name": "p"}}}


def snapshot(*documents: dict[str, Any], keys: tuple[str, ...] = ()) -> Snapshot:
    mongo = {"emco.resources": tuple(bson.encode(one) for one in documents)}
    return Snapshot("x", mongo, {key.encode(): b'""' for key in keys}, {})


def told(status: int | None, name: str = "new") -> Asked:
    ask = Ask("orchestrator", "POST", "/v2/projects", {"metadata": {"name": name}})
    return Asked(ask, Told(status), 1.0, 2.0)


def seen(op: str, key: str, *, ok: bool | None = True, end: str = "") -> Observation:
    pairs = (("key", key), ("range_end", end)) if end else (("key", key),)
    return Observation(0, "rsync", "etcd", Effect("etcd", op, "", pairs), 1.0, 2.0, forwarded=True, ok=ok)


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


def test_what_is_broken_counts_unless_it_was_before() -> None:
    twice = snapshot(PROJECT, {**PROJECT, "_id": 2})
    assert disagreements(twice, twice) == ()
    assert [one.partition(" ")[0] for one in disagreements(snapshot(PROJECT), twice)] == ["I7-once"]


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
