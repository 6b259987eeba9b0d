"""The disruptions on a real cluster, by the same experiment files, with the findings that they have on processes."""

from pathlib import Path

import pytest

from tests.kind.conftest import Run

# What stands for a whole scenario where each test takes half a minute or more: of each, what is other in pods.
CHOSEN = {
    "rsync_crash": "instantiate-dig1 and not instantiate-dig1- and after and (configmaps or deployments.crash "
    "or readystatus or State or AppContextEventQueue or activecontext) or overlap or test_at_rest and deleted",
    "namespace_wipe": "test_restored and instantiate-dig1 or test_volumes_are_kept",
    "cluster_partition": "while_away and instantiate and (refused and one or reset or slow) "
    "or given_up and (terminate or restart)",
    "store_outage": "crash_under_load or pod_deleted or volume_lost and mongo or at_rest and crashed or node_restarted",
}


@pytest.mark.parametrize("scenario", CHOSEN)
def test_a_scenario_has_the_findings_that_it_has_on_processes(
    scenario: str, harness: Run, cluster: str, tmp_path: Path
) -> None:
    ended = harness(
        f"scenarios/{scenario}", "-m", "not emco_slow", "-k", CHOSEN[scenario], "--timeout", "900", "-q",
        "--emco-platform", "kind", "--emco-cluster", cluster, "--emco-reuse", "--emco-out", str(tmp_path),
        module="pytest",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-20000:] + ended.stderr[-2000:]
    assert " passed" in ended.stdout or " xfailed" in ended.stdout
