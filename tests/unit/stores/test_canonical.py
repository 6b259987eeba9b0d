"""The canonical form: what counts as the same state, and what must stay visible."""

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stores.canonical import (
    CanonicalRules,
    Delta,
    Mask,
    canonical,
    difference,
    learn_masks,
)
from harness.stores.snapshot import Snapshot

RULES = CanonicalRules(
    id_keys=(r"^/context/([0-9]+)/",),
    id_fields=frozenset({"contextid", "children"}),
    id_object=lambda thing: str(thing.get("owner", "")),
    id_prefix="ctx",
    label=lambda document: str(document["name"]),
    object_label=lambda thing: str(thing["name"]),
)


def state(
    *documents: dict[str, Any],
    etcd: Mapping[str, str] | None = None,
    edge: tuple[dict[str, Any], ...] = (),
) -> Snapshot:
    raw = tuple(bson.encode(document) for document in documents)
    keys = {key.encode(): value.encode() for key, value in (etcd or {}).items()}
    return Snapshot("here", {"db.things": raw} if raw else {}, keys, {"e1": edge} if edge else {})


def entries(snapshot: Snapshot, rules: CanonicalRules = RULES) -> dict[str, Any]:
    return dict(canonical(snapshot, rules).entries)


def same(one: Snapshot, two: Snapshot, rules: CanonicalRules = RULES) -> bool:
    return canonical(one, rules).digest == canonical(two, rules).digest


# -- ids ------------------------------------------------------------------------------------------------------------


def test_an_id_is_renamed_alike_in_mongo_in_etcd_and_on_edges() -> None:
    snapshot = state(
        {"name": "a", "contextid": "8765432101"},
        etcd={"/context/8765432101/meta/": '{"children": []}'},
        edge=({"name": "pod", "owner": "8765432101", "text": "by 8765432101-app"},),
    )
    assert entries(snapshot) == {
        "edge e1 pod": {"name": "pod", "owner": "ctx-1", "text": "by ctx-1-app"},
        "etcd /context/ctx-1/meta/": {"children": []},
        "mongo db.things a": {"name": "a", "contextid": "ctx-1"},
    }


def test_ids_are_numbered_by_their_first_mention_in_mongo_in_the_order_of_labels() -> None:
    snapshot = state({"name": "b", "contextid": "111"}, {"name": "a", "contextid": "999"}, etcd={"/context/555/x": "1"})
    assert canonical(snapshot, RULES).ids == {"999": "ctx-1", "111": "ctx-2", "555": "ctx-3"}


def test_an_id_that_is_a_number_in_a_document_is_renamed_as_well() -> None:
    snapshot = state({"name": "a", "contextid": "8765432101", "again": 8765432101, "small": 7})
    assert entries(snapshot)["mongo db.things a"]["again"] == "ctx-1"
    assert entries(snapshot)["mongo db.things a"]["small"] == 7


@pytest.mark.parametrize("name", ['say "x"', "back\\slash", "tab\there", "plain", "Zoë", "\u2028", "\x7f"])
def test_an_id_is_found_however_json_writes_it(name: str) -> None:
    document = {"name": "a", "contextid": name, "deep": [{"text": f"about {name}, and more"}]}
    assert entries(state(document)) == {
        "mongo db.things a": {"name": "a", "contextid": "ctx-1", "deep": [{"text": "about ctx-1, and more"}]}
    }


def test_digits_within_a_longer_number_are_not_an_id() -> None:
    snapshot = state({"name": "a", "contextid": "123", "size": "91234"}, {"name": "b", "size": "x123y"})
    assert entries(snapshot)["mongo db.things a"]["size"] == "91234"
    assert entries(snapshot)["mongo db.things b"]["size"] == "xctx-1y"


