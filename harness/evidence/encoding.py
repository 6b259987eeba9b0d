"""Values as JSON and back: frozen dataclasses as they are, and nothing that the value's type does not know.

msgspec does the conversion; two things are added. It ignores unknown keys of dataclasses when it reads, so the keys are
compared with the fields first. And it does not know the types of BSON, which are written as MongoDB's extended JSON.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from bson import json_util

from harness.evidence.redaction import Redactor
from harness.faults.victim import UsageError

T = TypeVar("T")


class MalformedError(UsageError):
    """A stored value is not what its type says. The message is a sentence that names the place."""


def plain(value: Any, redactor: Redactor) -> Any:
    """The value as dicts, lists, strings and numbers, without secrets.

    Raises TypeError for a type that has no JSON form.
    """
    return redactor.data(msgspec.to_builtins(value, str_keys=True, enc_hook=_bson))


def to_json(value: Any, redactor: Redactor, *, indent: bool = False) -> bytes:
    """The value as JSON without secrets, on one line unless `indent`; it ends without a newline."""
    text = msgspec.json.encode(plain(value, redactor))
    return msgspec.json.format(text, indent=2) if indent else text


def from_json(data: bytes | str, kind: type[T], *, where: str) -> T:
    """Read one value of the given type; `where` names the source in errors.

    Raises MalformedError: no JSON, a type or key that does not fit, an unknown key.
    """
    return from_plain(parse(data, where=where), kind, where=where)


def parse(data: bytes | str, *, where: str) -> Any:
    """JSON as dicts, lists, strings and numbers. Raises MalformedError."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise MalformedError(f"{where}: this is not JSON: {error}") from error


def from_plain(value: Any, kind: type[T], *, where: str) -> T:
    """Like from_json, from parsed JSON."""
    for path, unknown, known in _unknown_keys(value, kind, "$"):
        raise MalformedError(f"{where}: unknown key `{unknown}` at {path}; expected one of {', '.join(known)}")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise MalformedError(f"{where}: {error}") from error


def _bson(value: Any) -> Any:
    return json_util.default(value)


def _unknown_keys(value: Any, kind: Any, path: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(path, key, known keys) for every key that the type has no field for, outermost first."""
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        hints = _hints(kind)
        for key, item in value.items():
            if key not in hints:
                yield path, key, tuple(hints)
            else:
                yield from _unknown_keys(item, hints[key], f"{path}.{key}")
        return
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        branches = [list(_unknown_keys(value, branch, path)) for branch in arguments if branch is not type(None)]
        yield from min(branches, key=len, default=[])
    elif origin in (tuple, list) and isinstance(value, list) and arguments:
        for index, item in enumerate(value):
            inner = arguments[0] if origin is list or arguments[-1] is Ellipsis else arguments[index % len(arguments)]
            yield from _unknown_keys(item, inner, f"{path}[{index}]")
    elif origin is dict and isinstance(value, Mapping):
        for key, item in value.items():
            yield from _unknown_keys(item, arguments[1], f"{path}.{key}")


def _hints(kind: Any) -> dict[str, Any]:
    resolve: Callable[[Any], dict[str, Any]] = typing.get_type_hints
    hints = resolve(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def redacted(value: T, redactor: Redactor) -> T:
    """The same value of the same type without secrets. Raises TypeError for what has no JSON form."""
    return msgspec.convert(plain(value, redactor), type(value))
