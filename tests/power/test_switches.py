"""Each defect that is seeded into the reference is found, at the boundary where it is, and nowhere else.

The reference runs with a few switches on, no call touched by two of them, so that whatever is found at a call is the doing
of the one switch. All points of the calls run, crash and disconnect and the refused calls; what is not in the table passes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest

from harness.crashpoints.model import GRADES, Grade, Outcome

from .runs import outcomes, run, unproven

_DIG = "orchestrator/deployment-intent-groups/"
_BOTH = ("crash", "disconnect")
_NEVER_QUEUED = (
    "etcd.put:context/ID",
    "etcd.put:context/ID/meta",
    "etcd.put:context/ID/app/app1",
    "etcd.put:context/ID/app/app1/cluster/p1+c1",
    "etcd.put:context/ID/app/app1/cluster/p1+c1/metaGrp",
    "etcd.put:context/ID/app/app1/cluster/p1+c1/resource/r1-cm+ConfigMap",
    "etcd.put:context/ID/app/app1/cluster/p1+c1/resource/r1-web+Deployment",
    "etcd.put:context/ID/app/app1/cluster/p1+c1/resource/instruction/order",
    "etcd.put:context/ID/app/instruction/order",
    "etcd.put:context/ID/app/instruction/dependency",
)
"""After each of these a group's new context is there that neither a record nor rsync knows."""


@dataclass(frozen=True, slots=True)
class Found:
    """What has to be found at one call: the outcome after each of these effects, by each of these faults."""

    call: str
    outcome: Outcome
    after: tuple[str, ...]
    faults: tuple[str, ...] = _BOTH

    def ids(self) -> Mapping[str, str]:
        side = "refused" if self.faults == ("none",) else "after"
        return {
            f"{self.call}@{side}:{effect}.{fault}": str(self.outcome) for effect in self.after for fault in self.faults
        }


Switches = Mapping[str, tuple[Found, ...]]

# Calls that write records: a table that takes the least time for the most switches.
RECORDS: Switches = MappingProxyType(
    {
        "B1": (Found("clm/clusters/create-c1", Outcome.NEEDS_REPAIR, ("mongo.data", "mongo.stateInfo")),),
        "B2": (Found("clm/clusters/delete-c1", Outcome.NEEDS_REPAIR, ("mongo.delete.cluster",)),),
        "C1": (Found("dcm/logical-clouds/create-lc2", Outcome.STUCK, ("mongo.data", "mongo.privatekey")),),
        "C2": (Found("dcm/logical-clouds/create-lc1", Outcome.STUCK, ("mongo.data",)),),
        "C6": (Found("dcm/logical-clouds/terminate-lc1", Outcome.NEEDS_REPAIR, ("grpc.UninstallApp",)),),
        "A1": (Found(_DIG + "create-dig1", Outcome.NEEDS_REPAIR, ("mongo.data",)),),
        "A2": (Found("orchestrator/apps/create-app1", Outcome.NEEDS_REPAIR, ("mongo.data",)),),
        "A3": (Found("orchestrator/profiles/create-prof1", Outcome.NEEDS_REPAIR, ("mongo.data", "mongo.app")),),
        "A4": (Found("orchestrator/app-intents/create-ai1", Outcome.NEEDS_REPAIR, ("mongo.data",)),),
        "A12u": (Found(_DIG + "delete-dig1", Outcome.STUCK, ("has-children",), ("none",)),),
    }
)


@pytest.mark.timeout(300)
def test_defects_of_records_are_found_where_they_are_and_nowhere_else(tmp_path: Path) -> None:
    _detects(RECORDS, tmp_path)


def _detects(switches: Switches, folder: Path) -> None:
    places = [found for places in switches.values() for found in places]
    calls = [found.call for found in places]
    code, summary = run(
        [f"{call}@*" for call in dict.fromkeys(calls)], reference=",".join(switches), folder=folder, limit=280
    )
    assert summary.status == "complete", summary.trouble
    assert unproven(summary) == []
    expected = {name: outcome for found in places for name, outcome in found.ids().items()}
    assert {name: outcome for name, outcome in outcomes(summary).items() if _is_finding(outcome)} == expected
    assert code == 1


def _is_finding(outcome: str) -> bool:
    return GRADES[Outcome(outcome)] is not Grade.PASS


@pytest.mark.parametrize("switches", [RECORDS], ids=["records"])
def test_no_call_is_touched_by_two_switches_of_a_table(switches: Switches) -> None:
    owners: dict[str, set[str]] = {}
    for switch, places in switches.items():
        for found in places:
            owners.setdefault(found.call, set()).add(switch)
    assert {call: names for call, names in owners.items() if len(names) > 1} == {}
