"""The control that every experiment on EMCO has: it starts an EMCO, keeps evidence, and says what chaoslib would not.

    controls:
      - name: emco
        provider: {type: python, module: harness.chaos.control}
    configuration:
      workload: fixtures/workloads/three-edges.yaml
      emco_bin: {type: env, key: EMCO_CHAOS_BIN, default: ""}

Where a stage is set already (a pytest fixture did it) that one is used. Beyond that:

* an activity of the method that failed makes the experiment fail, and so does a probe that gives what its tolerance
  does not allow; chaoslib alone lets it end as completed, and asks tolerances in the steady state only;
* after the rollbacks the steady state is asked for again; where it does not hold the experiment fails;
* then stores and edges have to agree: it fails where an invariant is broken that held at the beginning, or before the
  disruption where the experiment keeps a snapshot named `before`. Its configuration may accept some by name,
  `accepted: [edge-owned]`. With a stage that somebody else has set this is left to them: a test claims it;
* an experiment with an activity that would act on another cluster or namespace than the run's own is not begun;
* every activity is written to the run's folder as it ends, synced, so that nothing is lost with the process.
"""

import contextlib
import logging
import signal
import threading
from collections.abc import Mapping
from types import FrameType
from typing import Any

from chaoslib.exceptions import InterruptExecution
from chaoslib.hypothesis import run_steady_state_hypothesis
from chaoslib.run import EventHandlerRegistry

from harness.chaos import current
from harness.chaos.agreement import accepted_of, agreement
from harness.chaos.guarding import own_namespaces, wrong_targets
from harness.chaos.judging import failed_steps
from harness.chaos.opening import Opened, check_keys, open_stage
from harness.chaos.stage import Stage
from harness.faults.victim import HarnessTrouble, ServiceDown, UsageError

__all__ = [
    "after_activity_control",
    "after_experiment_control",
    "before_experiment_control",
    "cleanup_control",
]

_LOGGER = logging.getLogger("chaostoolkit")  # what a person sees at the terminal
_LEAVE_AND_ROLL_BACK = 20  # chaoslib.exit: what it makes of SIGUSR1
_OPENED: list[Opened] = []  # at most one: what this control has started and has to end (see harness.chaos.current)


def before_experiment_control(
    context: Mapping[str, Any], configuration: Mapping[str, Any] | None = None, **_: Any
) -> None:
    """Start an EMCO unless there is one.

    Interrupts the experiment with a sentence when that does not work, or an activity would act on something else.
    """
    _end_on_sigterm()
    if not current.is_set():
        try:
            accepted_of(configuration or {})
            check_keys(context)
            _OPENED.append(open_stage(configuration or {}, title=str(context.get("title", ""))))
        except (HarnessTrouble, ServiceDown, UsageError) as error:
            raise InterruptExecution(f"there is no EMCO to experiment with: {error}") from error
        _LOGGER.info("%s; what is seen is kept in %s", _OPENED[-1].stage.title, _OPENED[-1].keeper.folder.path)
    try:
        wrong = wrong_targets(context, configuration or {}, own=own_namespaces(current.stage()))
    except Exception as error:  # chaoslib drops what a control raises: the experiment would go on unguarded
        raise InterruptExecution(f"the experiment is not begun: where it acts cannot be told: {error}") from error
    if wrong:
        raise InterruptExecution(f"the experiment is not begun: {'; '.join(wrong)}")


def _end_on_sigterm() -> None:
    """Let SIGTERM end the experiment wherever it is, with its rollbacks.

    chaoslib raises an Exception for it, which a logging handler swallows and of which a running activity makes a
    failure, after which the experiment goes on. It puts the handler from before the experiment back by itself.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  the signature of a handler
    raise SystemExit(_LEAVE_AND_ROLL_BACK)


def after_activity_control(context: Mapping[str, Any], state: Mapping[str, Any] | None = None, **_: Any) -> None:
    """Write down what an activity came to."""
    arguments = context.get("provider", {}).get("arguments", {})
    told = {"activity": context.get("name"), "type": context.get("type"), "arguments": arguments}
    current.keep({**(state or {}), **told})


def after_experiment_control(
    context: Mapping[str, Any],
    state: dict[str, Any],
    configuration: Mapping[str, Any] | None = None,
    secrets: Mapping[str, Any] | None = None,
    **_: Any,
) -> None:
    """Say of the journal what chaoslib does not, then end what was started."""
    try:
        problems = _problems(context, state, configuration or {}, secrets or {})
    except Exception as error:  # noqa: BLE001  chaoslib drops what a control raises: it would pass unseen
        problems = [f"the end of the experiment could not be judged: {type(error).__name__}: {error}"]
    finally:
        if problems and state["status"] == "completed":
            state["status"] = "failed"
        state["problems"] = problems
        _say(problems)
        current.keep({"status": state["status"], "deviated": state.get("deviated"), "problems": problems})
        cleanup_control()


def _say(problems: list[str]) -> None:
    """What chaoslib has said last is that the experiment is completed."""
    for problem in problems:
        _LOGGER.error(problem)
    if problems:
        _LOGGER.error("the experiment failed: %d problem%s", len(problems), "s" if len(problems) > 1 else "")
    if _OPENED and _OPENED[-1].on_reference:
        _LOGGER.info("this run was on the reference EMCO: it can never be a sign-off")


def _problems(
    context: Mapping[str, Any], state: dict[str, Any], configuration: Mapping[str, Any], secrets: Mapping[str, Any]
) -> list[str]:
    problems = failed_steps(context, state, configuration, secrets)
    if not current.is_set():
        return [*problems, "there was no EMCO"]
    hypothesis = context.get("steady-state-hypothesis")
    if hypothesis:
        after = run_steady_state_hypothesis(context, configuration, secrets, None, EventHandlerRegistry())
        state.setdefault("steady_states", {})["after_rollbacks"] = after
        if not after.get("steady_state_met"):
            problems.append(f"after the rollbacks the steady state {hypothesis.get('title')!r} does not hold")
    if unread := current.stage().unread:
        problems.append(f"not all that passed could be read: {'; '.join(unread[:3])}")
    if _OPENED:
        problems += _disagreements(_OPENED[-1].stage, configuration, state)
    return problems


def _disagreements(stage: Stage, configuration: Mapping[str, Any], state: dict[str, Any]) -> list[str]:
    found, accepted = agreement(stage, stage.snapshots.get("before")), accepted_of(configuration)
    state["agreement"] = {"broken": list(found.broken), "accepted": sorted(accepted), "seen": found.describe()}
    if set(found.broken) <= accepted:
        return []
    return [f"stores and edges do not agree afterwards: {found.describe()}"]


def cleanup_control() -> None:
    """End what was started here; chaoslib calls this however an experiment ended."""
    while _OPENED:
        with contextlib.closing(_OPENED.pop()):
            pass