def test_a_longer_number_that_holds_an_id_does_not_change_the_order_of_names() -> None:
    """`91234` holds the digits of id 123: counted as a mention, it would name that context before the other."""
    with_number = state({"name": "a", "size": "91234", "contextid": "777"}, {"name": "b", "contextid": "123"})
    without = state({"name": "a", "size": "91234", "contextid": "777"}, {"name": "b", "contextid": "555"})
    assert same(with_number, without)


def test_a_dangling_id_is_not_the_same_as_one_that_is_there() -> None:
    there = state({"name": "a", "contextid": "111"}, etcd={"/context/111/meta/": "x"})
    dangling = state({"name": "a", "contextid": "222"}, etcd={"/context/111/meta/": "x"})
    assert not same(there, dangling)
    assert entries(dangling) == {
        "etcd /context/ctx-2/meta/": "x",
        "mongo db.things a": {"name": "a", "contextid": "ctx-1"},
    }


def test_crossed_ids_are_not_the_same_as_straight_ones() -> None:
    keys = {"/context/111/meta/": "one", "/context/222/meta/": "two"}
    straight = state({"name": "a", "contextid": "111"}, {"name": "b", "contextid": "222"}, etcd=keys)
    crossed = state({"name": "a", "contextid": "222"}, {"name": "b", "contextid": "111"}, etcd=keys)
    assert not same(straight, crossed)
    assert [delta.where for delta in difference(canonical(straight, RULES), canonical(crossed, RULES))] == [
        "etcd /context/ctx-1/meta/",
        "etcd /context/ctx-2/meta/",
    ]


def test_a_child_that_no_key_belongs_to_is_an_id_too() -> None:
    one = state(etcd={"/context/111/meta/": json.dumps({"children": ["222", "333"]})})
    assert entries(one) == {"etcd /context/ctx-1/meta/": {"children": ["ctx-2", "ctx-3"]}}


def test_contexts_that_differ_only_in_the_child_they_name_keep_names_of_their_own() -> None:
    """Two contexts that nothing in mongo names and that look alike, each with a child; only the children differ."""

    def orphans(first: str, second: str, child: str, other: str) -> Snapshot:
        return state(
            etcd={
                f"/context/{first}/meta/": json.dumps({"children": [child]}),
                f"/context/{second}/meta/": json.dumps({"children": [other]}),
                f"/context/{child}/kind/": "red",
                f"/context/{other}/kind/": "blue",
            }
        )

    expected = canonical(orphans("1", "2", "3", "4"), RULES).digest
    for numbers in (("2", "1", "3", "4"), ("1", "2", "4", "3"), ("4", "3", "2", "1"), ("7", "6", "9", "8")):
        assert expected == canonical(orphans(*numbers), RULES).digest


# -- order ----------------------------------------------------------------------------------------------------------


def test_the_order_of_documents_keys_and_objects_does_not_count() -> None:
    a, b = {"name": "a", "x": 1, "y": 2}, {"y": 2, "name": "b"}
    pods = ({"name": "p", "k": 1}, {"name": "q"})
    one = state(a, b, etcd={"/k1": '{"x":1,"y":2}', "/k2": "2"}, edge=pods)
    turned = {"y": 2, "x": 1, "name": "a"}
    two = state(b, turned, etcd={"/k2": "2", "/k1": '{"y": 2, "x": 1}'}, edge=pods[::-1])
    assert same(one, two)


def test_arrays_keep_their_order() -> None:
    assert not same(state({"name": "a", "list": [1, 2]}), state({"name": "a", "list": [2, 1]}))


def test_arrays_named_as_unordered_do_not() -> None:
    rules = replace(RULES, unordered=("refs", "spec.refs"))
    one = state({"name": "a", "refs": [{"k": 1, "l": 2}, {"k": 2}], "spec": {"refs": [3, 1], "list": [1, 2]}})
    two = state({"name": "a", "refs": [{"k": 2}, {"l": 2, "k": 1}], "spec": {"refs": [1, 3], "list": [1, 2]}})
    three = state({"name": "a", "refs": [{"k": 2}, {"l": 2, "k": 1}], "spec": {"refs": [1, 3], "list": [2, 1]}})
    assert same(one, two, rules)
    assert not same(one, three, rules)
    assert not same(one, two)


