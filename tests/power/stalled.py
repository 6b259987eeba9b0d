"""A plugin of pytest that makes the emulated edge p1+c2 one on which nothing ever comes to run.

`pytest -p tests.power.stalled ...`. It is no defect of EMCO's: applying is all that it can do. What is claimed of an
application that runs has to find it.
"""

from typing import Any

import pytest

from harness.platforms.edge_emulator import EdgeEmulator

EDGE = "p1+c2"
_begin, _set_ready = EdgeEmulator.__init__, EdgeEmulator.set_ready


@pytest.hookimpl
def pytest_configure() -> None:
    """In this process, which ends with the run."""
    for name, stalled in (("__init__", _stalled), ("set_ready", _stays)):
        assert hasattr(EdgeEmulator, name), f"EdgeEmulator has no {name} any more"
        setattr(EdgeEmulator, name, stalled)


def _stalled(emulator: EdgeEmulator, name: str, **given: Any) -> None:
    _begin(emulator, name, **{**given, "ready": name != EDGE})


def _stays(emulator: EdgeEmulator, *, ready: bool) -> None:
    _set_ready(emulator, ready=ready and emulator.name != EDGE)
