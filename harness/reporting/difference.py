"""A difference between what was expected and what was found, as short lines for people."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from harness.crashpoints.model import Change

_ABSENT = object()


def change_lines(change: Change, *, limit: int = 8, width: int = 160) -> tuple[str, ...]:
    """One document, key or object: where it is, then one line per member that differs, at most `limit`.

    Values longer than `width` characters are cut, and what is left out is counted.
    """
    if change.kind == "missing":
        return (f"missing     {change.where}", f"    expected {_short(change.expected, width)}")
    if change.kind == "unexpected":
        return (f"unexpected  {change.where}", f"    found {_short(change.actual, width)}")
    members = [
        f"    {path or 'value'}  {_sides(expected, actual, width)}"
        for path, expected, actual in _members(change.expected, change.actual, "")
    ]
    if len(members) > limit:
        members = [*members[:limit], f"    ... and {len(members) - limit} more"]
    return (f"differs     {change.where}", *members)


def difference_lines(changes: Iterable[Change], *, limit: int = 6, width: int = 160) -> tuple[str, ...]:
    """Document by document, at most `limit` documents; the rest is counted."""
    every = tuple(changes)
    lines = [line for change in every[:limit] for line in change_lines(change, width=width)]
    if len(every) > limit:
        lines.append(f"... and {len(every) - limit} more")
    return tuple(lines)


def _members(expected: Any, actual: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """(path, expected, actual) of the smallest parts that differ."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key in [*expected, *(key for key in actual if key not in expected)]:
            inner = f"{path}.{key}" if path else str(key)
            yield from _members(expected.get(key, _ABSENT), actual.get(key, _ABSENT), inner)
    elif isinstance(expected, list | tuple) and isinstance(actual, list | tuple):
        longest = max(len(expected), len(actual))
        for index in range(longest):
            yield from _members(_item(expected, index), _item(actual, index), f"{path}[{index}]")
    elif expected is _ABSENT or actual is _ABSENT or expected != actual or type(expected) is not type(actual):
        yield path, expected, actual


def _item(values: list[Any] | tuple[Any, ...], index: int) -> Any:
    return values[index] if index < len(values) else _ABSENT


def _sides(expected: Any, actual: Any, width: int) -> str:
    if actual is _ABSENT:
        return f"missing, expected {_short(expected, width)}"
    if expected is _ABSENT:
        return f"unexpected {_short(actual, width)}"
    return f"expected {_short(expected, width)}, found {_short(actual, width)}"


def _short(value: Any, width: int) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= width else f"{text[:width]}... ({len(text)} characters)"
