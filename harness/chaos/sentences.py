"""Activities fail with one sentence: what chaoslib makes of other exceptions begins with a module's path."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from chaoslib.exceptions import ActivityFailed

from harness.chaos.arguments import checked
from harness.faults.victim import HarnessTrouble, ServiceDown, UsageError

NO_REST = "EMCO does not come to rest"
"""How the sentence begins with which waiting for rest fails."""

_WRAPPED = "chaoslib.exceptions.ActivityFailed: "
P = ParamSpec("P")
T = TypeVar("T")


def in_sentences(activity: Callable[P, T]) -> Callable[P, T]:
    """An activity whose failures are ActivityFailed with the sentence of what went wrong, wrong arguments included."""
    check = checked(activity)

    @functools.wraps(activity)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            check(*args, **kwargs)
            return activity(*args, **kwargs)
        except (HarnessTrouble, ServiceDown, UsageError, AssertionError) as error:
            raise ActivityFailed(str(error)) from error

    return run


def why_failed(run: Mapping[str, Any]) -> str:
    """Why an activity failed, by its run in the journal; chaoslib puts its exception's name before it, maybe twice."""
    trace = run.get("exception") or ["it does not say why"]
    return str(trace[-1]).strip().replace(_WRAPPED, "")
