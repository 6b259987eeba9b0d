"""`emco-chaos run`, `replay`, `points`, `learn`: what is done at crash points.

Each imports what it does with when it is called with right options: help and wrong ones need not wait for it.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harness.crashpoints.model import kind_of
from harness.defaults import default_baseline, make_redactor
from harness.evidence.encoding import to_json
from harness.faults.victim import UsageError
from harness.options import EVERYTHING, SYSTEM, AsJson, with_settings
from harness.platforms.settings import Settings
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
    most: Annotated[int, typer.Option("--most", min=0, help="Run at most so many points.", show_default="all")] = 0,
    out: Out = Path("reports/out"),
    baseline: BaselineFile = None,
    no_baseline: NoBaseline = False,
    as_json: AsJson = False,
) -> None:
    """Run the crash points and judge what each leaves behind."""
    from harness.commands.crashing import run_points
    from harness.session import Chosen

    chosen = Chosen(tuple(points or ()), _shard(shard), most)
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
    """Run one crash point again and show all that is known of it. Exit code 1 when it is a failure."""
    from harness.commands.crashing import run_points
    from harness.session import Chosen

    victim, fault = kind_of(point)
    settings = replace(settings, faults=(fault,), victims=(victim,))
    raise typer.Exit(run_points(settings, Chosen((point,)), out, Baseline(), as_json=as_json))


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


def _shard(text: str) -> tuple[int, int]:
    number, slash, of = text.partition("/")
    if not (slash and number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise UsageError(f"--shard {text}: K/N is expected, such as 1/4")
    return int(number), int(of)
