"""Without the node: pods are deleted, deaths are seen from outside, and every point comes out as with the node."""

import json
import re
from pathlib import Path
from typing import Any

from tests.kind.conftest import Run, proven
from tests.kind.test_smoke import FEWEST, POINTS, WORKLOAD

SEEN = re.compile(r"pod \S+ deleted with grace period 0, its connections ended after (\d+\.\d) s")


def outcomes(harness: Run, out: Path, cluster: str, *options: str) -> dict[str, Any]:
    """Outcome of every point, which must all be proven."""
    ended = harness(
        "run", *POINTS, "--workload", WORKLOAD, "--faults", "crash", "--no-baseline", "-n", "1",
        "--platform", "kind", "--cluster", cluster, "--reuse", "--out", str(out), *options,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stdout + ended.stderr
    return proven(out)


def test_points_have_the_same_outcomes_without_the_node(harness: Run, cluster: str, tmp_path: Path) -> None:
    without = outcomes(harness, tmp_path / "without", cluster, "--node-access", "none")
    assert len(without) >= FEWEST
    assert without == outcomes(harness, tmp_path / "with", cluster)
    summary = json.loads((tmp_path / "without" / "latest" / "summary.json").read_text(encoding="utf-8"))
    proofs = [result["proof"]["how"] for result in summary["results"]]
    assert [how for how in proofs if not SEEN.match(how)] == []
    assert summary["performance"]["longest_overlap_seconds"] > 0
