"""On a real cluster, as a user: points with the outcomes that they have on processes, what is refused, what is left."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.kind.conftest import CLUSTER, ROOT, Run, docker, gone, proven

SAMPLE = (
    "clm/clusters/create-c1@*",
    "dcm/logical-clouds/create-lc1@*",
    "dcm/logical-clouds/instantiate-lc1@*crash",
    "dcm/logical-clouds/delete-lc1@refused*",
)
FEWEST = 25
Look = Callable[[], dict[str, list[str]]]


def outcomes(harness: Run, out: Path, *options: str) -> dict[str, Any]:
    """Outcome of every point of the sample, which must all be proven."""
    ended = harness("run", *SAMPLE, "--no-baseline", "-n", "1", "--out", str(out), *options)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    return proven(out)


def test_points_have_the_same_ids_and_outcomes_as_on_processes(harness: Run, cluster: str, tmp_path: Path) -> None:
    process = outcomes(harness, tmp_path / "process")
    kind = outcomes(harness, tmp_path / "kind", "--platform", "kind", "--cluster", cluster, "--reuse")
    assert len(kind) >= FEWEST
    assert kind == process


def test_a_name_that_is_taken_is_refused(harness: Run, cluster: str) -> None:
    refused = harness("up", "--cluster", cluster)
    assert refused.returncode == 2
    assert f"there is a cluster {cluster}-hub already" in refused.stderr
    assert containers(cluster) == [f"{cluster}-hub-control-plane"]


def test_a_killed_harness_leaves_a_cluster_that_rollback_removes(harness: Run, leftovers: Look) -> None:
    name, before = f"{CLUSTER}-killed", leftovers()
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", "up", "--cluster", name],
        cwd=ROOT,
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
    assert gone(leftovers(), before) == {}


def test_an_image_that_is_not_there_is_said_before_anything_is_made(harness: Run) -> None:
    refused = harness("up", "--cluster", f"{CLUSTER}-none", "--node-image", "no/such:image")
    assert refused.returncode == 2
    assert "--node-image no/such:image: no such image here" in refused.stderr
    assert containers(f"{CLUSTER}-none") == []


def containers(name: str) -> list[str]:
    """Names of the set's containers."""
    return [one for one in docker("ps", "--all", "--format", "{{.Names}}") if one.startswith(f"{name}-hub")]
