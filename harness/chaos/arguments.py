"""Whether an activity is given what it takes: Chaos Toolkit hands over whatever YAML says."""

import inspect
import typing
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, Literal

from harness.faults.victim import UsageError

_NUMBERS: Mapping[type, str] = {int: "a whole number", float: "a number"}


def checked(activity: Callable[..., Any]) -> Callable[..., None]:
    """A function that takes the arguments of an activity and refuses what its annotations do not allow.

    Refused are a word that is none of a Literal's, text that is no number where one is wanted, and text with a
    `${name}` that the experiment's configuration did not fill in. It raises UsageError with the argument's name.
    """
    signature, annotations = inspect.signature(activity), typing.get_type_hints(activity)

    def check(*args: Any, **kwargs: Any) -> None:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            _check(name, value, annotations.get(name, Any))

    return check


def _check(name: str, value: Any, wanted: Any) -> None:
    if isinstance(value, str) and "${" in value:
        raise UsageError(f"{name} is {value!r}: the experiment's configuration does not have what it names")
    options = _options(wanted)
    if options and value not in options:
        raise UsageError(f"{name} is {value!r}; it is {_either(options)}")
    if wanted in _NUMBERS and isinstance(value, str):
        try:
            wanted(value)
        except ValueError:
            raise UsageError(f"{name} is {value!r}, and has to be {_NUMBERS[wanted]}") from None


def _options(wanted: Any) -> tuple[Any, ...]:
    """What a Literal, or a choice among some, allows; nothing for every other annotation."""
    if typing.get_origin(wanted) is Literal:
        return typing.get_args(wanted)
    if typing.get_origin(wanted) in (typing.Union, UnionType):
        parts = [_options(one) for one in typing.get_args(wanted)]
        return tuple(option for part in parts for option in part) if all(parts) else ()
    return ()


def _either(options: tuple[Any, ...]) -> str:
    words = [str(one) or "empty" for one in options]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
