"""`emco-chaos run`, `replay`, `points`, `learn`: what is done at crash points.

Each imports what it does with when it is called with right options: help and wrong ones need not wait for it.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harness.crashpoints.claims import claim_subject
from harness.crashpoints.model import kind_of
from harness.defaults import default_baseline, make_redactor
from harness.evidence.encoding import to_json
from harness.faults.victim import UsageError
from harness.options import EVERYTHING, SYSTEM, AsJson, with_settings
from harness.platforms.settings import FAULTS, Settings
from harness.reporting.baseline import Baseline, read_baseline
from harness.reporting.table import print_plan

Out = Annotated[Path, typer.Option("--out", help="Where the run's folder is made.")]
BaselineFile = Annotated[
    Path | None,
    typer.Option("--baseline", help="Accepted findings.", show_default="the one that belongs to the run, if any"),
]
NoBaseline = Annotated[bool, typer.Option("--no-baseline", help="Accept nothing.")]


@with_settings(*EVERYTHING)
def run(
    points: Annotated[
        list[str] | None, typer.Argument(help="Ids or patterns of crash points.", show_default="all")
    ] = None,
    *,
    settings: Settings,
    shard: Annotated[str, typer.Option(help="Run the K-th of N equal parts of the plan, as K/N.")] = "1/1",
    most: Annotated[
        int | None, typer.Option("--most", min=1, help="Run at most so many points.", show_default="all")
    ] = None,
    out: Out = Path("reports/out"),
    baseline: BaselineFile = None,
    no_baseline: NoBaseline = False,
    as_json: AsJson = False,
) -> None:
    """Run the crash points and judge what each leaves behind."""
    from harness.commands.crashing import run_points
    from harness.session import Chosen

    if not all(pattern.strip() for pattern in points or ()):
        raise UsageError("an id or pattern is empty; without any all points are run")
    chosen = Chosen(tuple(points or ()), _shard(shard), most or 0)
    accepted = _baseline(settings, baseline, no_baseline=no_baseline)
    raise typer.Exit(run_points(settings, chosen, out, accepted, as_json=as_json))


@with_settings(*SYSTEM)
def replay(
    point: Annotated[str, typer.Argument(help="Id of one crash point, as in the plan, a report or a test id.")],
    *,
    settings: Settings,
    out: Out = Path("reports/out"),
    as_json: AsJson = False,
) -> None:
    """Run one crash point again and show all that is known of it. Exit code 1 for a failure, accepted or not."""
    from harness.commands.crashing import run_points
    from harness.session import Chosen

    accepted = next((one for one in _baseline(settings, None, no_baseline=False).entries if one.id == point), None)
    victim, fault = _kind_of_point(point)
    settings = replace(settings, faults=(fault,), victims=(victim,))
    code = run_points(settings, Chosen((point,)), out, Baseline(), as_json=as_json)
    if accepted:
        told = f"accepted as {accepted.outcome} by {accepted.owner} until {accepted.expires}: {accepted.reason}"
        typer.echo(f"known to the baseline of such runs, {told}", err=True)
    raise typer.Exit(code)


@with_settings(*SYSTEM, "faults", "victims")
def points(
    *,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """Print the plan: every crash point with its id, counted. Learns first when that was not done; injects nothing."""
    from harness.learning import learn_plan

    plan = learn_plan(settings, Console(stderr=True))
    if as_json:
        sys.stdout.write(to_json(plan, make_redactor(), indent=True).decode() + "\n")
    else:
        print_plan(Console(), plan)


@with_settings(*SYSTEM)
def learn(
    *,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """Run every call twice without a fault and show its effects, and what differs from run to run and is masked."""
    from harness.learning import learn_everything, print_lessons

    taught = learn_everything(settings, Console(stderr=True))
    if as_json:
        sys.stdout.write(to_json(taught, make_redactor(), indent=True).decode() + "\n")
    else:
        print_lessons(Console(), taught)


def _baseline(settings: Settings, named: Path | None, *, no_baseline: bool) -> Baseline:
    if no_baseline:
        return Baseline()
    path = named or default_baseline(settings)
    return read_baseline(path) if path else Baseline()


def _kind_of_point(point: str) -> tuple[str, str]:
    """Victim and fault, as the settings have to name them for the plan to have this point. Raises UsageError."""
    victim, fault = kind_of(point)
    if "@" not in point or fault not in FAULTS:
        claim = claim_subject(point)
        what = f"that is a claim on {claim}: its finding has a pytest line that checks it again" if claim else _AN_ID
        raise UsageError(f"{point!r} is no id of a crash point; {what}")
    return victim, fault


_AN_ID = "it is CALL@SIDE:EFFECT.FAULT, as `emco-chaos points` lists them"


def _shard(text: str) -> tuple[int, int]:
    number, slash, of = text.partition("/")
    if not (slash and number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise UsageError(f"--shard {text}: K/N is expected, such as 1/4")
    return int(number), int(of)
