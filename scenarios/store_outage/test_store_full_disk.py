"""The disk under a store is full. README.md beside this file says what is claimed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fixtures.claims import claim_steady
from fixtures.experiment import Ran
from harness.chaos import aftermath
from harness.crashpoints.outcomes import Outcome

if TYPE_CHECKING:
    from harness.pytest_claims import Claims

KEPT = "nothing that was acknowledged is missing once there is space and the store is started again"


@pytest.mark.emco_processes("a volume of the cluster's StorageClass is not made smaller")
@pytest.mark.parametrize("store", ["mongo", "etcd"])
def test_full_disk(store: str, experiment: Callable[..., Ran], claims: "Claims") -> None:
    ran = experiment(f"full_disk_{store}.yaml")
    stage = ran.stage
    if none := ran.failure(f"{store} has a small disk"):
        claims.about("store_outage", f"full-disk/{store}", proof="")
        claims.unknown("acknowledged-kept", KEPT, why=none)
        return
    proof = f"{ran.output('the disk is full')}; {ran.output('somebody notices')}; {ran.output('there is space again')}"
    claims.about("store_outage", f"full-disk/{store}", proof=proof)
    claim_steady(claims, ran)
    late = ran.failure("clients are acknowledged again")
    claims.check(
        "serves-again",
        "clients are acknowledged again once there is space and the store is started again",
        holds=not late,
        seen=late or ran.output("clients stop"),
        otherwise=Outcome.STUCK,
    )
    after = stage.snapshots["answered"]
    there = {one.ask.name: stage.clients.took_place(one.ask) for one in stage.load.asked if one.ask.label}
    acknowledged = [one for one in stage.load.asked if one.told.kind == "acknowledged"]
    gone = [one.ask.name for one in acknowledged if not there.get(one.ask.name, True)]
    unkept = aftermath.unkept(stage.history(stage.marked("empty")), after)
    lost = [*gone, *aftermath.lost(stage.snapshots["before"], after), *unkept]
    claims.check(
        "acknowledged-kept",
        KEPT,
        holds=not lost,
        seen=aftermath.shown(lost) or "nothing is missing",
        measured={"acknowledged": len(acknowledged), "lost": len(lost)},
        otherwise=Outcome.LOST,
    )
    refused = [one for one in stage.load.asked if one.told.kind == "refused"]
    left = [one.ask.name for one in refused if there.get(one.ask.name, False)]
    claims.check(
        "refused-leaves-nothing",
        "what was refused for lack of space is not there afterwards",
        holds=not left,
        seen=aftermath.shown(left) or (refused[0].describe() if refused else "nothing was refused"),
        measured={"refused": len(refused), "refused_and_there": len(left)},
    )
