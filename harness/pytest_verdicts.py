"""What a crash point's result means for its test, beside what the baseline accepts."""

from dataclasses import dataclass
from datetime import date

import pytest

from harness.crashpoints.model import Grade, PointResult
from harness.evidence.encoding import redacted
from harness.evidence.redaction import Redactor
from harness.faults.victim import HarnessTrouble
from harness.reporting.baseline import Baseline, Entry, apply
from harness.reporting.findings import finding
from harness.reporting.labels import message
from harness.reporting.table import finding_lines


class KnownFinding(AssertionError):
    """A crash point failed exactly as its entry in the baseline says."""


@dataclass(frozen=True, slots=True)
class Replay:
    """How a test is done again: the seed of its run, and the pytest command."""

    seed: int
    command: str


def judge(result: PointResult, entry: Entry | None, how: Replay, redactor: Redactor, *, today: date) -> None:
    """Fail the test unless the result is a pass, a warning, or exactly as the baseline accepts it.

    entry: of the baseline. Raises KnownFinding for what is accepted, HarnessTrouble for an unknown outcome, pytest's
    failure for the rest.
    """
    if result.grade is Grade.ERROR:
        raise HarnessTrouble(_text(message(result, redactor), result, how, redactor))
    if entry is None:
        if result.grade in (Grade.FAIL, Grade.BLOCKER):
            pytest.fail(_text(message(result, redactor), result, how, redactor), pytrace=False)
        return
    held = apply(Baseline((entry,)), (result,), today=today, selected_ids={result.point.id})
    if held.known:
        raise KnownFinding(message(result, redactor, accepted=entry.reason))
    if held.worse:
        first = f"{message(result, redactor)}; worse than accepted: {held.worse[0].sentence()}"
    elif held.expired:
        first = f"baseline entry expired: {held.expired[0].sentence()}"
    else:
        first = f"baseline entry to be removed or lowered: {held.vanished[0].sentence()}"
    pytest.fail(_text(first, result, how, redactor), pytrace=False)


def _text(first: str, result: PointResult, how: Replay, redactor: Redactor) -> str:
    """A failure's message: the sentence, then what differs, what the client was told, the seed, how to replay."""
    details = list(finding_lines(finding(redacted(result, redactor))))
    reason, replay_line = details[0], details[-1]
    middle = details[1:-1] if reason in first else details[:-1]
    logs = [f"log: {line}" for line in redactor.text(result.logs).splitlines()[-20:]]
    lines = [*middle, *logs, f"seed: {how.seed}", replay_line, f"or: {how.command}"]
    return "\n".join([first, *(f"  {line}" for line in lines)])
