"""What tests claimed, as it is kept in a run's folder while they run, and read back at the end.

    claims.jsonl          one line per check, synced as it was made
    claiming-tests.json   the tests with claims that were to run
    claiming-tests.jsonl  how far each came: begun, judged, ended early, skipped

So that nothing is lost with a process, and a test that died is not taken for one that had nothing to say.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from harness.crashpoints.claims import ClaimResult, claim_id
from harness.crashpoints.outcomes import Outcome
from harness.evidence.encoding import from_json
from harness.evidence.run_folder import RunFolder, read_lines
from harness.reporting.claims import merged_claims
from harness.reporting.words import counted

T = TypeVar("T")

CLAIMS = "claims.jsonl"
_PLANNED = "claiming-tests.json"
_TESTS = "claiming-tests.jsonl"
CARRIED_OUT = "carried-out"
"""Name of the claim that stands for a test which did not come to its end."""


@dataclass(frozen=True, slots=True)
class Stand:
    """How far a test has come, and what it is about so far. `judged`: it made all its checks."""

    test: str
    state: Literal["begun", "judged", "ended early", "skipped"]
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claimed:
    """All claims of a run.

    complete: subjects whose claims were all checked
    trouble:  sentences: what was to be checked and was not
    """

    claims: tuple[ClaimResult, ...] = ()
    complete: frozenset[str] = frozenset()
    trouble: tuple[str, ...] = ()


def keep_claim(folder: RunFolder, claim: ClaimResult) -> None:
    """Write a line; when this returns, it survives any crash."""
    folder.append(claim, CLAIMS)


def keep_stand(folder: RunFolder, stand: Stand) -> None:
    """Write a line; when this returns, it survives any crash."""
    folder.append(stand, _TESTS)


def plan_tests(folder: RunFolder, tests: Sequence[str]) -> None:
    """Write down which tests with claims are to run; all processes of a run chose the same, one writes."""
    if tests and not (folder.path / _PLANNED).exists():
        folder.write_json(_PLANNED, list(tests))


def were_planned(folder: RunFolder) -> bool:
    """Whether tests with claims were to run."""
    return (folder.path / _PLANNED).exists()


def read_claimed(folder: RunFolder) -> Claimed:
    """What was claimed in a run; nothing when no test with claims was to run."""
    path = folder.path / _PLANNED
    if not path.exists():
        return Claimed()
    planned = from_json(path.read_bytes(), list[str], where=str(path))
    claims, bad_claims = _lines(folder, CLAIMS, ClaimResult)
    stands, bad_stands = _lines(folder, _TESTS, Stand)
    last = {stand.test: stand for stand in stands}
    unfinished = [stand for stand in last.values() if stand.state == "begun"]
    nameless = [stand.test for stand in last.values() if stand.state in ("begun", "ended early") and not stand.subjects]
    missing = [test for test in planned if test not in last]
    trouble = [*bad_claims, *bad_stands]
    for tests, what in ((nameless, "ended before they said what they are about"), (missing, "did not run")):
        if tests:
            trouble.append(f"{counted(len(tests), 'test')} with claims {what}: {', '.join(tests)}")
    return Claimed(
        claims=merged_claims([*claims, *_given_up(unfinished)]),
        complete=frozenset(each for stand in last.values() if stand.state == "judged" for each in stand.subjects),
        trouble=tuple(trouble),
    )


def _lines(folder: RunFolder, name: str, kind: type[T]) -> tuple[tuple[T, ...], tuple[str, ...]]:
    path = folder.path / name
    return read_lines(path, kind) if path.exists() else ((), ())


def _given_up(stands: Iterable[Stand]) -> list[ClaimResult]:
    """For a test whose process died, or that was interrupted: nothing is known of what it had still to check."""
    return [
        not_carried_out(subject, "the test began and did not come to its end")
        for stand in stands
        for subject in stand.subjects[-1:]
    ]


def not_carried_out(subject: str, why: str, *, replay: str = "", seconds: float = 0.0) -> ClaimResult:
    """The claim that stands for what a test would have checked."""
    return ClaimResult(
        id=claim_id(subject, CARRIED_OUT),
        scenario=subject.partition("/")[0],
        claim="the scenario is carried out to its end",
        outcome=Outcome.UNKNOWN,
        reason=why,
        seconds=seconds,
        replay=replay,
    )
