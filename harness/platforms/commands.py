"""Programs that the harness asks to do something: docker, kind. Never through a shell, always with a limit."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence

from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.linux import die_with_parent

_MOST_SHOWN = 600
_LONGEST_LINE = 64 * 1024


class CommandFails(HarnessTrouble):
    """A program ended with an exit code other than 0; the sentence holds what it said."""


def need(program: str, purpose: str) -> str:
    """Where a program is. Raises UsageError when it is not on PATH."""
    found = shutil.which(program)
    if found is None:
        raise UsageError(f"{program} is not on PATH; {purpose} needs it")
    return found


async def command(*arguments: str, limit: float, environment: Mapping[str, str] | None = None) -> str:
    """Run a program and return what it printed.

    limit: seconds;  environment: added to the harness's own. Raises CommandFails with the end of what it said.
    """
    process = await begun(arguments, {**os.environ, **(environment or {})})
    try:
        async with asyncio.timeout(limit):
            out, err = await process.communicate()
    except TimeoutError:
        raise CommandFails(f"`{_said(arguments)}` did not end within {limit:g} s") from None
    finally:
        await ended(process)
    if process.returncode != 0:
        said = (err or out).decode("utf-8", "backslashreplace").strip()[-_MOST_SHOWN:]
        raise CommandFails(f"`{_said(arguments)}` ended with exit code {process.returncode}: {said or 'no word'}")
    return out.decode("utf-8", "backslashreplace")


async def begun(
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    stderr: int = asyncio.subprocess.PIPE,
    longest_line: int = _LONGEST_LINE,
) -> asyncio.subprocess.Process:
    """A program that runs, its output to be read. Whoever is cancelled at this very moment has it ended, which asyncio
    does by halves.

    environment: instead of the harness's own;  stderr: as for asyncio;  longest_line: bytes that one line may have
    Raises CommandFails when it cannot be run.
    """
    beginning = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            limit=longest_line,
            env=environment,
            start_new_session=True,  # Ctrl-C in a terminal is for us
            preexec_fn=die_with_parent,
        )
    )
    try:
        return await asyncio.shield(beginning)
    except OSError as error:
        raise CommandFails(f"{arguments[0]} cannot be run: {error.strerror}") from error
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):  # there is nothing to end
            await ended(await beginning)
        raise


async def ended(process: asyncio.subprocess.Process) -> None:
    """End a program with what it has started, which would go on without it. Says nothing when it is over already."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # it ended at this very moment
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _said(arguments: tuple[str, ...]) -> str:
    return " ".join(arguments)[:200]
