"""Each defect that shows when a store fails is found by the claims that it breaks, and by no others.

The switches of a table are on together, none of them touching what another one breaks; `fixed` breaks nothing.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.crashpoints.outcomes import Outcome

from . import runs
from .runs import claimed, outcomes, unproven

SCENARIO = "scenarios/store_outage"

BROKEN: Mapping[str, Mapping[str, Outcome]] = {
    "R1": {"restore/errors:goes-on": Outcome.NEEDS_REPAIR},
    "R8": {"queue:truthful": Outcome.ORPHANS, "queue:consistent": Outcome.BROKEN},
    "R17": {"in-event/etcd/refused/1s/done:reaches-goal": Outcome.NEEDS_REPAIR},
    "S1": {"schema/clm:serves-creates": Outcome.NEEDS_REPAIR},
    "S2": {"existing:not-replaced": Outcome.LOST, "existing:refused": Outcome.BROKEN},
    "D2": {"volume-lost/mongo:restart-works": Outcome.NEEDS_REPAIR},
    "D1": {"volume-lost/etcd:removable": Outcome.STUCK},
    "X6": {"before-start/both/1s:nothing-lost": Outcome.LOST},
}
TESTS = (
    "test_store_start.py::test_etcd_fails_when_rsync_asks_what_is_active",
    "test_store_start.py::test_mongo_fails_at_the_schema[clm-/v2/cluster-providers]",
    "test_store_questions.py",
    "test_store_outage.py::test_in_event[etcd-refused-1-done]",
    "test_store_loss.py::test_volume_lost",
    "test_store_start.py::test_before_start[both-1]",
)


@pytest.mark.timeout(360)
def test_switches_break_their_claims_and_no_others(tmp_path: Path) -> None:
    # R25 as well: without it rsync looks at its queue at every try, and uses up the resets of R8's question.
    claims = run(reference=",".join((*BROKEN, "R25")), folder=tmp_path)
    expected = {name: outcome for broken in BROKEN.values() for name, outcome in broken.items()}
    assert {name: outcome for name, outcome in claims.items() if outcome is not Outcome.HOLDS} == expected


@pytest.mark.long
@pytest.mark.timeout(360)
def test_without_defects_every_claim_holds(tmp_path: Path) -> None:
    claims = run(reference="fixed", folder=tmp_path)
    assert {name: outcome for name, outcome in claims.items() if outcome is not Outcome.HOLDS} == {}
    assert {name for broken in BROKEN.values() for name in broken} <= set(claims)


def run(*, reference: str, folder: Path) -> Mapping[str, Outcome]:
    """Run the tests; outcome of all claims by id, without the scenario's name."""
    summary = claimed([f"{SCENARIO}/{test}" for test in TESTS], reference=reference, folder=folder, limit=280)
    return {one.id.removeprefix("store_outage/"): one.outcome for one in summary.claims}


@pytest.mark.timeout(240)
def test_a_store_that_fails_at_one_write_shows_who_does_not_look(tmp_path: Path) -> None:
    deleted = "clm/clusters/delete-c1@before:mongo.delete.cloudConfigCluster"
    recorded = "dcm/logical-clouds/instantiate-lc1@after:mongo.stateInfo"
    code, summary = runs.run(
        [f"{deleted}.*", f"{recorded}.reset"],
        reference="B2,B2s,C3,C3s,D1",
        folder=tmp_path,
        limit=150,
        options=["--faults", "reset,error"],
    )
    assert unproven(summary) == []
    assert outcomes(summary) == {
        f"{deleted}.reset": Outcome.LOST,
        f"{deleted}.error": Outcome.LOST,
        f"{recorded}.reset": Outcome.STUCK,
    }
    assert code == 1
