"""The referential schema as EMCO stores it: kinds, keys, parents, and what makes one unusable."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.emco.schema import Kind, key_id, read_schema


def segment(*resources: dict[str, Any], name: str = "emco-base") -> dict[str, Any]:
    return {"name": name, "segmentid": "f653", "resources": list(resources)}


def resource(name: str, parent: str = "", *references: str) -> dict[str, Any]:
    """As EMCO's driver writes it."""
    found = [{"name": one, "type": "", "commonkey": "", "map": ""} for one in references]
    return {"name": name, "parent": parent, "references": found or None}


SMALL = (
    resource("project"),
    resource("controllerGroup.controller"),
    resource("compositeApp.compositeAppVersion", "project"),
    resource("app", "compositeAppVersion"),
    resource("unheardOf", "app", "app"),
)


def test_keys_and_parents_follow_from_the_chain_of_names() -> None:
    schema, problems = read_schema([segment(*SMALL)])
    version = frozenset({"compositeApp", "compositeAppVersion", "project"})
    assert problems == ()
    assert not schema.builtin
    assert {kind.name: (kind.key, kind.parent) for kind in schema.kinds.values()} == {
        "project": (frozenset({"project"}), frozenset()),
        "controller": (frozenset({"controllerGroup", "controller"}), frozenset()),
        "compositeAppVersion": (version, frozenset({"project"})),
        "app": (version | {"app"}, version),
        "unheardOf": (version | {"app", "unheardOf"}, version | {"app"}),
    }
    assert schema.kinds["{app,compositeApp,compositeAppVersion,project,unheardOf}"].refers == ("app",)
    assert schema.names() == version | {"app", "unheardOf", "controller", "controllerGroup"}


def test_segments_of_other_services_are_read_with_it() -> None:
    other = segment(resource("widget", "app"), name="widgets")
    schema, problems = read_schema([other, segment(*SMALL)])
    assert problems == ()
    assert "{app,compositeApp,compositeAppVersion,project,widget}" in schema.kinds


@pytest.mark.parametrize("segments", [[], [segment(resource("thing"), name="other")]])
def test_without_the_base_segment_the_builtin_knowledge_stands_in(segments: list[dict[str, Any]]) -> None:
    schema, problems = read_schema(segments)
    assert problems == ("there is no schema segment named emco-base",)
    assert schema.builtin
    assert schema.kinds["{cluster,clusterProvider}"] == Kind(
        "cluster", frozenset({"cluster", "clusterProvider"}), frozenset({"clusterProvider"})
    )
    assert ("{thing}" in schema.kinds) == bool(segments)


@pytest.mark.parametrize(
    "segments, problem",
    [
        ([segment(*SMALL), segment(*SMALL)], "2 schema segments are named emco-base"),
        ([segment(*SMALL, resource("app", "project"))], "the schema has app twice"),
        ([segment(*SMALL, resource("x", "y"))], "the schema does not know all that stands above x (y)"),
        ([segment(*SMALL, resource("x", "x"))], "the schema does not know all that stands above x (x)"),
        ([segment(*SMALL, resource("x", "", "y"))], "the schema does not know y, to which x refers"),
        ([segment()], "the schema segment emco-base has no readable resources"),
        ([None], "the schema segment without a name has no readable resources"),
    ],
)
def test_what_makes_a_schema_unusable_is_said(segments: list[Any], problem: str) -> None:
    assert problem in read_schema(segments)[1]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "parent", "resources",
                                                                              "references", "x"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(anything, max_size=3))
def test_nothing_that_mongo_can_hold_breaks_it(segments: list[Any]) -> None:
    schema, _ = read_schema(segments)
    assert all(name == key_id(kind.key) for name, kind in schema.kinds.items())
