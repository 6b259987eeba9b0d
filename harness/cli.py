"""The command line: `emco-chaos`."""

import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from harness import cli_images, cli_operators
from harness.campaign import prepare
from harness.clusters import down, status, up
from harness.crashpoints.model import kind_of
from harness.defaults import default_baseline, default_folders, make_redactor
from harness.evidence.encoding import MalformedError, to_json
from harness.evidence.redaction import Redactor
from harness.evidence.run_folder import create_run_folder, run_id
from harness.faults import journal
from harness.faults.victim import HarnessTrouble, ServiceDown, UsageError
from harness.learning import learn_everything, learn_plan, print_lessons
from harness.options import EVERYTHING, SYSTEM, with_settings
from harness.platforms.edges.running import CLUSTER_UNDOERS
from harness.platforms.kind.clusters import KIND_UNDOERS
from harness.platforms.kind.machine import MACHINE_UNDOERS
from harness.platforms.kubernetes.installed import INSTALLED_UNDOERS
from harness.platforms.settings import Settings
from harness.reporting import baseline as baselines
from harness.reporting.compare import compare as compare_runs
from harness.reporting.export import NoSuchPointError, export_markdown
from harness.reporting.findings import judged
from harness.reporting.progress import Progress
from harness.reporting.signoff import write_signoff
from harness.reporting.summary import read_summary
from harness.reporting.table import print_comparison, print_findings, print_plan, print_table, print_verdict
from harness.session import Chosen, ConsoleWatcher, Ended
from harness.session import run as run_session

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""Finds, at every write of every mutating EMCO API call, what a crash leaves behind.

Begin with `emco-chaos run`: it starts an EMCO of its own (the reference EMCO, or real binaries with --emco-bin), runs
the workload once to learn every write, crashes the called service at each of them, and judges what is left.

Exit codes: **0** nothing new; **1** findings that are not in the baseline, or a baseline that is not true any more;
**2** wrong usage or settings, nothing was started; **3** unknown outcomes or trouble of the harness.
""",
)

Out = Annotated[Path, typer.Option("--out", help="Where the run's folder is made.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output instead of tables.")]
BaselineFile = Annotated[
    Path | None,
    typer.Option("--baseline", help="Accepted findings.", show_default="the one that belongs to the run, if any"),
]
NoBaseline = Annotated[bool, typer.Option("--no-baseline", help="Accept nothing.")]


@app.command()
@with_settings(*EVERYTHING)
def run(
    points: Annotated[
        list[str] | None, typer.Argument(help="Ids or patterns of crash points.", show_default="all")
    ] = None,
    *,
    settings: Settings,
    shard: Annotated[str, typer.Option(help="Run the K-th of N equal parts of the plan, as K/N.")] = "1/1",
    most: Annotated[int, typer.Option("--most", min=0, help="Run at most so many points.", show_default="all")] = 0,
    out: Out = Path("reports/out"),
    baseline: BaselineFile = None,
    no_baseline: NoBaseline = False,
    as_json: AsJson = False,
) -> None:
    """Run the crash points and judge what each leaves behind."""
    chosen = Chosen(tuple(points or ()), _shard(shard), most)
    _do(settings, chosen, out, _baseline(settings, baseline, no_baseline=no_baseline), as_json=as_json)


@app.command()
@with_settings(*SYSTEM)
def replay(
    point: Annotated[str, typer.Argument(help="Id of one crash point, as in the plan, a report or a test id.")],
    *,
    settings: Settings,
    out: Out = Path("reports/out"),
    as_json: AsJson = False,
) -> None:
    """Run one crash point again and show all that is known of it. Exit code 1 when it is a failure."""
    victim, fault = kind_of(point)
    settings = replace(settings, faults=(fault,), victims=(victim,))
    _do(settings, Chosen((point,)), out, baselines.Baseline(), as_json=as_json)


@app.command()
@with_settings(*SYSTEM, "faults", "victims")
def points(
    *,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """Print the plan: every crash point with its id, counted. Learns first when that was not done; injects nothing."""
    plan = learn_plan(settings, Console(stderr=True))
    if as_json:
        sys.stdout.write(to_json(plan, make_redactor(), indent=True).decode() + "\n")
    else:
        print_plan(Console(), plan)


@app.command()
@with_settings(*SYSTEM)
def learn(
    *,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """Run every call twice without a fault and show its effects, and what differs from run to run and is masked."""
    taught = learn_everything(settings, Console(stderr=True))
    if as_json:
        sys.stdout.write(to_json(taught, make_redactor(), indent=True).decode() + "\n")
    else:
        print_lessons(Console(), taught)


@app.command()
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


@app.command()
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


@app.command("baseline")
def write_baseline(
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
    typer.echo(f"{file}: {len(made.entries)} accepted findings")


@app.command()
def rollback() -> None:
    """Undo what killed runs left behind: processes, folders, objects on clusters. Runs still at work are left alone."""
    folder = default_folders()["state_folder"] / "undo"
    played = 0
    for path in sorted(folder.glob("*.undo")) if folder.is_dir() else ():
        if journal.owner_alive(path):
            typer.echo(f"{path.name}: its run is still at work, left alone")
            continue
        for sentence in journal.rollback(
            path,
            undoers={**journal.UNDOERS, **CLUSTER_UNDOERS, **KIND_UNDOERS, **MACHINE_UNDOERS, **INSTALLED_UNDOERS},
        ):
            typer.echo(sentence)
            played += 1
    typer.echo(f"{played} acts undone" if played else "nothing to undo")


for _command in (up, down, status):
    app.command()(_command)
app.command("get-emco")(cli_images.get)
cli_operators.register(app)


def _do(settings: Settings, chosen: Chosen, out: Path, accepted: baselines.Baseline, *, as_json: bool) -> None:
    prepare(settings)  # wrong files are refused before a folder is made
    hide = make_redactor()
    try:
        folder = create_run_folder(out, run=run_id(datetime.now(UTC), secrets.token_hex(2)), redactor=hide)
    except OSError as error:
        raise UsageError(f"--out {out}: no folder can be made there: {error.strerror}") from error
    console = Console(stderr=as_json)
    console.print(f"seed {settings.seed}, {settings.workers} workers, run {folder.path}", highlight=False)
    watcher = ConsoleWatcher(console, Progress(console, clock=time.monotonic))

    def show(plan: Any) -> None:
        folder.write_json("plan.json", plan)

    ended = run_session(settings, chosen, folder, accepted, watcher, show=show)
    _report(ended, console, hide, as_json=as_json)
    raise typer.Exit(ended.verdict.code)


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


def _baseline(settings: Settings, named: Path | None, *, no_baseline: bool) -> baselines.Baseline:
    if no_baseline:
        return baselines.Baseline()
    path = named or default_baseline(settings)
    return baselines.read_baseline(path) if path else baselines.Baseline()


def _shard(text: str) -> tuple[int, int]:
    number, slash, of = text.partition("/")
    if not (slash and number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise UsageError(f"--shard {text}: K/N is expected, such as 1/4")
    return int(number), int(of)


def main() -> None:
    """Entry point: errors for people, documented exit codes."""
    stop: Callable[[str], None] = lambda text: typer.echo(f"emco-chaos: {text}", err=True)  # noqa: E731  one line
    try:
        app()
    except (UsageError, baselines.BaselineError, MalformedError, NoSuchPointError) as error:
        stop(str(error))
        sys.exit(2)
    except (HarnessTrouble, ServiceDown) as error:
        stop(f"trouble of the harness: {error}")
        sys.exit(3)


if __name__ == "__main__":
    main()