def test_two_documents_of_one_key_stay_two_entries_in_whatever_order_they_come() -> None:
    old, new = {"name": "a", "v": "old"}, {"name": "a", "v": "new"}
    assert entries(state(old, new)) == {
        "mongo db.things a": {"name": "a", "v": "new"},
        "mongo db.things a (copy 2)": {"name": "a", "v": "old"},
    }
    assert same(state(old, new), state(new, old))
    assert not same(state(old, old), state(old))
    assert list(entries(state(old, old, old)))[-1] == "mongo db.things a (copy 3)"


def test_the_id_of_a_document_and_the_environment_do_not_count() -> None:
    one = state({"_id": 1, "name": "a"})
    two = replace(state({"_id": 2, "name": "a"}), environment="there")
    assert same(one, two)


# -- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        ('{"a": 1}', {"a": 1}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('"plain"', "plain"),
        ("[1]", [1]),
        ("true", True),
        ("truth", "truth"),
        ("12", "12"),
        ('{"a": ', '{"a": '),
        ("", ""),
    ],
)
def test_json_in_etcd_is_read_as_data_and_everything_else_stays_text(text: str, expected: Any) -> None:
    assert entries(state(etcd={"/k": text})) == {"etcd /k": expected}


def test_what_is_not_utf8_stays_distinguishable() -> None:
    one = Snapshot("here", {}, {b"/k\xff": b"\xfe"}, {})
    assert entries(one) == {r"etcd /k\xff": r"\xfe"}


def test_preparation_comes_first() -> None:
    def without_noise(snapshot: Snapshot) -> Snapshot:
        return replace(snapshot, etcd={key: value for key, value in snapshot.etcd.items() if key != b"/noise"})

    rules = replace(RULES, prepare=without_noise)
    assert same(state(etcd={"/a": "1", "/noise": "2"}), state(etcd={"/a": "1"}), rules)


# -- masks ----------------------------------------------------------------------------------------------------------

DOCUMENT = {"name": "a", "at": 5, "list": [{"at": 6, "v": 1}, {"at": 7, "v": 2}], "deep": {"er": {"at": 8}}}


@pytest.mark.parametrize(
    "mask, expected",
    [
        (Mask("t", "^mongo ", "at"), DOCUMENT | {"at": "<t>"}),
        (Mask("t", "^mongo ", "at", drop=True), {name: DOCUMENT[name] for name in ("name", "list", "deep")}),
        (Mask("t", "^mongo ", "list.0.at"), DOCUMENT | {"list": [{"at": "<t>", "v": 1}, {"at": 7, "v": 2}]}),
        (Mask("t", "^mongo ", "list.*.at"), DOCUMENT | {"list": [{"at": "<t>", "v": 1}, {"at": "<t>", "v": 2}]}),
        (Mask("t", "^mongo ", "list.*.at", drop=True), DOCUMENT | {"list": [{"v": 1}, {"v": 2}]}),
        (Mask("t", "^mongo ", "list.0", drop=True), DOCUMENT | {"list": [{"at": 7, "v": 2}]}),
        (Mask("t", "^mongo ", "*.er.at"), DOCUMENT | {"deep": {"er": {"at": "<t>"}}}),
        (
            Mask("t", "^mongo ", "**.at"),
            {
                "name": "a",
                "at": "<t>",
                "list": [{"at": "<t>", "v": 1}, {"at": "<t>", "v": 2}],
                "deep": {"er": {"at": "<t>"}},
            },
        ),
        (
            Mask("t", "^mongo ", "**.at", drop=True),
            {"name": "a", "list": [{"v": 1}, {"v": 2}], "deep": {"er": {}}},
        ),
        (Mask("t", "^mongo ", ""), "<t>"),
        (Mask("t", "^mongo ", "nowhere.at"), DOCUMENT),
        (Mask("t", "^etcd ", "at"), DOCUMENT),
    ],
    ids=lambda value: f"{value.path}{'-drop' if value.drop else ''}" if isinstance(value, Mask) else "",
)
def test_masks(mask: Mask, expected: Any) -> None:
    assert entries(state(DOCUMENT), replace(RULES, masks=(mask,))) == {"mongo db.things a": expected}


