"""What rsync holds in memory only is missed after its restart, and what never comes to run is missed always.

R10, R11, R16 and R25 each break the claims that are there for them, and no other one. An edge on which pods never
start breaks every claim that an application runs, although EMCO says Instantiated and all is applied: stalled.py is it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from harness.crashpoints.claims import ClaimResult
from harness.crashpoints.outcomes import Outcome

from .runs import claimed

RESTARTS = "scenarios/rsync_crash/test_restarts.py"
SHORT = (f"{RESTARTS}::test_at_rest[not-ready]", f"{RESTARTS}::test_cleanup[8]", f"{RESTARTS}::test_overlap[given-up]")
BROKEN = {
    "rsync_crash/at-rest/not-ready:told-after-restart": Outcome.BROKEN,  # R10
    "rsync_crash/cleanup/8s:reports-removed": Outcome.BROKEN,  # R11
    "rsync_crash/cleanup/8s:consistent": Outcome.BROKEN,  # R16
    "rsync_crash/overlap/given-up:lasts": Outcome.ORPHANS,  # R25
    "rsync_crash/overlap/given-up:consistent": Outcome.BROKEN,  # R25
}
IDLE = (
    "scenarios/store_outage/test_store_outage.py::test_in_event[etcd-refused-1-begun]",
    "scenarios/cluster_partition/test_cluster_partition.py::test_while_away[instantiate/refused/one-of-three]",
)
STALLED = {
    "store_outage/in-event/etcd/refused/1s/begun:reaches-goal": Outcome.STUCK,
    "cluster_partition/instantiate/refused/one-of-three:resumes": Outcome.STUCK,
}


@pytest.mark.timeout(460)
def test_what_one_rsync_holds_in_memory_is_missed_by_the_next_one(tmp_path: Path) -> None:
    summary = claimed(SHORT, reference="R10,R11,R16,R25", folder=tmp_path, limit=400)
    reasons = {one.id: one.reason for one in summary.claims if one.outcome is not Outcome.HOLDS}
    assert _broken(summary.claims) == BROKEN, reasons
    assert reasons["rsync_crash/cleanup/8s:consistent"].startswith("I8-idle: etcd /activecontext/")


@pytest.mark.long
@pytest.mark.timeout(460)
def test_without_defects_every_claim_holds(tmp_path: Path) -> None:
    summary = claimed([RESTARTS, "-m", "not emco_slow"], reference="fixed", folder=tmp_path, limit=400)
    assert _broken(summary.claims) == {}
    assert set(BROKEN) <= {one.id for one in summary.claims}


@pytest.mark.timeout(460)
def test_an_application_that_never_comes_to_run_on_an_edge_counts_as_running_nowhere(tmp_path: Path) -> None:
    summary = claimed([*IDLE, "-p", "tests.power.stalled"], reference="fixed", folder=tmp_path, limit=400)
    assert _broken(summary.claims) == STALLED, [one.reason for one in summary.claims]
    assert "Deployment r1-web on p1+c2 has 0 of 1 replicas ready" in str([one.reason for one in summary.claims])


def _broken(claims: Iterable[ClaimResult]) -> Mapping[str, Outcome]:
    return {one.id: one.outcome for one in claims if one.outcome is not Outcome.HOLDS}
