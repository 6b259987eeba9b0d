"""Whether stores and edges agree once an experiment is over: the consistency assertion after every one of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.chaos.aftermath import disagreements, shown
from harness.chaos.observing import BEGIN
from harness.chaos.stage import Stage
from harness.crashpoints.outcomes import Grade
from harness.emco.invariants import INVARIANTS, Violation
from harness.faults.victim import UsageError
from harness.stores.snapshot import Snapshot

AT_REST = "at-rest"
"""Name beside those of the invariants: EMCO does not come to rest."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """restless: why EMCO does not come to rest, empty when it does;  violations: what is broken that was not before."""

    restless: str
    violations: tuple[Violation, ...]

    @property
    def broken(self) -> tuple[str, ...]:
        """Names of what is broken, sorted."""
        return tuple(sorted({one.invariant for one in self.violations} | ({AT_REST} if self.restless else set())))

    @property
    def only_leaks(self) -> bool:
        """Whether all that is broken is inert."""
        return not self.restless and all(one.grade is Grade.WARN for one in self.violations)

    def describe(self) -> str:
        """The names, then a few places with what is wrong there."""
        told = [
            *([self.restless] if self.restless else []),
            *(f"{one.where} {one.sentence}" for one in self.violations),
        ]
        return f"{', '.join(self.broken)}: {shown(told, most=3)}" if self.broken else "no invariant is broken"


def agreement(stage: Stage, before: Snapshot | None = None) -> Agreement:
    """Wait until EMCO is at rest and compare.

    before: the state before the disruption, where there is one; else what is broken is told from the beginning on
    """
    restless = stage.at_rest()
    since = before or stage.snapshots.get(BEGIN)
    return Agreement(restless, disagreements(since, stage.snapshot(), stage.history(stage.marked("empty"))))


def accepted_of(configuration: Mapping[str, Any]) -> frozenset[str]:
    """Names of invariants that an experiment's configuration accepts as broken: `accepted: [edge-owned]`.

    Raises UsageError for a name that nothing has.
    """
    given = configuration.get("accepted") or []
    names = frozenset(map(str, given)) if isinstance(given, list) else frozenset(str(given).replace(",", " ").split())
    known = {AT_REST, *(one.name for one in INVARIANTS)}
    if unknown := sorted(names - known):
        raise UsageError(f"accepted: no invariant is named {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return names
