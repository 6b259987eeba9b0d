"""On a real cluster, as a user: brought up, points with the outcomes that they have on processes, left and removed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CLUSTER = "emco-chaos-test"
SAMPLE = (
    "clm/clusters/create-c1@*",
    "dcm/logical-clouds/create-lc1@*",
    "dcm/logical-clouds/instantiate-lc1@*crash",
    "dcm/logical-clouds/delete-lc1@refused*",
)
FEWEST = 25

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def _missing() -> str:
    if os.environ.get("EMCO_CHAOS_KIND") != "1":
        return "takes a cluster and minutes: `make chaos-kind` runs it"
    for program in ("docker", "kind"):
        if shutil.which(program) is None:
            return f"{program} is not on PATH"
    return ""


pytestmark = [
    pytest.mark.skipif(_missing() != "", reason=_missing()),
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("kind"),
]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {name: str(tmp_path_factory.mktemp(name)) for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME")}


@pytest.fixture(scope="module")
def harness(homes: dict[str, str]) -> Run:
    def run(*arguments: str, limit: float = 800) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "harness.cli", *arguments],
            cwd=ROOT,
            env={**os.environ, **homes},
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def cluster(harness: Run) -> Iterator[str]:
    """A hub with an EMCO in it, removed at the end."""
    made = harness("up", "--cluster", CLUSTER)
    assert made.returncode == 0, made.stderr
    assert "emco/clm: 1 of 2 pods ready" in made.stdout
    yield CLUSTER
    removed = harness("down", "--cluster", CLUSTER)
    assert removed.returncode == 0, removed.stderr
    assert containers() == []


def containers(name: str = CLUSTER) -> list[str]:
    listed = subprocess.run(
        ["docker", "ps", "--all", "--format", "{{.Names}}", "--filter", f"name={name}-"],
        capture_output=True,
        text=True,
        check=True,
    )
    return listed.stdout.split()


def outcomes(harness: Run, out: Path, *options: str) -> dict[str, Any]:
    """Outcome of every point of the sample, which must all be proven."""
    ended = harness("run", *SAMPLE, "--no-baseline", "-n", "1", "--out", str(out), *options)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    summary = json.loads((next(out.glob("*/summary.json"))).read_text(encoding="utf-8"))
    assert all(result["proof"]["proven"] for result in summary["results"])
    return {
        "{call}@{side}:{effect}~{occurrence}.{fault}".format(**result["point"]): result["outcome"]
        for result in summary["results"]
    }


def test_points_have_the_same_ids_and_outcomes_as_on_processes(harness: Run, cluster: str, tmp_path: Path) -> None:
    process = outcomes(harness, tmp_path / "process")
    kind = outcomes(harness, tmp_path / "kind", "--platform", "kind", "--cluster", cluster, "--reuse")
    assert len(kind) >= FEWEST
    assert kind == process


def test_a_name_that_is_taken_is_refused(harness: Run, cluster: str) -> None:
    refused = harness("up", "--cluster", cluster)
    assert refused.returncode == 2
    assert f"there is a cluster {cluster}-hub already" in refused.stderr
    assert containers() == [f"{cluster}-hub-control-plane"]


def test_a_killed_harness_leaves_a_cluster_that_rollback_removes(harness: Run, homes: dict[str, str]) -> None:
    name = f"{CLUSTER}-killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", "up", "--cluster", name],
        cwd=ROOT,
        env={**os.environ, **homes},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not containers(name) and time.monotonic() < deadline:
        time.sleep(0.2)  # until docker has made it; bounded by the deadline
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert containers(name) == [f"{name}-hub-control-plane"]
    told = harness("rollback")
    assert f"cluster {name}-hub removed" in told.stdout
    assert containers(name) == []


def test_an_image_that_is_not_there_is_said_before_anything_is_made(harness: Run) -> None:
    refused = harness("up", "--cluster", f"{CLUSTER}-none", "--node-image", "no/such:image")
    assert refused.returncode == 2
    assert "--node-image no/such:image: no such image here" in refused.stderr
    assert containers(f"{CLUSTER}-none") == []
