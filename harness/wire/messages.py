"""Values on their way between a relay and who controls it, as JSON: one object a line.

Written with the standard library alone: one side of it runs where nothing else is installed.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from harness.wire.conditions import BlackHole, Condition, Cut, Healthy, Refuse, Reset, Slow
from harness.wire.effects import Effect, Observation

Json = dict[str, Any]
LONGEST_LINE = 4 * 1024 * 1024

_CONDITIONS: Mapping[str, type[Condition]] = {kind.__name__: kind for kind in (Healthy, Refuse, Reset, BlackHole, Slow)}


class MalformedMessage(ValueError):
    """A line that the other side cannot have meant; the message is one sentence."""


def write(message: Json) -> bytes:
    """A message as a line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def read(line: bytes) -> Json:
    """The message in a line. Raises MalformedMessage."""
    try:
        message = json.loads(line)
    except ValueError as error:
        raise MalformedMessage(f"a line is no JSON: {line[:80]!r}") from error
    if not isinstance(message, dict):
        raise MalformedMessage(f"a line is no JSON object: {line[:80]!r}")
    return message


def effect_to_json(effect: Effect) -> list[Any]:
    """As `effect_from_json` reads it."""
    return [effect.store, effect.op, effect.target, effect.key, effect.fields, effect.read, effect.value]


def effect_from_json(value: Any) -> Effect:
    """Raises MalformedMessage."""
    try:
        store, op, target, key, fields, read, written = value
        pairs = tuple((name, text) for name, text in key)
        return Effect(store, op, target, pairs, tuple(fields), bool(read), str(written))
    except (TypeError, ValueError) as error:
        raise MalformedMessage(f"{str(value)[:80]} is no effect") from error


def observation_to_json(one: Observation) -> list[Any]:
    """As `observation_from_json` reads it."""
    return [
        one.seq, one.source, one.target, effect_to_json(one.effect), one.requested, one.answered, one.forwarded, one.ok,
    ]  # fmt: skip


def observation_from_json(value: Any) -> Observation:
    """Raises MalformedMessage."""
    try:
        seq, source, target, effect, requested, answered, forwarded, ok = value
    except (TypeError, ValueError) as error:
        raise MalformedMessage(f"{str(value)[:80]} is no observation") from error
    return Observation(seq, source, target, effect_from_json(effect), requested, answered, forwarded, ok)


def condition_to_json(condition: Condition) -> list[Any]:
    """As `condition_from_json` reads it."""
    if isinstance(condition, Cut):
        return ["Cut", condition.sent.hex(), condition.times, condition_to_json(condition.then)]
    return [type(condition).__name__, *(getattr(condition, field.name) for field in fields(condition))]


def condition_from_json(value: Any) -> Condition:
    """Raises MalformedMessage."""
    try:
        name, *arguments = value
        if name == "Cut":
            sent, times, then = arguments
            return Cut(bytes.fromhex(sent), times, condition_from_json(then))
        return _CONDITIONS[name](*arguments)
    except (TypeError, ValueError, KeyError) as error:
        raise MalformedMessage(f"{str(value)[:80]} is no condition of a link") from error
