"""Each defect of rsync that its own boundaries show is found there: crashes beside a call, faults of stores.

The switches stand for what was measured on real rsync (docs/findings.md), X7 for what it does not do. What R3, R8, R17
and R22 break is found by scenarios (test_partition.py, test_store_outage.py), and so is what R10, R11 and R16 break
(test_restarts.py).
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from harness.crashpoints.model import Outcome

from .runs import outcomes, run, unproven

_DIG = "orchestrator/deployment-intent-groups/"
_INSTANTIATE = f"{_DIG}instantiate-dig1@"
_TERMINATE = f"{_DIG}terminate-dig1@"
_UPDATE = f"{_DIG}update-dig1@"
_CONFIGMAP = "namespaces/default/configmaps/r1-cm"
_OPTIONS = ("--victims", "rsync", "--faults", "crash,error")

# With R4 the keys that begin a context are writes of their own, so that the status at work is the second one.
TOGETHER: Mapping[str, Mapping[str, Outcome]] = MappingProxyType(
    {
        "R4": {f"{_INSTANTIATE}before:rsync:etcd.put:context/ID/rsync/AppContextEventQueue.error": Outcome.LOST},
        "R5": {
            f"{_TERMINATE}before:rsync:etcd.put:context/ID/status~2.crash": Outcome.STUCK,
            f"{_TERMINATE}after:rsync:etcd.put:context/ID/status~2.crash": Outcome.NEEDS_REPAIR,
        },
        "R15": {f"{_UPDATE}after:rsync:etcd.put:context/ID/status~2.crash": Outcome.STUCK},
        "R23": {
            f"{_TERMINATE}after:rsync:edge.DELETE:api/v1/{_CONFIGMAP}.crash": Outcome.NEEDS_REPAIR,
        },
        "R24": {f"{_TERMINATE}before:rsync:etcd.put:context/ID/rsync/state/DesiredState.error": Outcome.LOST},
        # all is as it should be in the end, but what ran was made anew
        "X7": {f"{_INSTANTIATE}after:rsync:edge.POST:api/v1/namespaces/default/configmaps.crash": Outcome.NEEDS_REPAIR},
    }
)
SOUND = (
    f"{_INSTANTIATE}after:rsync:etcd.put:context/ID/rsync/state/DesiredState.crash",
    f"{_INSTANTIATE}after:rsync:quiet.crash+edges-refused",
    f"{_TERMINATE}before:rsync:edge.DELETE:api/v1/{_CONFIGMAP}.crash",
)
"""Points of the same calls at which none of these defects is."""


@pytest.mark.timeout(360)
def test_defects_of_rsync_are_found_where_they_are(tmp_path: Path) -> None:
    expected = {name: str(outcome) for found in TOGETHER.values() for name, outcome in found.items()}
    found = _outcomes([*expected, *SOUND], ",".join(TOGETHER), tmp_path)
    assert {name: found[name] for name in expected} == expected
    assert {name: found[name] for name in SOUND} == dict.fromkeys(SOUND, str(Outcome.SELF_HEALS))


@pytest.mark.long
@pytest.mark.timeout(360)
@pytest.mark.parametrize(
    "switch, pattern, outcome",
    [
        ("R1", f"{_TERMINATE}*+start-error", Outcome.NEEDS_REPAIR),
        ("R2", f"{_TERMINATE}*+start-error-2", Outcome.NEEDS_REPAIR),
        ("R5", f"{_TERMINATE}before:rsync:etcd.put:context/ID/status~2.crash", Outcome.STUCK),
        ("R15", f"{_UPDATE}after:rsync:etcd.put:context/ID/status.crash", Outcome.STUCK),
        ("R23", f"{_TERMINATE}after:rsync:edge.DELETE:api/*.crash", Outcome.NEEDS_REPAIR),
    ],
)
def test_each_switch_alone_is_found(switch: str, pattern: str, outcome: Outcome, tmp_path: Path) -> None:
    found = _outcomes([pattern], switch, tmp_path)
    assert list(found.values()) == [str(outcome)]


def _outcomes(patterns: list[str], reference: str, folder: Path) -> Mapping[str, str]:
    _, summary = run(patterns, reference=reference, folder=folder, limit=280, options=_OPTIONS)
    assert summary.status == "complete", summary.trouble
    assert unproven(summary) == []
    return outcomes(summary)
