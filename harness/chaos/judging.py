"""What is wrong with an experiment that is over, by its journal: chaoslib lets most of it pass.

It asks the tolerance of a probe in the steady state only, and fails nothing for an activity of the method that failed.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from chaoslib import substitute
from chaoslib.hypothesis import within_tolerance
from chaoslib.types import Dry

from harness.chaos.sentences import why_failed

Values = Mapping[str, Any]


def failed_steps(context: Values, state: Values, configuration: Values, secrets: Values) -> list[str]:
    """Activities of method and rollbacks that failed, and probes that gave what their tolerance does not allow.

    A probe that has a tolerance gets `tolerance_met` in the journal, as one of the steady state does.
    """
    return [*_failed(state), *_not_tolerated(context, state, configuration, secrets)]


def _failed(state: Values) -> Iterator[str]:
    for run in _runs(state):
        if run.get("status") == "failed":
            yield f"the {run['activity'].get('type')} {run['activity'].get('name')!r} failed: {why_failed(run)}"


def _not_tolerated(context: Values, state: Values, configuration: Values, secrets: Values) -> Iterator[str]:
    for run in _runs(state):
        activity = run["activity"]
        if activity.get("type") != "probe" or "tolerance" not in activity or run.get("status") != "succeeded":
            continue
        if activity.get("dry", context.get("dry")) in (Dry.PROBES, Dry.ACTIVITIES):
            continue  # nobody looked, and chaoslib says so itself
        tolerance = activity["tolerance"]
        if isinstance(tolerance, str):
            tolerance = substitute(tolerance, configuration, secrets)
        met = within_tolerance(tolerance, run["output"], configuration=configuration, secrets=secrets)
        run["tolerance_met"] = bool(met)
        if not met:
            yield f"the probe {activity.get('name')!r} gave {run['output']!r}, and its tolerance is {tolerance!r}"


def _runs(state: Values) -> Iterator[dict[str, Any]]:
    yield from state.get("run") or ()
    yield from state.get("rollbacks") or ()
