"""What a run means for the shell that started it: its exit code, and the sentences why.

The first that applies: 2 wrong usage or settings (raised before there is a run); 3 unknown outcomes or harness trouble;
1 a failure that is not in the baseline, or a baseline entry that is not true any more; 0 otherwise. Warnings never
change it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from harness.crashpoints.model import Outcome, RunSummary
from harness.reporting.baseline import BaselineVerdict
from harness.reporting.findings import by_outcome, count
from harness.reporting.words import counted


@dataclass(frozen=True, slots=True)
class Verdict:
    """code: the exit code; reasons: one sentence each, empty exactly when the code is 0."""

    code: Literal[0, 1, 3]
    reasons: tuple[str, ...]


def judge(summary: RunSummary, baseline: BaselineVerdict) -> Verdict:
    """The exit code of a run and why."""
    trouble = tuple(_trouble(summary))
    if trouble:
        return Verdict(3, (*trouble, *_failures(baseline)))
    failures = tuple(_failures(baseline))
    return Verdict(1, failures) if failures else Verdict(0, ())


def _trouble(summary: RunSummary) -> Iterator[str]:
    counts = count(summary)
    if summary.status != "complete":
        yield f"the run is {summary.status}" + (f": {summary.trouble}" if summary.trouble else "")
    for results, noun in ((summary.results, "point"), (summary.claims, "claim")):
        if unknown := by_outcome(results)[Outcome.UNKNOWN]:
            yield f"{counted(unknown, noun)} with outcome unknown"
    # A fault that did not happen as planned never counts as anything else, whatever a result says.
    if unproven := sum(not r.proof.proven and r.outcome is not Outcome.UNKNOWN for r in summary.results):
        yield f"{counted(unproven, 'point')} judged without proof that the fault happened as planned"
    if counts.not_run and summary.status == "complete":
        yield f"{counted(counts.not_run, 'point')} of the plan without a result"
    if counts.ran == counts.claims == 0:
        yield "nothing was tested"


def _failures(baseline: BaselineVerdict) -> Iterator[str]:
    if baseline.new:
        yield counted(len(baseline.new), "failure") + ("" if baseline.is_empty else " not in the baseline")
    if baseline.worse:
        yield f"{counted(len(baseline.worse), 'finding')} worse than the baseline accepts"
    if baseline.vanished:
        entries = counted(len(baseline.vanished), "baseline entry", "baseline entries")
        yield f"{entries} to remove or to lower: better than accepted, or gone"
    if baseline.expired:
        yield f"{counted(len(baseline.expired), 'baseline entry', 'baseline entries')} expired"
