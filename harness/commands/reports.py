"""`emco-chaos compare`, `export`, `baseline`: what is done with the summary of a run."""

import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harness.defaults import make_redactor
from harness.evidence.encoding import to_json
from harness.faults.victim import UsageError
from harness.options import AsJson
from harness.reporting import baseline as baselines
from harness.reporting.compare import compare as compare_runs
from harness.reporting.export import export_markdown
from harness.reporting.findings import judged
from harness.reporting.summary import read_summary
from harness.reporting.table import print_comparison
from harness.reporting.words import counted


def compare(
    run_a: Annotated[Path, typer.Argument(help="Folder or summary.json of the earlier run.")],
    run_b: Annotated[Path, typer.Argument(help="Folder or summary.json of the later run.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show what is new, gone, worse and better from one run to another."""
    comparison = compare_runs(read_summary(run_a), read_summary(run_b))
    if as_json:
        sys.stdout.write(to_json(comparison, make_redactor(), indent=True).decode() + "\n")
    else:
        print_comparison(Console(), comparison)


def export(
    run_folder: Annotated[Path, typer.Argument(help="Folder or summary.json of a run.")],
    point: Annotated[str, typer.Argument(help="Id of the finding.")],
    to: Annotated[Path | None, typer.Option("--to", help="File to write.", show_default="standard output")] = None,
) -> None:
    """Write one finding as one self-contained file for a bug report."""
    text = export_markdown(read_summary(run_folder), point, make_redactor())
    if to is None:
        sys.stdout.write(text)
        return
    try:
        to.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--to {to}: cannot be written: {error.strerror}") from error


def baseline(
    run_folder: Annotated[Path, typer.Argument(help="Folder or summary.json of a run.")],
    file: Annotated[Path, typer.Argument(help="Baseline to write; entries that are there keep reason and owner.")],
    *,
    reason: Annotated[str, typer.Option(help="Why the findings are accepted.")],
    owner: Annotated[str, typer.Option(help="Who answers for them.")],
    days: Annotated[int, typer.Option(help="For how many days.", min=1)] = 90,
) -> None:
    """Accept the failures of a run: write them to a baseline."""
    today = date.today()  # noqa: DTZ011  expiry dates are local days
    previous = baselines.read_baseline(file) if file.exists() else baselines.Baseline()
    until = today + timedelta(days=days)
    results = judged(read_summary(run_folder))
    made = baselines.from_run(results, previous, today=today, reason=reason, owner=owner, expires=until)
    baselines.write_baseline(file, made)
    had, has = {one.id for one in previous.entries}, {one.id for one in made.entries}
    kept = f"{len(has - had)} new" if had else "all new"
    gone = f"; {counted(len(had - has), 'that passes', 'that pass')} left the file" if had - has else ""
    typer.echo(f"{file}: {counted(len(has), 'accepted finding')}, {kept}{gone}")
