"""Label and field selectors of list, watch and collection delete."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from harness.platforms.edge_emulator.problems import bad_request

Json = dict[str, Any]
Selector = Callable[[Json], bool]

_SET = re.compile(r"^(?P<key>\S+)\s+(?P<op>in|notin)\s*\((?P<values>[^)]*)\)$")
_EQUALITY = re.compile(r"^(?P<key>[^\s=!]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^\s=!]*)$")
_EXISTS = re.compile(r"^(?P<negated>!?)\s*(?P<key>[^\s=!()]+)$")
_COMMA_OUTSIDE_PARENTHESES = re.compile(r",(?![^(]*\))")


def selector(query: Mapping[str, str]) -> Selector:
    """What `labelSelector` and `fieldSelector` of a query select. Raises ApiError (400) if one cannot be parsed."""
    rules = [_label_rule(term) for term in _terms(query.get("labelSelector", ""))]
    rules += [_field_rule(term) for term in _terms(query.get("fieldSelector", ""))]
    return lambda obj: all(rule(obj) for rule in rules)


def _terms(text: str) -> list[str]:
    return [term.strip() for term in _COMMA_OUTSIDE_PARENTHESES.split(text) if term.strip()]


def _label_rule(term: str) -> Selector:
    if match := _SET.match(term):
        key, values = match["key"], {value.strip() for value in match["values"].split(",")}
        if match["op"] == "in":
            return lambda obj: _labels(obj).get(key) in values
        return lambda obj: _labels(obj).get(key) not in values
    if match := _EQUALITY.match(term):
        key, value, negated = match["key"], match["value"], match["op"] == "!="
        return lambda obj: (_labels(obj).get(key) == value) != negated
    if match := _EXISTS.match(term):
        key, negated = match["key"], bool(match["negated"])
        return lambda obj: (key in _labels(obj)) != negated
    raise bad_request(f'unable to parse requirement: "{term}" is no label selector')


def _field_rule(term: str) -> Selector:
    match = _EQUALITY.match(term)
    if match is None:
        raise bad_request(f'invalid selector: "{term}"; can\'t understand it')
    path, value, negated = match["key"].split("."), match["value"], match["op"] == "!="
    return lambda obj: (_field(obj, path) == value) != negated


def _labels(obj: Json) -> Json:
    labels: Json = obj["metadata"].get("labels") or {}
    return labels


def _field(obj: Any, path: list[str]) -> str:
    for step in path:
        obj = obj.get(step) if isinstance(obj, dict) else None
    # An unset field compares as the empty string, `spec.nodeName=` finds unscheduled pods.
    return "" if obj is None else str(obj).lower() if isinstance(obj, bool) else str(obj)
