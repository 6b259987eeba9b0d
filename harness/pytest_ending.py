"""The end of a pytest session with an EMCO: summary, report page, and the last lines of the output."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from harness.crashpoints.model import Grade, Plan, PointResult, RunSummary
from harness.evidence.encoding import from_json, redacted
from harness.evidence.redaction import Redactor
from harness.evidence.run_folder import RESULTS, RunFolder, read_lines
from harness.evidence.versions import versions
from harness.platforms.settings import Settings
from harness.reporting.baseline import Baseline, BaselineVerdict, apply
from harness.reporting.claimed import read_claimed, were_planned
from harness.reporting.findings import judged, merged
from harness.reporting.signoff import write_signoff
from harness.reporting.summary import SCHEMA, write_summary
from harness.reporting.table import print_claims, print_table, print_verdict
from harness.reporting.verdict import Verdict, judge
from harness.work import emco_name

PLAN = "plan.json"
"""In a run's folder: which of the points are to run."""
_MOST_WARNINGS = 20


@dataclass(frozen=True, slots=True)
class Run:
    """What was run, and against which accepted findings.

    digest: of the workload;  began, clock: when, as a date and in this process's monotonic seconds
    """

    folder: RunFolder
    settings: Settings
    digest: str
    baseline: Baseline
    began: datetime
    clock: float
    today: date


@dataclass(frozen=True, slots=True)
class Ended:
    """A session's run that is over."""

    summary: RunSummary
    baseline: BaselineVerdict
    verdict: Verdict
    page: Path


def is_to_be_judged(folder: RunFolder) -> bool:
    """Whether points or tests with claims were planned in a run."""
    return (folder.path / PLAN).exists() or were_planned(folder)


def end_run(run: Run, exitstatus: int) -> Ended:
    """Write summary and report page."""
    path = run.folder.path / PLAN
    plan = from_json(path.read_bytes(), Plan, where=str(path)) if path.exists() else None
    lines = run.folder.path / RESULTS
    results, problems = read_lines(lines, PointResult) if plan and lines.exists() else ((), ())
    plan = plan or Plan(run.digest, f"Disruptions on {emco_name(run.settings)}", ())
    results, claimed = merged(results, plan), read_claimed(run.folder)
    status, trouble = _status(exitstatus, len(results), len(plan.points()), problems, claimed.trouble)
    summary = RunSummary(
        schema=SCHEMA,
        run=run.folder.run,
        title=plan.title,
        reference=not run.settings.is_real,
        started=run.began.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - run.clock, 2),
        seed=run.settings.seed,
        status=status,  # type: ignore[arg-type]  # one of the three words, see _status
        settings=dict(run.settings.as_json()),
        versions=versions(),
        plan=plan,
        results=results,
        claims=claimed.claims,
        trouble=trouble,
    )
    write_summary(run.folder, summary)
    held = apply(
        run.baseline,
        judged(summary),
        today=run.today,
        selected_ids={point.id for point in plan.points()},
        complete_subjects=claimed.complete,
    )
    verdict = judge(summary, held)
    return Ended(summary, held, verdict, write_signoff(run.folder, summary, verdict, held))


def show(ended: Ended, redactor: Redactor, reporter: "pytest.TerminalReporter") -> None:
    """The end of pytest's output: table per call, claims, what was left behind, counts."""
    summary, text = ended.summary, StringIO()
    console = Console(file=text, force_terminal=reporter.hasmarkup, width=reporter._tw.fullwidth)  # noqa: SLF001  pytest's own plugins do so
    calls = tuple(call for call in summary.plan.calls if call.points)  # what was chosen
    if calls:
        print_table(console, dataclasses.replace(summary, plan=dataclasses.replace(summary.plan, calls=calls)))
    print_claims(console, summary, redactor)
    warned = [result for result in judged(redacted(summary, redactor)) if result.grade is Grade.WARN]
    for result in warned[:_MOST_WARNINGS]:
        console.print(f"warning: {result.id}: {result.reason}", markup=False, highlight=False, soft_wrap=True)
    if len(warned) > _MOST_WARNINGS:
        console.print(f"... and {len(warned) - _MOST_WARNINGS} more warnings; summary.json has all", highlight=False)
    # Without its reasons: they begin with the exit code of `emco-chaos run`, and pytest has its own.
    print_verdict(console, summary, Verdict(0, ()), ended.baseline, redactor)
    for reason in redacted(ended.verdict, redactor).reasons:
        console.print(reason, markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {ended.page}", markup=False, highlight=False, soft_wrap=True)
    reporter.section("EMCO crash points" if calls else "EMCO disruptions")
    reporter.write(text.getvalue())


def _status(
    exitstatus: int, ran: int, planned: int, problems: Sequence[str], unclaimed: Sequence[str]
) -> tuple[str, str]:
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        return "interrupted", "the session was interrupted"
    if exitstatus == pytest.ExitCode.INTERNAL_ERROR or problems:
        return "failed", "; ".join(problems) or "pytest had an internal error"
    if ran < planned:
        return "interrupted", "; ".join([f"{planned - ran} of {planned} points have no result", *unclaimed])
    return ("interrupted", "; ".join(unclaimed)) if unclaimed else ("complete", "")
