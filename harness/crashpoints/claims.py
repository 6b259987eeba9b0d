"""Claims: what a scenario says must hold around a disruption, each judged by what was measured.

A crash point is judged against control states. What rsync does while an edge is unreachable, or what a restored backup
holds, no control state tells; a scenario claims it in a sentence, and measures.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from harness.crashpoints.outcomes import GRADES, Grade, Outcome

Figure = float | int | str | bool

CLAIM_OUTCOMES = (
    Outcome.HOLDS,
    Outcome.LEAKS,
    Outcome.ORPHANS,
    Outcome.NEEDS_REPAIR,
    Outcome.BROKEN,
    Outcome.STUCK,
    Outcome.LOST,
    Outcome.UNKNOWN,
)
"""What a claim may lead to; the others compare states of one call."""

# The name of a claim has no dot, and the last part of a crash point's id has one: the ids of the two never meet.
_SCENARIO = re.compile(r"[a-z0-9][a-z0-9_-]*")
_VARIANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~@+=:/-]*")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_ID = re.compile(rf"(?P<subject>(?P<scenario>{_SCENARIO.pattern})(?:/(?P<variant>{_VARIANT.pattern}))?)"
                 rf":(?P<name>{_NAME.pattern})")  # fmt: skip


def subject_id(scenario: str, variant: str = "") -> str:
    """`cluster_partition/instantiate/refused/one-of-three`: what the claims of one test are about.

    Raises ValueError with a sentence for what cannot be part of an id.
    """
    if not _SCENARIO.fullmatch(scenario):
        raise ValueError(f"a scenario's name is made of a-z, 0-9, _ and -, such as cluster_partition, not {scenario!r}")
    if not variant:
        return scenario
    if not _VARIANT.fullmatch(variant) or variant.endswith("/"):
        raise ValueError(f"a variant is made of letters, digits and ._~@+=:/-, such as update/refused, not {variant!r}")
    return f"{scenario}/{variant}"


def claim_id(subject: str, name: str) -> str:
    """`<subject>:<name>`. Raises ValueError with a sentence for a name that cannot be part of an id."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"the name of a claim is made of a-z, 0-9 and -, such as retries-bounded, not {name!r}")
    return f"{subject}:{name}"


def claim_subject(text: str) -> str:
    """The subject in the id of a claim; empty when the text is the id of something else, of a crash point say."""
    found = _ID.fullmatch(text)
    return found["subject"] if found else ""


def _storable(figure: object) -> bool:
    # JSON has no infinity; a figure of another type would make the whole summary unreadable later.
    return math.isfinite(figure) if isinstance(figure, float) else isinstance(figure, int | str)


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """The judgement of one claim, with all that is needed to believe it.

    id:       `cluster_partition/instantiate/refused/one-of-three:retries-bounded`, stable
    scenario: `cluster_partition`
    claim:    what must hold, one sentence
    outcome:  one of CLAIM_OUTCOMES; `unknown` is for what was not measured, not proven, or trouble of the harness
    reason:   what was seen, one sentence
    proof:    why we may say that the disruption happened: `refused for 12.0 s, 9 connections`; only `unknown` lacks it
    measured: figures by name, with the unit in the name: `attempts`, `spacing_s`, `rpo_documents`
    evidence: files, as paths in the run's folder
    seconds:  wall time from the beginning of its test
    replay:   the command that shows it again, under the same settings

    Raises ValueError for what could not be believed or stored: another outcome, a figure that is not finite, no proof,
    evidence elsewhere.
    """

    id: str
    scenario: str
    claim: str
    outcome: Outcome
    reason: str
    proof: str = ""
    measured: Mapping[str, Figure] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    seconds: float = 0.0
    replay: str = ""

    def __post_init__(self) -> None:
        if not claim_subject(self.id):
            raise ValueError(f"{self.id!r} is not the id of a claim, <scenario>/<variant>:<name>")
        if self.outcome not in CLAIM_OUTCOMES:
            expected = ", ".join(CLAIM_OUTCOMES)
            raise ValueError(f"{self.id}: a claim cannot be {self.outcome.value!r}; expected one of {expected}")
        if not self.proof.strip() and self.outcome is not Outcome.UNKNOWN:
            raise ValueError(f"{self.id}: without proof that the disruption happened the outcome is unknown")
        for path in self.evidence:
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                raise ValueError(f"{self.id}: evidence lies in the run's folder, {path!r} does not")
        for name, figure in self.measured.items():
            if not _storable(figure):
                raise ValueError(f"{self.id}: {name} = {figure!r} is neither a finite number nor text nor yes or no")

    @property
    def grade(self) -> Grade:
        return GRADES[self.outcome]

    @property
    def subject(self) -> str:
        """The id without the claim's name: `cluster_partition/instantiate/refused/one-of-three`."""
        return claim_subject(self.id)

    @property
    def name(self) -> str:
        """`retries-bounded`."""
        return self.id.rpartition(":")[2]

    @property
    def variant(self) -> str:
        """`instantiate/refused/one-of-three`; empty for a scenario that has only one."""
        return self.subject.removeprefix(self.scenario).removeprefix("/")
