"""A plugin of pytest that writes down where claims were judged, and whether they held: `-p tests.unit.claims.ways`.

EMCO_CHAOS_WAYS: the file to write, JSON of `fixtures/wipe.py:51` -> [true, false].
"""

import json
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from harness.pytest_claims import Claims

_ways: dict[str, set[bool]] = defaultdict(set)
_check = Claims.check
ROOT = Path(__file__).parents[3]


@pytest.hookimpl
def pytest_configure() -> None:
    """In this process, which ends with the run."""
    setattr(Claims, "check", _noted)  # noqa: B010  mypy takes no assignment to a method


@pytest.hookimpl
def pytest_unconfigure() -> None:
    found = {where: sorted(ways) for where, ways in _ways.items()}
    Path(os.environ["EMCO_CHAOS_WAYS"]).write_text(json.dumps(found))


def _noted(claims: Claims, *arguments: Any, **named: Any) -> bool:
    caller = sys._getframe(1)
    file = Path(caller.f_code.co_filename)
    if file.is_relative_to(ROOT):
        _ways[f"{file.relative_to(ROOT)}:{caller.f_lineno}"].add(bool(named["holds"]))
    return _check(claims, *arguments, **named)
