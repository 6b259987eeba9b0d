"""Activities fail with one sentence: what chaoslib makes of other exceptions begins with a module's path."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from chaoslib.exceptions import ActivityFailed, InterruptExecution

from harness.faults.victim import HarnessTrouble, ServiceDown, UsageError

P = ParamSpec("P")
T = TypeVar("T")
_LEAVE_AND_ROLL_BACK = 20  # chaoslib.exit: what SIGUSR1 means


def in_sentences(activity: Callable[P, T]) -> Callable[P, T]:
    """An activity whose failures are ActivityFailed with the sentence of what went wrong."""

    @functools.wraps(activity)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return activity(*args, **kwargs)
        except (HarnessTrouble, ServiceDown, UsageError, AssertionError) as error:
            raise ActivityFailed(str(error)) from error
        except InterruptExecution as interrupt:
            # SIGTERM. chaoslib would make a failed activity of it and go on with the next one; this it lets through.
            raise SystemExit(_LEAVE_AND_ROLL_BACK) from interrupt

    return run
