"""A careless backup, a careless restore and a mongo that forgets are found by the claims that they break.

EMCO has no part in these claims, so that no switch of the reference breaks them; careless.py does.
"""

from pathlib import Path

import pytest

from harness.crashpoints.outcomes import Outcome

from .runs import claimed

WIPE = "scenarios/namespace_wipe/test_namespace_wipe.py"
TESTS = (
    f"{WIPE}::test_refused",
    f"{WIPE}::test_backup_with_pending_events",
    f"{WIPE}::test_wiped_at_work",
    f"{WIPE}::test_data_key[another]",
    "scenarios/store_outage/test_store_loss.py::test_crash_under_load[mongo]",
)
BROKEN = {
    "namespace_wipe/refused:services-run": Outcome.BROKEN,
    "namespace_wipe/refused:spoilt-records": Outcome.BROKEN,
    "namespace_wipe/refused:spoilt-contexts": Outcome.BROKEN,
    "namespace_wipe/refused:not-empty": Outcome.BROKEN,
    "namespace_wipe/refused:consistent": Outcome.BROKEN,
    "namespace_wipe/pending:refused-at-work": Outcome.BROKEN,
    "namespace_wipe/pending:invariants": Outcome.BROKEN,
    "namespace_wipe/at-work:records": Outcome.LOST,
    "namespace_wipe/at-work:contexts": Outcome.LOST,
    "namespace_wipe/at-work:invariants": Outcome.BROKEN,
    "namespace_wipe/encrypted/another:refused": Outcome.BROKEN,
    "namespace_wipe/encrypted/another:unreadable-told": Outcome.UNKNOWN,  # nor can it be restored by force then
    "store_outage/crash-under-load/mongo:acknowledged-kept": Outcome.LOST,
}


@pytest.mark.timeout(360)
def test_carelessness_breaks_its_claims_and_no_others(tmp_path: Path) -> None:
    run = [*TESTS, "-p", "tests.power.careless"]
    claims = claimed(run, reference="fixed", folder=tmp_path, limit=280).claims
    assert {one.id: one.outcome for one in claims if one.outcome is not Outcome.HOLDS} == BROKEN
