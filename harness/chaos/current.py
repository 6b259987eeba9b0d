"""The stage that the running experiment acts on.

Chaos Toolkit finds activities by their module's path and hands them nothing but their arguments, so what they act on
has to be found in one place. This is the only state of the package that outlives a call; chaoslib itself runs one
experiment in a process at a time.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from chaoslib.exceptions import ActivityFailed

from harness.chaos.stage import Stage

_STAGES: list[Stage] = []  # the one that is in force is the last


def stage() -> Stage:
    """The stage in force. Raises ActivityFailed with what is missing."""
    if not _STAGES:
        raise ActivityFailed(
            "there is no EMCO to act on: the experiment needs the control `harness.chaos.control`, which starts one"
        )
    return _STAGES[-1]


def is_set() -> bool:
    """Whether there is a stage."""
    return bool(_STAGES)


@contextmanager
def acting_on(one: Stage) -> Iterator[None]:
    """Let experiments act on this stage meanwhile."""
    _STAGES.append(one)
    try:
        yield
    finally:
        _STAGES.remove(one)
