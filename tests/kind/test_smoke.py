"""The least that says that EMCO on kind works, for CI: install, ten crash points, a wiped namespace, an edge away."""

from pathlib import Path

from harness.reporting.summary import read_summary
from tests.kind.conftest import ROOT, Run, proven

WORKLOAD = str(ROOT / "fixtures" / "workloads" / "onboarding.yaml")
POINTS = ("clm/clusters/*", "clm/cluster-providers/create*")
FEWEST = 10
DISRUPTIONS = "test_restored and instantiate-dig1 or test_while_away and instantiate/reset"


def outcomes(harness: Run, out: Path, *options: str) -> dict[str, object]:
    """Outcome of every point of a small workload."""
    ended = harness(
        "run", *POINTS, "--workload", WORKLOAD, "--faults", "crash", "--no-baseline", "-n", "1",
        "--out", str(out), *options,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stdout + ended.stderr
    return proven(out)


def test_crash_points_and_disruptions(harness: Run, cluster: str, tmp_path: Path) -> None:
    kind = outcomes(harness, tmp_path / "kind", "--platform", "kind", "--cluster", cluster, "--reuse")
    assert len(kind) >= FEWEST
    assert kind == outcomes(harness, tmp_path / "process")
    ended = harness(
        "scenarios/namespace_wipe", "scenarios/cluster_partition", "-k", DISRUPTIONS, "--timeout", "300", "-q",
        "-m", "not emco_slow", "--emco-platform", "kind", "--emco-cluster", cluster, "--emco-reuse",
        "--emco-out", str(tmp_path / "disruptions"),
        module="pytest",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-20000:] + ended.stderr[-2000:]
    claims = read_summary(tmp_path / "disruptions" / "latest").claims
    assert {one.subject.partition("/")[0] for one in claims} == {"namespace_wipe", "cluster_partition"}
