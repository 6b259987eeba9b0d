"""What a test claims about a disruption: each claim kept as it is checked, the test judged by all of them at its end.

The plugin judges when the test's own code is through, inside of its call, so that the outcome is the test's own:

    trouble   a claim is unknown: not measured, not proven. Never a pass
    failed    a claim is broken and not accepted, or worse than accepted; or what was accepted is not so any more
    xfailed   what is broken is exactly what the baseline accepts
    passed    all hold
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import PurePosixPath
from typing import Any

import pytest

from harness.crashpoints.claims import ClaimResult, Figure, claim_id, claim_subject, subject_id
from harness.crashpoints.outcomes import GRADES, Grade, Outcome
from harness.evidence.encoding import redacted
from harness.evidence.run_folder import RunFolder, file_name
from harness.faults.victim import HarnessTrouble
from harness.reporting.baseline import Baseline, BaselineVerdict, Match, apply
from harness.reporting.claimed import Stand, keep_claim, keep_stand, not_carried_out
from harness.reporting.claims import Subject, by_scenario, merged_claims
from harness.reporting.findings import finding
from harness.reporting.labels import FINDING, KNOWN, TROUBLE
from harness.reporting.table import finding_lines
from harness.reporting.words import counted

_LARGEST = 8_000_000  # characters of one piece of evidence


@dataclass(frozen=True, slots=True)
class Setting:
    """What the claims of one test have to know of the session.

    replay: the command that shows the test again;  told: hears of each subject, with its files, once it is judged
    """

    test: str
    folder: RunFolder
    baseline: Baseline
    today: date
    seed: int
    replay: str
    told: Callable[[Subject, Mapping[str, str]], None]


@dataclass(slots=True)
class Claims:
    """What one test claims. Every method that is used wrongly raises ValueError with a sentence."""

    _setting: Setting
    _began: float = field(default_factory=time.monotonic)
    _subject: str = ""
    _proof: str = ""
    _doubt: str = ""
    _subjects: list[str] = field(default_factory=list)
    _checked: dict[str, ClaimResult] = field(default_factory=dict)
    _files: dict[str, dict[str, str]] = field(default_factory=dict)
    """Per subject: the text of what was attached, by its name in the run's folder."""
    _brought: dict[str, str] = field(default_factory=dict)
    """The same for all of them."""

    def __post_init__(self) -> None:
        self._stand("begun")

    # -- what a test does ---------------------------------------------------------------------------------------------

    def about(self, scenario: str, variant: str = "", *, proof: str, doubt: str = "") -> None:
        """Say what the claims that follow are about: `cluster_partition`, `update/refused/one-of-three`.

        Scenario and variant are a part of the claims' ids, so the same on every run. A test may be about several, but
        no two tests about the same.

        proof: why we may say that the disruption happened; empty when it is not proven: then all claims are unknown
        doubt: what went wrong beside it, so that nothing can be said all the same; as a rule a step that failed
        """
        subject = subject_id(scenario, variant)
        if subject in self._subjects:
            raise ValueError(f"this test has been about {subject} before")
        self._shown_as_it_is(claim_id(subject, "x"))
        self._subject, self._proof, self._doubt = subject, proof.strip(), doubt.strip()
        self._subjects.append(subject)
        self._files[subject] = dict(self._brought)
        self._stand("begun")

    def check(
        self,
        name: str,
        claim: str,
        *,
        holds: bool,
        seen: str,
        measured: Mapping[str, Figure] | None = None,
        otherwise: Outcome = Outcome.BROKEN,
    ) -> bool:
        """Judge one claim and keep it; `holds` again. Does not end the test, so that all of it is measured.

        name:      `retries-bounded`, for the id
        claim:     what must hold, one sentence
        seen:      what was seen, one sentence
        measured:  figures, each with its unit in its name: `attempts`, `spacing_s`
        otherwise: the outcome where it does not hold: leaks, orphans, needs-repair, broken, stuck or lost
        """
        if GRADES[otherwise] not in (Grade.WARN, Grade.FAIL, Grade.BLOCKER):
            raise ValueError(f"a claim that does not hold cannot be {otherwise.value!r}")
        if self._doubt or not self._proof:
            return self._unproven(name, claim, seen, measured)
        self._keep(name, claim, Outcome.HOLDS if holds else otherwise, seen, measured)
        return holds

    def unknown(self, name: str, claim: str, *, why: str, measured: Mapping[str, Figure] | None = None) -> None:
        """Say that a claim could not be judged; the test will not pass."""
        self._keep(name, claim, Outcome.UNKNOWN, why, measured)

    def attach(self, name: str, text: str) -> str:
        """Keep a file as evidence of all claims of this subject, an SVG as a picture for the report; its path there."""
        if not self._subject:
            raise ValueError("say first what is claimed: claims.about(scenario, variant, proof=...)")
        if PurePosixPath(name).name != name or name in (".", ".."):
            raise ValueError(f"evidence has a plain file name, such as attempts.svg, not {name!r}")
        if len(text) > _LARGEST:
            raise ValueError(f"{name} has {len(text)} characters; evidence has at most {_LARGEST}")
        path = f"claims/{file_name(self._subject)}/{name}"
        if path in self._files[self._subject]:
            raise ValueError(f"{name} was attached before")
        self._setting.folder.write_text(path, text)
        self._files[self._subject][path] = text
        return path

    def bring(self, files: Mapping[str, str]) -> None:
        """Name what is in the run's folder already as evidence of all claims of this test: text by name below it."""
        self._brought |= files
        for evidence in self._files.values():
            evidence.update(files)

    # -- what the plugin does when the test's own code is through -----------------------------------------------------

    def judge(self) -> None:
        """Fail, expect or pass the test by what it claimed.

        Raises HarnessTrouble where something is unknown, pytest's failure and expected failure.
        """
        self._name_all_evidence()
        self._stand("judged")
        self._tell()
        silent = [each for each in self._subjects if not any(r.subject == each for r in self._checked.values())]
        if silent or not self._checked:
            about = ", ".join(silent) or "anything"
            raise HarnessTrouble(
                f"{TROUBLE}: the test asked for the fixture `claims` and checked nothing about {about}"
            )
        results = tuple(self._checked.values())
        mine = Baseline(tuple(e for e in self._setting.baseline.entries if claim_subject(e.id) in self._subjects))
        held = apply(mine, results, today=self._setting.today, selected_ids=(), complete_subjects=self._subjects)
        unknown = [result for result in results if result.grade is Grade.ERROR]
        failed = [*(each for each in results if each in held.new), *(match.result for match in held.worse)]
        if unknown:
            names = ", ".join(result.name for result in unknown)
            raise HarnessTrouble(self._text(f"{TROUBLE}: {counted(len(unknown), 'claim')} unknown: {names}", held))
        if failed:
            names = ", ".join(result.id.rpartition(":")[2] for result in failed if result)
            first = f"{FINDING}: {len(failed)} of {counted(len(results), 'claim')} not as accepted: {names}"
            pytest.fail(self._text(first, held), pytrace=False)
        if held.vanished or held.expired:
            first = _stale("expired", held.expired) or _stale("to be removed or lowered", held.vanished)
            pytest.fail(self._text(f"baseline entry {first}", held), pytrace=False)
        if held.known:
            self._expect(held.known)

    def end_early(self, error: BaseException) -> None:
        """The test's own code raised: what it had still to check is unknown; the error says what is known so far."""
        if isinstance(error, KeyboardInterrupt | SystemExit | pytest.exit.Exception):
            return  # the session ends; what has begun and not ended is unknown
        if isinstance(error, pytest.skip.Exception):
            self._stand("skipped")
            return
        self._name_all_evidence()
        if self._subject:
            first = (str(error).strip() or "no message").splitlines()[0]
            why = self._setting.folder.redactor.text(f"the test ended early: {type(error).__name__}: {first}")
            given_up = not_carried_out(self._subject, why, replay=self._setting.replay, seconds=self._seconds())
            self._checked[given_up.id] = given_up
            keep_claim(self._setting.folder, given_up)
        self._stand("ended early")
        self._tell()
        known_so_far = [line for result in self._failures() for line in self._block(result)]
        error.add_note("\n".join(["claims so far:", *known_so_far, *self._last_lines()]))

    # -- inside -------------------------------------------------------------------------------------------------------

    def _unproven(self, name: str, claim: str, seen: str, measured: Mapping[str, Figure] | None) -> bool:
        why = self._doubt or "it is not proven that the disruption happened"
        self.unknown(name, claim, why=f"{why}; seen: {seen}", measured=measured)
        return False

    def _keep(
        self, name: str, claim: str, outcome: Outcome, reason: str, measured: Mapping[str, Figure] | None
    ) -> None:
        if not self._subject:
            raise ValueError("say first what is claimed: claims.about(scenario, variant, proof=...)")
        result = ClaimResult(
            id=claim_id(self._subject, name),
            scenario=self._subject.partition("/")[0],
            claim=claim,
            outcome=outcome,
            reason=reason,
            proof=self._proof,
            measured=dict(measured or {}),
            evidence=tuple(self._files[self._subject]),
            seconds=self._seconds(),
            replay=self._setting.replay,
        )
        if result.id in self._checked:
            raise ValueError(f"{result.id} was checked before")
        self._shown_as_it_is(result.id)
        self._checked[result.id] = result
        keep_claim(self._setting.folder, result)

    def _shown_as_it_is(self, name: str) -> None:
        # `wrong-data-key:refused` reads like a secret and its value; no report would show it.
        if self._setting.folder.redactor.data([name, {name: "x"}]) != [name, {name: "x"}]:
            raise ValueError(f"{name!r} looks like a secret and would be masked in reports; take another name")

    def _name_all_evidence(self) -> None:
        """Claims that were checked before something was attached name it, too."""
        for name, result in self._checked.items():
            files = tuple(self._files[result.subject])
            if files != result.evidence:
                self._checked[name] = replace(result, evidence=files)
                keep_claim(self._setting.folder, self._checked[name])

    def _stand(self, state: Any) -> None:
        keep_stand(self._setting.folder, Stand(self._setting.test, state, tuple(self._subjects)))

    def _tell(self) -> None:
        for scenario in by_scenario(merged_claims(self._checked.values())):
            for subject in scenario.subjects:
                self._setting.told(subject, self._files[subject.id])

    def _seconds(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def _expect(self, known: Sequence[Match]) -> None:
        names = ", ".join(f"{match.entry.id.rpartition(':')[2]} ({match.entry.outcome.value})" for match in known)
        reasons = "; ".join(dict.fromkeys(match.entry.reason for match in known))
        text = self._setting.folder.redactor.text(f"{KNOWN}: {names} (accepted: {reasons})")
        pytest.xfail(text)
        pytest.fail(text, pytrace=False)  # with --runxfail nothing is expected

    def _failures(self) -> list[ClaimResult]:
        return [result for result in self._checked.values() if result.grade not in (Grade.PASS, Grade.WARN)]

    def _text(self, first: str, held: BaselineVerdict) -> str:
        """A failure's message: the sentence, each claim that does not hold, what the baseline says, how to replay."""
        lines = [line for result in self._failures() for line in self._block(result)]
        sentences = [match.sentence() for match in (*held.worse, *held.expired, *held.vanished)]
        lines += [f"  accepted until now: {sentence}" for sentence in sentences if sentence not in first]
        return self._setting.folder.redactor.text("\n".join([first, *lines, *self._last_lines()]))

    def _block(self, result: ClaimResult) -> list[str]:
        shown = redacted(result, self._setting.folder.redactor)  # in a sentence a secret has lost its name
        details = list(finding_lines(finding(shown)))[:-1]  # how to replay it is said once, at the end
        return [f"  {result.outcome.value}  {result.id}", *(f"    {line}" for line in details)]

    def _last_lines(self) -> list[str]:
        return [f"  seed: {self._setting.seed}", f"  replay: {self._setting.replay}"]


def _stale(what: str, matches: Sequence[Match]) -> str:
    return f"{what}: {'; '.join(match.sentence() for match in matches)}" if matches else ""
