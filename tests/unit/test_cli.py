"""The list of commands: true to the commands themselves, which it does not import."""

import inspect
import subprocess
import sys

import pytest

from harness.cli import COMMANDS, Command


@pytest.mark.parametrize("command", COMMANDS, ids=[command.name for command in COMMANDS])
def test_a_command_is_listed_with_what_its_docstring_says_first(command: Command) -> None:
    documentation = inspect.getdoc(command.load()) or ""

    assert command.help == documentation.split("\n\n", maxsplit=1)[0]


def loaded_by(*arguments: str) -> tuple[int, list[str]]:
    """The exit code of a command line, and all modules that it imported."""
    program = (
        "import sys, harness.cli as cli\n"
        f"sys.argv = ['emco-chaos', *{arguments!r}]\n"
        "try:\n    cli.main()\n"
        "finally:\n    print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stderr.splitlines()[-1].split()


def test_help_imports_no_command_and_nothing_that_runs_an_emco() -> None:
    code, loaded = loaded_by("--help")

    heavy = ("harness.commands", "harness.platforms", "aiohttp", "pymongo")
    assert (code, [name for name in loaded if name.startswith(heavy)]) == (0, [])


@pytest.mark.parametrize(
    "arguments, code", [(("run", "--help"), 0), (("run", "--workers", "65"), 2), (("learn", "--workload", "none"), 2)]
)
def test_help_and_wrong_options_wait_for_nothing_that_runs_an_emco(arguments: tuple[str, ...], code: int) -> None:
    ended, loaded = loaded_by(*arguments)

    assert (code, True, False) == (ended, "harness.commands.points" in loaded, "harness.campaign" in loaded)
