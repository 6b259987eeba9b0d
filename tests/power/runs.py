"""Whole runs of the product for tests: the command line in folders of its own, and what its summary says."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from harness.crashpoints.model import CrashPoint, Plan, RunSummary
from harness.reporting.summary import read_summary

ROOT = Path(__file__).parents[2]


def run(
    patterns: Sequence[str],
    *,
    reference: str,
    folder: Path,
    limit: float,
    workers: int = 2,
    options: Sequence[str] = (),
) -> tuple[int, RunSummary]:
    """Run the points that fit the patterns, nothing accepted. Returns the exit code and the summary.

    folder: for all that the run makes;  limit: seconds, after which it is ended and the test fails
    options: more of the command line's
    """
    out = folder / "out"
    usual = ["--reference", reference, "--no-baseline", "--workers", str(workers), "--out", str(out)]
    code, text = _python(["harness.cli", "run", *patterns, *usual, *options], folder, limit)
    found = [path for path in out.glob("*/summary.json") if not path.parent.is_symlink()]
    assert len(found) == 1, text[-3000:]
    return code, read_summary(found[0])


def claimed(tests: Sequence[str], *, reference: str, folder: Path, limit: float) -> RunSummary:
    """Run tests of scenarios (and options of pytest), two at a time, nothing accepted. Returns the summary."""
    out = folder / "out"
    usual = ["-n", "2", "--dist", "load", "--emco-no-baseline", "--emco-reference", reference, "--emco-out", str(out)]
    code, text = _python(["pytest", *tests, *usual], folder, limit)
    assert code in (0, 1), text[-3000:]
    return read_summary(out / "latest")


def planned(*, reference: str, folder: Path, limit: float, options: Sequence[str] = ()) -> tuple[CrashPoint, ...]:
    """All points there are. What is learned for it is kept in the folder, for a run after it."""
    code, text = _python(["harness.cli", "points", "--reference", reference, "--json", *options], folder, limit)
    assert code == 0, text[-3000:]
    return msgspec.json.decode(text, type=Plan).points()


def _python(module: Sequence[str], folder: Path, limit: float) -> tuple[int, str]:
    """Exit code and standard output of a module with its arguments, in homes of its own."""
    homes = {name: str(folder / name) for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME")}
    command = [sys.executable, "-m", *module]
    with (
        (folder / "errors.log").open("w") as errors,
        subprocess.Popen(
            command, cwd=ROOT, env=os.environ | homes, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            text, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.terminate()  # it undoes what it started
            try:
                text, _ = process.communicate(timeout=60)
            finally:
                process.kill()
            raise AssertionError(f"{' '.join(module[:2])} was not over in {limit:g} s: {text[-2000:]}") from None
    return process.returncode, text + (folder / "errors.log").read_text()[-3000:] if process.returncode else text


def outcomes(summary: RunSummary) -> Mapping[str, str]:
    """The outcome of every point by its id."""
    return {result.point.id: str(result.outcome) for result in summary.results}


def unproven(summary: RunSummary) -> list[str]:
    """Points whose fault is not proven, each with what happened instead."""
    return [f"{result.point.id}: {result.proof.how}" for result in summary.results if not result.proof.proven]