def test_a_mask_with_a_dot_in_a_name_is_written_with_a_backslash() -> None:
    document = {"name": "a", "labels": {"app.io/at": 1, "app": {"io/at": 2}}}
    rules = replace(RULES, masks=(Mask("t", "^mongo ", r"labels.app\.io/at"),))
    expected = {"name": "a", "labels": {"app.io/at": "<t>", "app": {"io/at": 2}}}
    assert entries(state(document), rules) == {"mongo db.things a": expected}


def test_a_mask_that_drops_with_an_empty_path_takes_the_whole_entry_out() -> None:
    rules = replace(RULES, masks=(Mask("t", r"^etcd /context/[^/]+/noise/$", "", drop=True),))
    assert entries(state(etcd={"/context/11/noise/": "1", "/context/11/x/": "2"}), rules) == {
        "etcd /context/ctx-1/x/": "2"
    }


def test_rules_with_other_masks_go_by_those_alone_also_for_a_label_that_was_seen_before() -> None:
    document = state({"name": "a", "at": "now"})
    canonical(document, RULES)

    masked = replace(RULES, masks=(Mask("t", "^mongo ", "at"),))

    assert entries(document, masked) == {"mongo db.things a": {"name": "a", "at": "<t>"}}
    assert entries(document) == {"mongo db.things a": {"name": "a", "at": "now"}}


def test_a_mask_sees_the_renamed_label() -> None:
    rules = replace(RULES, masks=(Mask("t", "^etcd /context/ctx-1/x/$", ""),))
    assert entries(state(etcd={"/context/11/x/": "2"}), rules) == {"etcd /context/ctx-1/x/": "<t>"}


def test_what_is_masked_does_not_decide_how_ids_are_named() -> None:
    rules = replace(RULES, masks=(Mask("t", "^etcd ", "at"), Mask("n", "/noise/$", "", drop=True)))

    def two_contexts(first: int, second: int, *, noisy: str) -> Snapshot:
        return state(
            etcd={
                "/context/11/x/": json.dumps({"at": first, "kind": "a"}),
                "/context/22/x/": json.dumps({"at": second, "kind": "b"}),
                f"/context/{noisy}/noise/": "1",
            }
        )

    assert same(two_contexts(1, 2, noisy="11"), two_contexts(2, 1, noisy="22"), rules)


# -- learned masks --------------------------------------------------------------------------------------------------


def test_learned_masks_make_the_two_runs_equal() -> None:
    one = state({"name": "a", "at": 1, "l": [{"v": 1}], "labels": {"x.io/y": "p"}}, etcd={"/k": "before", "/same": "1"})
    two = state({"name": "a", "at": 2, "l": [{"v": 3}], "labels": {"x.io/y": "q"}}, etcd={"/k": "after", "/same": "1"})
    masks = learn_masks(canonical(one, RULES), canonical(two, RULES))
    assert [(mask.where, mask.path) for mask in masks] == [
        ("^etcd\\ /k$", ""),
        ("^mongo\\ db\\.things\\ a$", "at"),
        ("^mongo\\ db\\.things\\ a$", "l.0.v"),
        ("^mongo\\ db\\.things\\ a$", r"labels.x\.io/y"),
    ]
    assert not same(one, two)
    assert same(one, two, replace(RULES, masks=masks))


