"""The command line: `emco-chaos`.

Only the command that was called is imported: what runs an EMCO takes over a second of CPU, and `--help` must not wait.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from harness.faults.victim import HarnessTrouble, ServiceDown, UsageError


@dataclass(frozen=True, slots=True)
class Command:
    """A command that is imported when it is called.

    place: module below harness.commands, and the function in it
    help:  the first paragraph of its docstring, for the list of commands
    panel: the heading above it there; None: the common one
    """

    name: str
    place: str
    help: str
    panel: str | None = None

    def load(self) -> Callable[..., None]:
        """The function, with its options in its signature."""
        module, _, function = self.place.partition(":")
        loaded: Callable[..., None] = getattr(import_module(f"harness.commands.{module}"), function)
        return loaded


_HELP = """Finds, at every write of every mutating EMCO API call, what a crash leaves behind.

Begin with `emco-chaos run`: it starts an EMCO of its own (the reference EMCO, or real binaries with --emco-bin), runs
the workload once to learn every write, crashes the called service at each of them, and judges what is left.

Exit codes: **0** nothing new; **1** findings that are not in the baseline, or a baseline that is not true any more;
**2** wrong usage or settings, nothing was started; **3** unknown outcomes or trouble of the harness.
"""
_OPERATORS = "For operators"
COMMANDS = (
    Command("run", "points:run", "Run the crash points and judge what each leaves behind."),
    Command(
        "replay",
        "points:replay",
        "Run one crash point again and show all that is known of it. Exit code 1 for a failure, accepted or not.",
    ),
    Command(
        "points",
        "points:points",
        "Print the plan: every crash point with its id, counted. Learns first when that was not done; injects nothing.",
    ),
    Command(
        "learn",
        "points:learn",
        "Run every call twice without a fault and show its effects, and what differs from run to run and is masked.",
    ),
    Command("compare", "reports:compare", "Show what is new, gone, worse and better from one run to another."),
    Command("export", "reports:export", "Write one finding as one self-contained file for a bug report."),
    Command("baseline", "reports:baseline", "Accept the failures of a run: write them to a baseline."),
    Command(
        "rollback",
        "leftovers:rollback",
        "Undo what killed runs left behind: processes, folders, objects on clusters. Runs at work are left alone.",
    ),
    Command(
        "up",
        "clusters:up",
        "Make clusters, put EMCO into the hub, and leave them for `--reuse`. The services are those of the workload.",
    ),
    Command("image", "clusters:image", "Build the image that emulated edges run from in pods, and print its name."),
    Command("down", "clusters:down", "Remove clusters that were left, with all they hold."),
    Command("status", "clusters:status", "Show the clusters that were left, and what runs in them."),
    Command(
        "get-emco",
        "images:get",
        "Take a release of EMCO from its container images, to run it as processes: `emco-chaos run --emco VERSION`.",
    ),
    Command(
        "check",
        "operators:check",
        "Is the database of a live EMCO consistent? Reads mongo and etcd, writes nothing.",
        _OPERATORS,
    ),
    Command(
        "backup",
        "operators:backup",
        "Back up a live EMCO: mongo and etcd of one quiet moment, in one file. Stop writing to EMCO meanwhile.",
        _OPERATORS,
    ),
    Command(
        "restore",
        "operators:restore",
        "Restore a backup into empty stores that nobody uses: verified before, compared afterwards.",
        _OPERATORS,
    ),
    Command(
        "backup-info",
        "operators:backup_info",
        "Verify a backup and say what is in it; nothing of its secrets but their names.",
        _OPERATORS,
    ),
)


class _Group(TyperGroup):
    """Knows names and help of all commands; the one that was called is loaded once typer has found it."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # typer brings a click of its own, or did not once
        name, command, rest = super().resolve_command(ctx, args)
        one = next((one for one in COMMANDS if one.name == name), None)
        return name, _loaded(one) if one else command, rest


def _program(**more: Any) -> typer.Typer:
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown", **more)


def _loaded(command: Command) -> Any:
    alone = _program()
    alone.command(command.name)(command.load())
    return typer.main.get_command(alone)


def _listed() -> typer.Typer:
    app = _program(cls=_Group, no_args_is_help=True, help=_HELP)
    for command in COMMANDS:
        app.command(command.name, help=command.help, rich_help_panel=command.panel)(lambda: None)
    return app


def main() -> None:
    """Entry point: errors for people, documented exit codes."""
    try:
        _listed()()
    except UsageError as error:
        typer.echo(f"emco-chaos: {error}", err=True)
        sys.exit(2)
    except (HarnessTrouble, ServiceDown) as error:
        typer.echo(f"emco-chaos: trouble: {error}", err=True)
        sys.exit(3)


if __name__ == "__main__":
    main()
