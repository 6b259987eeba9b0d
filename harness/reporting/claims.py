"""Claims by scenario and subject, and their figures in words: what tables, pages and labels have in common."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.crashpoints.claims import ClaimResult, Figure
from harness.crashpoints.outcomes import GRADES, Grade, Outcome
from harness.reporting.findings import severity


@dataclass(frozen=True, slots=True)
class Subject:
    """What one test is about: a variant of a scenario, with its claims in the order in which they were checked."""

    id: str
    variant: str
    claims: tuple[ClaimResult, ...]

    @property
    def worst(self) -> Outcome:
        return max((claim.outcome for claim in self.claims), key=severity)

    @property
    def evidence(self) -> tuple[str, ...]:
        """Files of all claims, each once."""
        return tuple(dict.fromkeys(name for claim in self.claims for name in claim.evidence))

    @property
    def proofs(self) -> tuple[str, ...]:
        """Why we may say that the disruption happened; each sentence once."""
        return tuple(dict.fromkeys(claim.proof for claim in self.claims if claim.proof))

    @property
    def replays(self) -> tuple[str, ...]:
        """The commands that show it again; one as a rule."""
        return tuple(dict.fromkeys(claim.replay for claim in self.claims if claim.replay))

    def pictures(self) -> tuple[str, ...]:
        """Names of the SVG files among the evidence."""
        return tuple(name for name in self.evidence if name.endswith(".svg"))


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that was claimed of one scenario."""

    name: str
    subjects: tuple[Subject, ...]

    @property
    def claims(self) -> tuple[ClaimResult, ...]:
        return tuple(claim for subject in self.subjects for claim in subject.claims)

    @property
    def worst(self) -> Outcome:
        return max((claim.outcome for claim in self.claims), key=severity)

    @property
    def passed(self) -> int:
        """How many claims hold."""
        return sum(GRADES[claim.outcome] is Grade.PASS for claim in self.claims)


def by_scenario(claims: Iterable[ClaimResult]) -> tuple[Scenario, ...]:
    """Scenarios and their subjects by name, whichever order they ran in."""
    grouped: dict[str, dict[str, list[ClaimResult]]] = {}
    for claim in claims:
        grouped.setdefault(claim.scenario, {}).setdefault(claim.subject, []).append(claim)
    return tuple(
        Scenario(name, tuple(Subject(each, own[0].variant, tuple(own)) for each, own in sorted(subjects.items())))
        for name, subjects in sorted(grouped.items())
    )


def merged_claims(claims: Iterable[ClaimResult]) -> tuple[ClaimResult, ...]:
    """One result per claim, by scenario and subject; where there are several (repeats, shards), the worst one counts.

    Of equals the last one does: it names evidence that came after the first.
    """
    worst: dict[str, ClaimResult] = {}
    for claim in claims:
        seen = worst.get(claim.id)
        if seen is None or severity(claim.outcome) >= severity(seen.outcome):
            worst[claim.id] = claim
    return tuple(claim for scenario in by_scenario(worst.values()) for claim in scenario.claims)


def figures(measured: Mapping[str, Figure]) -> str:
    """`attempts=5, spacing_s=2.04, bounded=no`."""
    return ", ".join(f"{name}={figure_text(value)}" for name, value in measured.items())


def figure_text(value: Figure) -> str:
    """Whole numbers and large ones in full, four digits of what has a fraction, yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)
