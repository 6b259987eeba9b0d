"""Values survive the way to JSON and back; what the type does not know is refused with its place."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId

from harness.evidence.encoding import MalformedError, from_json, plain, to_json
from harness.evidence.redaction import Redactor

REDACTOR = Redactor(salt=b"x")


@dataclass(frozen=True)
class Inner:
    name: str
    value: Any = None


@dataclass(frozen=True)
class Outer:
    inners: tuple[Inner, ...]
    named: dict[str, Inner] = field(default_factory=dict)
    maybe: Inner | None = None
    pair: tuple[int, str] = (0, "")


VALUE = Outer(
    inners=(Inner("a", {"any": [1, None]}), Inner("b")), named={"n": Inner("c")}, maybe=Inner("d"), pair=(1, "x")
)


def test_there_and_back() -> None:
    assert from_json(to_json(VALUE, REDACTOR), Outer, where="here") == VALUE
    assert from_json(to_json(VALUE, REDACTOR, indent=True), Outer, where="here") == VALUE


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"inners": [], "more": 1}', r"f\.json: unknown key `more` at \$; expected one of inners, named, maybe, pair"),
        ('{"inners": [{"name": "a"}, {"name": "b", "x": 1}]}', r"f\.json: unknown key `x` at \$\.inners\[1\]"),
        ('{"inners": [], "named": {"n": {"name": "a", "y": 1}}}', r"unknown key `y` at \$\.named\.n"),
        ('{"inners": [], "maybe": {"name": "a", "z": 1}}', r"unknown key `z` at \$\.maybe"),
        ('{"inners": [{"name": 1}]}', r"f\.json: Expected `str`, got `int` - at `\$\.inners\[0\]\.name`"),
        ("{}", r"f\.json: Object missing required field `inners`"),
        ('{"inners', r"f\.json: this is not JSON"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        from_json(text, Outer, where="f.json")


def test_keys_inside_any_are_free() -> None:
    assert Inner("a", {"free": 1}) == from_json('{"name": "a", "value": {"free": 1}}', Inner, where="x")


def test_what_mongo_stores_has_a_json_form() -> None:
    value = {"_id": ObjectId("6b0303a7ba40f26044c53699"), "at": datetime(2026, 1, 1, tzinfo=UTC), 1: "x\ud800"}
    assert plain(value, REDACTOR) == {
        "_id": {"$oid": "6b0303a7ba40f26044c53699"},
        "at": "2026-01-01T00:00:00Z",
        "1": "x?",
    }


def test_a_type_without_json_form_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(TypeError):
        to_json(object(), REDACTOR)
