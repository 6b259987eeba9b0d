"""The disruptions on real clusters, by the same experiment files, with the findings that they have on processes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kind.conftest import CLUSTER, Run, gone

# What stands for a whole scenario where each test takes half a minute or more: of each, what is other in pods.
CHOSEN = {
    "rsync_crash": "instantiate-dig1 and not instantiate-dig1- and after and (configmaps or deployments.crash "
    "or readystatus or State or AppContextEventQueue or activecontext) or overlap or test_at_rest and deleted",
    "namespace_wipe": "test_restored and instantiate-dig1 or test_volumes_are_kept",
    "cluster_partition": "while_away and instantiate and (refused and one or reset or slow) "
    "or given_up and (terminate or restart)",
    "store_outage": "crash_under_load or pod_deleted or volume_lost and mongo or at_rest and crashed or node_restarted",
}
WORKERS = "2"


@pytest.fixture(scope="module")
def two_hubs(harness: Run, leftovers: Callable[[], dict[str, list[str]]]) -> Iterator[str]:
    """For two workers a hub each with an EMCO in it: the tests wait more than they compute."""
    name, before = f"{CLUSTER}-two", leftovers()
    made = harness("up", "--cluster", name, "--workers", WORKERS)
    try:
        assert made.returncode == 0, made.stderr
        yield name
    finally:  # also of two of which one did not come up
        removed = harness("down", "--cluster", name)
    assert removed.returncode == 0, removed.stderr
    assert gone(leftovers(), before) == {}


def test_the_scenarios_have_the_findings_that_they_have_on_processes(
    harness: Run, two_hubs: str, tmp_path: Path
) -> None:
    chosen = " or ".join(f"{scenario} and ({tests})" for scenario, tests in CHOSEN.items())
    ended = harness(
        *(f"scenarios/{scenario}" for scenario in CHOSEN), "-m", "not emco_slow", "-k", chosen, "--timeout", "900",
        "-n", WORKERS, "--dist", "loadgroup", "--no-loadscope-reorder", "--durations", "0", "-v",
        "--emco-platform", "kind", "--emco-cluster", two_hubs, "--emco-reuse", "--emco-out", str(tmp_path),
        module="pytest",
    )  # fmt: skip
    print(ended.stdout[-20000:])
    assert ended.returncode == 0, ended.stderr[-2000:]
    summary = json.loads((tmp_path / "latest" / "summary.json").read_text(encoding="utf-8"))
    assert summary["status"] == "complete"
    assert len(summary["results"]) > 10  # of rsync
    assert {one["scenario"] for one in summary["claims"]} == set(CHOSEN)
