"""A run of crash points at a terminal: its folder, its progress, its tables, its report."""

import secrets
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.defaults import make_redactor
from harness.evidence.redaction import Redactor
from harness.evidence.run_folder import create_run_folder, run_id
from harness.faults import journal
from harness.faults.victim import UsageError
from harness.platforms.opening import resting
from harness.platforms.settings import Settings
from harness.reporting.baseline import Baseline
from harness.reporting.progress import Progress
from harness.reporting.signoff import write_signoff
from harness.reporting.table import print_findings, print_table, print_verdict
from harness.reporting.words import counted
from harness.session import Chosen, ConsoleWatcher, Ended, run
from harness.work import prepare


def run_points(settings: Settings, chosen: Chosen, out: Path, accepted: Baseline, *, as_json: bool) -> int:
    """Run the chosen points, show what came of it; the exit code. `out`: where the run's folder is made."""
    work = prepare(settings)  # wrong files are refused before a folder is made
    hide = make_redactor()
    try:
        folder = create_run_folder(out, run=run_id(datetime.now(UTC), secrets.token_hex(2)), redactor=hide)
    except OSError as error:
        raise UsageError(f"--out {out}: no folder can be made there: {error.strerror}") from error
    console = Console(stderr=as_json)
    if killed := len(journal.orphaned(settings.state_folder / "undo")):
        what = f"{counted(killed, 'journal')} of runs that were killed"
        console.print(f"{what}: `emco-chaos rollback` removes what they left", highlight=False)
    console.print(f"seed {settings.seed}, {settings.workers} workers, run {folder.path}", highlight=False)
    if idle := resting(settings, work.services):
        console.print(
            f"not needed by the workload, and stopped until the end of the run: {', '.join(idle)}", highlight=False
        )
    watcher = ConsoleWatcher(console, Progress(console, clock=time.monotonic))

    def show(plan: Any) -> None:
        folder.write_json("plan.json", plan)

    try:
        ended = run(settings, chosen, folder, accepted, watcher, show=show)
    except UsageError:
        folder.discard()
        raise
    _report(ended, console, hide, as_json=as_json)
    return ended.verdict.code


def _report(ended: Ended, console: Console, hide: Redactor, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write((ended.folder.path / "summary.json").read_text(encoding="utf-8"))
    else:
        print_findings(console, ended.summary, hide, baseline=ended.baseline)
        console.print()
        print_table(console, ended.summary)
    print_verdict(console, ended.summary, ended.verdict, ended.baseline, hide)
    page = write_signoff(ended.folder, ended.summary, ended.verdict, ended.baseline)
    console.print(f"report: {page}", highlight=False, soft_wrap=True)
