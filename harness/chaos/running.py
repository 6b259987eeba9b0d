"""Running an experiment on a stage that is there already, as pytest fixtures do."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaoslib.configuration import load_configuration
from chaoslib.exceptions import ChaosException
from chaoslib.experiment import ensure_experiment_is_valid, run_experiment
from chaoslib.loader import load_experiment

from harness.chaos.current import acting_on
from harness.chaos.guarding import own_namespaces, wrong_targets
from harness.chaos.keeping import Keeper
from harness.chaos.opening import DEFAULT_WORKLOAD, check_keys, file_of
from harness.chaos.stage import Stage
from harness.faults.victim import HarnessTrouble, UsageError

# Whatever happens in an experiment, what it did to EMCO is undone: chaoslib's default leaves it when a run deviates.
_SETTINGS: Mapping[str, Any] = {"runtime": {"rollbacks": {"strategy": "always"}}}


@dataclass(frozen=True, slots=True)
class Loaded:
    """An experiment with its configuration filled in, and what it says of the EMCO it wants."""

    experiment: dict[str, Any]
    workload: Path
    max_retries: str
    cleanup_delay: str


def load(file: Path, configuration: Mapping[str, Any]) -> Loaded:
    """Read an experiment and replace values of its configuration. Raises UsageError with the file's name.

    A name that the experiment's configuration does not have is refused: it would change nothing.
    """
    try:
        experiment: dict[str, Any] = load_experiment(str(file))
        known = experiment.setdefault("configuration", {})
        if unknown := [name for name in configuration if name not in known]:
            raise UsageError(f"{file}: its configuration has no {unknown[0]!r}; it has {', '.join(sorted(known))}")
        known.update(configuration)
        ensure_experiment_is_valid(experiment)
    except ChaosException as error:
        raise UsageError(f"{file}: {error}") from error
    check_keys(experiment, where=str(file))
    workload = file_of(str(known["workload"])) if known.get("workload") else DEFAULT_WORKLOAD
    return Loaded(experiment, workload, str(known.get("max_retries", "")), str(known.get("cleanup_delay", "")))


def run_on(stage: Stage, experiment: dict[str, Any], keeper: Keeper | None = None) -> Mapping[str, Any]:
    """Run it; Chaos Toolkit's journal. Must be called from the main thread, where chaoslib sets signal handlers.

    keeper: gets the activities as they end, and in the end the journal and what was seen

    Raises UsageError, before anything is done, where an activity would act on something else than the stage, and
    HarnessTrouble where the relay could not follow what passed: nothing can be said of such a run.
    """
    configuration = load_configuration(experiment.get("configuration") or {})
    if wrong := wrong_targets(experiment, configuration, own=own_namespaces(stage)):
        raise UsageError("; ".join(wrong))
    try:
        journal = _run(experiment, acting_on(stage, keep=keeper.activity) if keeper else acting_on(stage))
        if keeper:
            keeper.journal(journal)
    finally:
        if keeper:
            keeper.history(stage)
    if unread := stage.unread:  # what is not in the history would be taken for what did not happen
        raise HarnessTrouble(f"not all that passed could be read: {'; '.join(unread[:3])}")
    return journal


def _run(experiment: dict[str, Any], acting: AbstractContextManager[None]) -> Mapping[str, Any]:
    with acting:
        journal: Mapping[str, Any] = run_experiment(experiment, settings=dict(_SETTINGS))
    if journal["status"] == "interrupted":  # chaoslib keeps Ctrl-C and SIGTERM to itself
        raise KeyboardInterrupt(f"the experiment {experiment['title']!r} was interrupted")
    return journal