@pytest.mark.parametrize(
    "one, two",
    [
        ({"name": "a", "x": 1}, {"name": "a"}),
        ({"name": "a", "x": 1}, {"name": "a", "x": "1"}),
        ({"name": "a", "x": [1]}, {"name": "a", "x": [1, 2]}),
        ({"name": "a"}, {"name": "b"}),
    ],
    ids=["a field", "a type", "a list's length", "a document"],
)
def test_presence_is_never_masked(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert learn_masks(canonical(state(one), RULES), canonical(state(two), RULES)) == ()


# -- difference -----------------------------------------------------------------------------------------------------


def test_difference_names_what_is_missing_unexpected_and_different_and_cuts_what_is_common() -> None:
    expected = state({"name": "a", "x": {"y": 1, "z": 2}, "same": 3, "gone": 4}, {"name": "b"})
    actual = state({"name": "a", "x": {"y": 9, "z": 2}, "same": 3, "more": 5}, {"name": "c"})
    assert difference(canonical(expected, RULES), canonical(actual, RULES)) == (
        Delta("mongo db.things a", "differs", {"gone": 4, "x": {"y": 1}}, {"more": 5, "x": {"y": 9}}),
        Delta("mongo db.things b", "missing", {"name": "b"}, None),
        Delta("mongo db.things c", "unexpected", None, {"name": "c"}),
    )


def test_equal_states_have_no_difference() -> None:
    assert difference(canonical(state({"name": "a"}), RULES), canonical(state({"name": "a"}), RULES)) == ()


# -- properties -----------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])


@st.composite
def worlds(draw: st.DrawFn) -> list[Any]:
    """Up to five contexts with records, keys, children and objects that name them, as functions of their numbers."""
    count = draw(st.integers(1, 5))
    one = st.integers(0, count - 1)
    return [
        count,
        draw(st.lists(st.tuples(NAMES, one, st.integers(0, 2)), max_size=4)),
        draw(st.lists(st.tuples(one, NAMES, st.lists(one, max_size=3), st.integers(0, 2)), max_size=6)),
        draw(st.lists(st.tuples(NAMES, one), max_size=3)),
    ]


def build(world: list[Any], ids: list[str], shuffle: random.Random) -> Snapshot:
    _, records, keys, objects = world
    documents = [_turned({"name": name, "contextid": ids[one], "v": value}, shuffle) for name, one, value in records]
    etcd = {
        f"/context/{ids[one]}/{name}/": json.dumps(
            _turned({"children": [ids[each] for each in children], "v": v}, shuffle)
        )
        for one, name, children, v in keys
    }
    edge = [_turned({"name": name, "owner": ids[one]}, shuffle) for name, one in objects]
    pairs = list(etcd.items())
    shuffle.shuffle(documents)
    shuffle.shuffle(edge)
    shuffle.shuffle(pairs)
    return state(*documents, etcd=dict(pairs), edge=tuple(edge))


def _turned(thing: dict[str, Any], shuffle: random.Random) -> dict[str, Any]:
    pairs = list(thing.items())
    shuffle.shuffle(pairs)
    return dict(pairs)


IDS = st.lists(st.integers(10**9, 10**11).map(str), min_size=5, max_size=5, unique=True)


@given(worlds(), IDS, IDS, st.randoms(use_true_random=False))
def test_other_ids_and_another_order_give_the_same_form(
    world: list[Any], ids: list[str], others: list[str], shuffle: random.Random
) -> None:
    one = build(world, ids, shuffle)
    two = build(world, others, shuffle)
    assert canonical(one, RULES).entries == canonical(two, RULES).entries


@given(st.permutations(range(4)), IDS)
def test_a_crossed_reference_never_gives_the_same_form(order: list[int], ids: list[str]) -> None:
    """Four records name four contexts that can be told apart: every other assignment is another state."""
    keys = {f"/context/{ids[number]}/kind/": f"kind {number}" for number in range(4)}
    straight = state(*({"name": f"r{number}", "contextid": ids[number]} for number in range(4)), etcd=keys)
    crossed = state(*({"name": f"r{number}", "contextid": ids[order[number]]} for number in range(4)), etcd=keys)
    assert same(straight, crossed) == (list(order) == [0, 1, 2, 3])
