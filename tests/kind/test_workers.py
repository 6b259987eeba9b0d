"""Several workers, each with a hub of its own: outcomes as on processes, and nothing stays of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.reporting.summary import read_summary
from tests.kind.conftest import CLUSTER, ROOT, Run, docker, gone, proven

WORKLOAD = ROOT / "fixtures" / "workloads" / "onboarding.yaml"
POINTS = ("clm/cluster-providers/create*", "clm/clusters/create*")
FEWEST = 8
NAME = f"{CLUSTER}-pair"
HUBS = [f"{NAME}-w0-hub-control-plane", f"{NAME}-w1-hub-control-plane"]
OPTIONS = ("--workload", str(WORKLOAD), "--faults", "crash", "--no-baseline")
Look = Callable[[], dict[str, list[str]]]


def hubs() -> list[str]:
    """The containers of the sets, running or not."""
    return [one for one in docker("ps", "--all", "--format", "{{.Names}}") if one.startswith(NAME)]


@pytest.fixture(scope="module")
def pair(harness: Run, leftovers: Look) -> Iterator[str]:
    """Two sets that are left for the tests, and are gone afterwards with all they brought."""
    before = leftovers()
    made = harness("up", "--cluster", NAME, "--workers", "2")
    assert made.returncode == 0, made.stderr
    assert hubs() == HUBS
    yield NAME
    removed = harness("down", "--cluster", NAME)
    assert removed.returncode == 0, removed.stderr
    assert gone(leftovers(), before) == {}


@pytest.fixture(scope="module")
def process(harness: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Outcomes of the points on processes."""
    out = tmp_path_factory.mktemp("process")
    ended = harness("run", *POINTS, *OPTIONS, "-n", "1", "--out", str(out))
    assert ended.returncode == 1, ended.stdout + ended.stderr
    return proven(out)


def test_points_of_two_workers_have_the_outcomes_of_processes(
    harness: Run, pair: str, process: dict[str, object], tmp_path: Path
) -> None:
    ended = harness("run", *POINTS, *OPTIONS, "-n", "2", "--platform", "kind", "--cluster", pair, "--reuse",
                    "--out", str(tmp_path))  # fmt: skip
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert len(process) >= FEWEST
    assert proven(tmp_path) == process
    summary = read_summary(tmp_path / "latest")
    used = {name for result in summary.results for name in (f"{pair}-w0", f"{pair}-w1") if name in result.replay}
    assert used == {f"{pair}-w0", f"{pair}-w1"}


def test_two_workers_of_pytest_xdist_use_the_same_two_sets(
    harness: Run, pair: str, process: dict[str, object], tmp_path: Path
) -> None:
    harness(
        "scenarios/crash_mid_call", "-n", "2", "-k", "create-p1 or create-c1", "-m", "not emco_real", "-q",
        "--emco-workload", str(WORKLOAD), "--emco-faults", "crash", "--emco-no-baseline", "--emco-out", str(tmp_path),
        "--emco-platform", "kind", "--emco-cluster", pair, "--emco-reuse",
        module="pytest",
    )  # fmt: skip
    assert {name: found for name, found in proven(tmp_path).items() if name in process} == process
    assert hubs() == HUBS


def test_what_a_killed_run_and_its_killed_workers_leave_is_removed_by_rollback(
    harness: Run, leftovers: Look, tmp_path: Path
) -> None:
    before, name = leftovers(), f"{NAME}-killed"
    run = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", "run", *POINTS, *OPTIONS, "-n", "2", "--platform", "kind",
         "--cluster", name, "--out", str(tmp_path)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wanted = [f"{name}-w0-hub-control-plane", f"{name}-w1-hub-control-plane"]
    deadline = time.monotonic() + 120
    while (there := [one for one in hubs() if one.startswith(name)]) != wanted and time.monotonic() < deadline:
        time.sleep(0.2)  # until docker has made both; bounded by the deadline
    assert there == wanted
    workers = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text(encoding="ascii").split()
    for pid in (run.pid, *map(int, workers)):  # itself first: a worker of a run that has ended takes its clusters down
        os.kill(pid, signal.SIGKILL)
    run.wait(10)
    told = harness("rollback")
    assert f"cluster {name}-w0-hub removed" in told.stdout, told.stdout + told.stderr
    assert f"cluster {name}-w1-hub removed" in told.stdout
    assert gone(leftovers(), before) == {}
