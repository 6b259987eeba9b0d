"""A store crashes under load, with its volume and without. README.md says what is claimed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fixtures.claims import claim_steady
from fixtures.experiment import Ran
from harness.chaos import aftermath, outages
from harness.crashpoints.outcomes import Outcome

if TYPE_CHECKING:
    from harness.pytest_claims import Claims


@pytest.mark.parametrize("store", ["mongo", "etcd"])
def test_crash_under_load(store: str, experiment: Callable[..., Ran], claims: "Claims") -> None:
    ran = experiment(f"crash_under_load_{store}.yaml")
    open_then = under_way(ran, store)
    proof = f"{ran.output(f'{store} crashes')}; {open_then} requests under way; {ran.output(f'{store} is back')}"
    claims.about("store_outage", f"crash-under-load/{store}", proof=proof if open_then else "")
    claim_steady(claims, ran)
    claim_kept(claims, ran, open_then)


@pytest.mark.emco_kind
def test_pod_deleted(experiment: Callable[..., Ran], claims: "Claims") -> None:
    ran = experiment("pod_deleted.yaml", store="mongo")
    open_then = under_way(ran, "mongo")
    proof = f"{ran.output('its pod is deleted')}; {open_then} requests under way"
    claims.about("store_outage", "pod-deleted/mongo", proof=proof if open_then else "")
    claim_steady(claims, ran)
    claim_kept(claims, ran, open_then)


def under_way(ran: Ran, store: str) -> int:
    """How many clients had no answer yet when the store went away."""
    at = ran.marked(outages.began_mark(store)).at
    return sum(one.began < at <= one.ended for one in ran.stage.load.asked)


def claim_kept(claims: "Claims", ran: Ran, open_then: int) -> None:
    """Clients are served again, and what they were told before is true."""
    stage = ran.stage
    late = ran.failure("clients are acknowledged again")
    claims.check(
        "serves-again",
        "clients are acknowledged again once the store is back, without a restart of a service",
        holds=not late,
        seen=late or ran.output("clients stop"),
        otherwise=Outcome.STUCK,
    )
    after = stage.snapshots["answered"]
    acknowledged = [one.ask for one in stage.load.asked if one.told.kind == "acknowledged"]
    refused = [one.ask for one in stage.load.asked if one.told.kind == "refused" and one.ask.label]
    gone = [ask.name for ask in acknowledged if ask.label and not stage.clients.took_place(ask)]
    lost = [
        *gone,
        *aftermath.lost(stage.snapshots["before"], after),
        *aftermath.unkept(stage.history(stage.marked("empty")), after),
    ]
    claims.check(
        "acknowledged-kept",
        "nothing that was acknowledged before the crash is missing after it",
        holds=not lost,
        seen=aftermath.shown(lost) or "nothing is missing",
        measured={
            "acknowledged": len(acknowledged),
            "under_way": open_then,
            "refused_and_there": sum(stage.clients.took_place(ask) for ask in refused),
            "lost": len(lost),
        },
        otherwise=Outcome.LOST,
    )


@pytest.mark.parametrize("store", ["mongo", "etcd"])
def test_volume_lost(store: str, experiment: Callable[..., Ran], claims: "Claims") -> None:
    ran = experiment("volume_lost.yaml", store=store)
    stage, kept = ran.stage, ran.stage.snapshots
    gone = aftermath.lost(kept["before"], kept["lost"])
    proof = f"{ran.output('the store loses its volume')}; {len(gone)} entries gone"
    claims.about("store_outage", f"volume-lost/{store}", proof=proof if gone else "")
    claims.attach("answers.txt", "\n".join(one.describe() for one in stage.clients.asked))
    claim_steady(claims, ran)
    asked = stage.clients.asked
    untold = aftermath.misjudged_rest(asked, reads=404 if store == "mongo" else 200)
    claims.check(
        "told-plainly",
        "what is gone is said to be gone, what is there is shown; what has lost its context is not terminated",
        holds=not untold,
        seen="; ".join(untold or [one.describe() for one in asked if not one.ask.label]),
        measured={"rpo_entries": len(gone)},
    )
    wrong = aftermath.misjudged_creates(asked, kept["lost"])
    claims.check(
        "creates-work",
        "new records can be made, without a restart; where what they stand below is gone they are refused",
        holds=not wrong,
        seen="; ".join(wrong or [one.describe() for one in asked if one.ask.label]),
        otherwise=Outcome.NEEDS_REPAIR,
    )
    restarted = ran.failure("creates work after a restart")
    claims.check(
        "restart-works",
        "a service that is restarted then serves",
        holds=not restarted,
        seen=restarted or ran.output("creates work after a restart"),
        otherwise=Outcome.NEEDS_REPAIR,
    )
    stands = ran.failure("what belongs to the application can be removed")
    claims.check(
        "removable",
        "what is left of an application can be removed by the API",
        holds=not stands,
        seen=stands or "it is gone",
        otherwise=Outcome.STUCK,
    )
