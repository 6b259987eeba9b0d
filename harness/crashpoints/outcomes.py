"""The vocabulary of judgements: how something ended, how bad that is, and what every judgement has."""

from enum import StrEnum
from typing import Protocol


class Outcome(StrEnum):
    """What a crash point or a claim led to (docs/architecture.md, "Outcomes"); the order is from best to worst.

    `holds` and `broken` are those of claims, which may also have leaks, orphans, needs-repair, stuck, lost and unknown.
    """

    HOLDS = "holds"
    ATOMIC = "atomic"
    SELF_HEALS = "self-heals"
    RETRY_HEALS = "retry-heals"
    LEAKS = "leaks"
    ORPHANS = "orphans"
    NEEDS_REPAIR = "needs-repair"
    BROKEN = "broken"
    STUCK = "stuck"
    LOST = "lost"
    UNKNOWN = "unknown"


class Grade(StrEnum):
    """How bad an outcome is for a release."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    BLOCKER = "blocker"
    ERROR = "error"


GRADES: dict[Outcome, Grade] = {
    Outcome.HOLDS: Grade.PASS,
    Outcome.ATOMIC: Grade.PASS,
    Outcome.SELF_HEALS: Grade.PASS,
    Outcome.RETRY_HEALS: Grade.PASS,
    Outcome.LEAKS: Grade.WARN,
    Outcome.ORPHANS: Grade.FAIL,
    Outcome.NEEDS_REPAIR: Grade.FAIL,
    Outcome.BROKEN: Grade.FAIL,
    Outcome.STUCK: Grade.BLOCKER,
    Outcome.LOST: Grade.BLOCKER,
    Outcome.UNKNOWN: Grade.ERROR,
}


class Judged(Protocol):
    """Whatever was judged, a crash point or a claim: what baseline, comparison and verdict need to know of it."""

    @property
    def id(self) -> str:
        """Stable, readable, the same on every run."""
        ...

    @property
    def outcome(self) -> Outcome: ...

    @property
    def grade(self) -> Grade: ...

    @property
    def reason(self) -> str:
        """The sentence that explains the outcome."""
        ...

    @property
    def replay(self) -> str:
        """The command that shows it again; empty when it follows from the id."""
        ...
