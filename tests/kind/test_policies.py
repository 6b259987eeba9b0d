"""A partition by NetworkPolicy: where the network enforces none, this is seen, and nothing is claimed of it."""

from pathlib import Path

from tests.kind.conftest import Run


def test_a_policy_partitions_an_edge_or_it_is_said_that_none_can(harness: Run, cluster: str, tmp_path: Path) -> None:
    ended = harness(
        "scenarios/cluster_partition", "-k", "test_policy", "--timeout", "900", "-q", "-rs",
        "--emco-platform", "kind", "--emco-cluster", cluster, "--emco-reuse", "--emco-out", str(tmp_path),
        module="pytest",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-20000:] + ended.stderr[-2000:]
    enforced = "1 passed" in ended.stdout
    assert enforced or "NetworkPolicies are not enforced here" in ended.stdout
    held = [path for path in tmp_path.glob("*/claims.json") if "holds" in path.read_text(encoding="utf-8")]
    assert enforced or not held
