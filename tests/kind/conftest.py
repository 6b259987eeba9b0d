"""A real cluster, as a user has it: all goes through the command line. Skipped, and said why, where it cannot be."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CLUSTER = "emco-chaos-test"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def _missing() -> str:
    if os.environ.get("EMCO_CHAOS_KIND") != "1":
        return "takes a cluster and minutes: `make chaos-kind` or `make kind-smoke` runs it"
    for program in ("docker", "kind"):
        if shutil.which(program) is None:
            return f"{program} is not on PATH"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = _missing()
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.skipif(missing != "", reason=missing))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(1500))
            item.add_marker(pytest.mark.xdist_group("kind"))


@pytest.fixture(scope="session")
def harness() -> Run:
    """`emco-chaos ARGUMENTS`; module="pytest" for another program of Python's.

    With the state of whoever runs the tests, so that `emco-chaos rollback` and `down` find what killed tests leave.
    """

    def run(*arguments: str, module: str = "harness.cli", limit: float = 1400) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def leftovers() -> Callable[[], dict[str, list[str]]]:
    """What docker and the user's kubeconfig hold of a test's clusters: containers, networks, volumes, contexts."""

    def look() -> dict[str, list[str]]:
        kubeconfig = Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
        text = kubeconfig.read_text(encoding="utf-8") if kubeconfig.is_file() else ""
        return {
            "containers": [name for name in docker("ps", "--all", "--format", "{{.Names}}") if CLUSTER in name],
            "networks": docker("network", "ls", "--format", "{{.Name}}"),
            "volumes": docker("volume", "ls", "--format", "{{.Name}}"),
            "contexts": [line.strip() for line in text.splitlines() if CLUSTER in line],
        }

    return look


@pytest.fixture(scope="session")
def cluster(harness: Run, leftovers: Callable[[], dict[str, list[str]]]) -> Iterator[str]:
    """A hub with an EMCO in it; once it is removed everything is as before."""
    before = leftovers()
    made = harness("up", "--cluster", CLUSTER)
    assert made.returncode == 0, made.stderr
    assert "emco/clm: 1 of 2 pods ready" in made.stdout
    if ready := os.environ.get("EMCO_CHAOS_KIND_READY"):  # .ci/run: from now on a hang is no machine that is too slow
        Path(ready).touch()
    yield CLUSTER
    removed = harness("down", "--cluster", CLUSTER)
    assert removed.returncode == 0, removed.stderr
    assert gone(leftovers(), before) == {}


def docker(*arguments: str) -> list[str]:
    """What docker prints, line by line."""
    ended = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True, timeout=60)
    return sorted(ended.stdout.split())


def gone(now: dict[str, list[str]], before: dict[str, list[str]]) -> dict[str, set[str]]:
    """What is there now and was not before, by kind; kind's own network stays, as kind has it."""
    new = {what: set(now[what]) - set(before[what]) - {"kind"} for what in now}
    return {what: names for what, names in new.items() if names}


def proven(out: Path) -> dict[str, Any]:
    """Outcome of every point of the run that was made below this folder; each must be proven."""
    summary = json.loads((out / "latest" / "summary.json").read_text(encoding="utf-8"))
    assert all(result["proof"]["proven"] for result in summary["results"])
    return {
        "{call}@{side}:{effect}~{occurrence}.{fault}".format(**result["point"]): result["outcome"]
        for result in summary["results"]
    }
