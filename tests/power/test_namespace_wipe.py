"""Each defect that shows when a store or a key is lost is found by the claims that it breaks, and by no others."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from harness.crashpoints.outcomes import Outcome

from .runs import claimed

TESTS = "scenarios/namespace_wipe/test_namespace_wipe.py"

BROKEN: Mapping[str, Mapping[str, Outcome]] = MappingProxyType(
    {
        # D1: with the records of a newer backup than the contexts, groups name contexts that are not there
        "no-pair/etcd-older": {"api-repairs": Outcome.STUCK, "reclaimed": Outcome.ORPHANS},
        # D2: a service that starts when mongo has lost the schema waits for it for ever
        "no-backup": {"one-restarts": Outcome.NEEDS_REPAIR},
        # D3: what another data key encrypted is taken as it is
        "encrypted/another": {"unreadable-told": Outcome.BROKEN},
    }
)
SILENT = ("restored/instantiate-dig1", "pending", "at-work", "terminated", "refused")
"""What none of the three shows in: a backup that is restored as a pair is as good as what it was made of."""
LEFT_OVER = ("restored/instantiate-dig1", "pending", "at-work", "terminated")
"""Where an update is made after the restore: R16 leaves the active record of the context that it replaces."""


@pytest.mark.timeout(480)
def test_switches_break_their_claims_and_no_others(tmp_path: Path) -> None:
    claims = run("D1,D2,D3", tmp_path, "-k", "etcd-older or without or another")
    assert broken(claims) == {f"{test}:{name}": how for test, names in BROKEN.items() for name, how in names.items()}
    assert {name.partition(":")[0] for name in claims} == set(BROKEN)


@pytest.mark.long
@pytest.mark.timeout(660)
def test_without_defects_every_claim_holds(tmp_path: Path) -> None:
    claims = run("fixed", tmp_path, "-k", "not (update-dig1 or mongo-older or only or none)")
    assert broken(claims) == {}
    assert {name.partition(":")[0] for name in claims} == {*BROKEN, *SILENT}


@pytest.mark.long
@pytest.mark.timeout(480)
def test_a_pair_comes_back_whatever_defects_emco_has(tmp_path: Path) -> None:
    claims = run("faithful", tmp_path, "-k", "restored and instantiate or pending or wiped or terminated or refused")
    assert broken(claims) == {f"{test}:consistent": Outcome.BROKEN for test in LEFT_OVER}
    assert {name.partition(":")[0] for name in claims} == set(SILENT)


def broken(claims: Mapping[str, Outcome]) -> Mapping[str, Outcome]:
    return {name: outcome for name, outcome in claims.items() if outcome is not Outcome.HOLDS}


def run(reference: str, folder: Path, *selection: str) -> Mapping[str, Outcome]:
    """Run tests of the scenario; outcome of all claims by id, without the scenario's name."""
    summary = claimed([TESTS, *selection], reference=reference, folder=folder, limit=580)
    return {claim.id.removeprefix("namespace_wipe/"): claim.outcome for claim in summary.claims}
