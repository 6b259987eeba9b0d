"""Each defect of rsync's and the orchestrator's that shows when an edge is away is found by the claims it breaks.

Every switch is on alone among those that the same variant could show, but for X1, which breaks nothing that others do
not; what is not in the table has to hold. What no switch breaks is in tests/unit/claims/test_partition.py.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from harness.crashpoints.outcomes import Outcome

from .runs import claimed

TESTS = "scenarios/cluster_partition/test_cluster_partition.py"

SWITCHES = "R3,R18,R20,R21,R22,X1,X2"
BROKEN: Mapping[str, Mapping[str, Outcome]] = MappingProxyType(
    {
        "test_given_up[instantiate-restart-rsync]": {  # R3
            "others-removed-at-once": Outcome.BROKEN,
            "nothing-applied-after": Outcome.BROKEN,
            "nothing-left": Outcome.ORPHANS,
            "consistent": Outcome.BROKEN,
        },
        "test_given_up[instantiate-stop]": {  # R22
            "stop-is-told": Outcome.BROKEN,
            "others-removed-at-once": Outcome.BROKEN,
            "nothing-applied-after": Outcome.BROKEN,
        },
        "test_max_retries[instantiate-InstantiateFailed]": {"as-often-as-set": Outcome.BROKEN},  # R18
        "test_at_rest[refused]": {"says-retrying": Outcome.BROKEN},  # R20
        "test_while_away[update/refused/one-of-three]": {"says-retrying": Outcome.BROKEN},  # R21
        "test_while_away[terminate/refused/one-of-three]": {
            "others-go-on": Outcome.BROKEN,  # X1
            "resources-as-said": Outcome.BROKEN,  # X2
            "done-when-done": Outcome.BROKEN,
        },
    }
)
REFUSED: Mapping[str, Mapping[str, Outcome]] = MappingProxyType(
    {
        "test_max_retries[terminate-TerminateFailed]": {  # A7f
            "terminate-accepted": Outcome.NEEDS_REPAIR,
            "nothing-left": Outcome.ORPHANS,
            "consistent": Outcome.BROKEN,
        },
        "test_at_rest[refused]": {"left-alone": Outcome.LOST},  # X3
        "test_given_up[instantiate-stop]": {"stop-ends-tries": Outcome.BROKEN, "stop-is-told": Outcome.BROKEN},  # X4
        "test_given_up[instantiate-restart-rsync]": {  # X5
            "tries-again-after-restart": Outcome.BROKEN,
            "others-removed-at-once": Outcome.BROKEN,
            "nothing-applied-after": Outcome.BROKEN,
        },
    }
)
SILENT: Mapping[str, Mapping[str, Outcome]] = MappingProxyType(
    {
        "test_while_away[instantiate/silent/one-of-three]": {  # R19
            "tries-again": Outcome.BROKEN,
            "says-retrying": Outcome.BROKEN,
        },
    }
)


@pytest.mark.timeout(480)
@pytest.mark.parametrize(
    "switches, broken", [(SWITCHES, BROKEN), ("A7f,X3,X4,X5", REFUSED), ("R19", SILENT)], ids=["rsync", "A7f", "R19"]
)
def test_a_switch_breaks_its_claims_and_no_others(
    switches: str, broken: Mapping[str, Mapping[str, Outcome]], tmp_path: Path
) -> None:
    claims = run(list(broken), reference=switches, folder=tmp_path)
    expected = {f"{test}:{name}": outcome for test, names in broken.items() for name, outcome in names.items()}
    assert {name: outcome for name, outcome in claims.items() if outcome is not Outcome.HOLDS} == expected
    assert len(claims) > len(expected)


def run(tests: list[str], *, reference: str, folder: Path) -> Mapping[str, Outcome]:
    """Run tests of the scenario; `<test>:<claim>` -> outcome of all that was claimed."""
    summary = claimed([f"{TESTS}::{test}" for test in tests], reference=reference, folder=folder, limit=400)
    assert [f"{one.id}: {one.reason}" for one in summary.claims if one.outcome is Outcome.UNKNOWN] == []
    names = {_subject(test): test for test in tests}
    return {f"{names[one.subject]}:{one.name}": one.outcome for one in summary.claims}


def _subject(test: str) -> str:
    """What a test's claims are about: `test_at_rest[refused]` is about cluster_partition/rest/refused/one-of-three."""
    name, _, parameters = test.removesuffix("]").partition("[")
    parts = parameters.split("-", 1)
    variants = {
        "test_while_away": parameters,
        "test_at_rest": f"rest/{parameters}/one-of-three",
        "test_given_up": f"given-up/{parts[-1]}/{parts[0]}/refused/one-of-three",
        "test_max_retries": f"max-retries/{parts[0]}/refused/one-of-three",
    }
    return f"cluster_partition/{variants[name]}"
