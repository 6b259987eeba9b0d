"""A store fails exactly when a service asks it something that it decides by. README.md says what is claimed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from fixtures.claims import claim_steady
from fixtures.experiment import Ran
from harness.chaos import aftermath
from harness.crashpoints.outcomes import Outcome

if TYPE_CHECKING:
    from harness.pytest_claims import Claims


def test_a_create_that_cannot_look_whether_it_exists(experiment: Callable[..., Ran], claims: "Claims") -> None:
    ran = experiment("existing.yaml")
    asked, kept = ran.stage.clients.asked[0], ran.stage.snapshots
    proof = f"{ran.output('they failed')} connections of orchestrator to mongo were reset at its question"
    claims.about("store_outage", "existing", proof=proof)
    claim_steady(claims, ran)
    changed = aftermath.unasked(kept["before"], kept["answered"], ())
    claims.check(
        "not-replaced",
        "a create never replaces a record that exists, also when the question whether it does fails",
        holds=not changed,
        seen=f"{asked.describe()}; changed: {aftermath.shown(changed) or 'nothing'}",
        otherwise=Outcome.LOST,
    )
    claims.check(
        "refused",
        "a create that cannot find out whether its record exists is refused",
        holds=asked.told.kind == "refused",
        seen=asked.describe(),
    )


def test_a_queue_of_events_that_cannot_be_read(experiment: Callable[..., Ran], claims: "Claims") -> None:
    ran = experiment("queue.yaml")
    asked, stage = ran.stage.clients.asked[0], ran.stage
    proof = f"{ran.output('it could not')} connections of rsync to etcd were reset where it read its queue"
    claims.about("store_outage", "queue", proof=proof)
    claim_steady(claims, ran)
    status, left = stage.groups.status("dig1"), stage.objects()
    there = sorted(f"{edge}: {thing['kind']} {thing['metadata']['name']}" for edge, things in left.items()
                   for thing in things if thing["kind"] in ("ConfigMap", "Deployment"))  # fmt: skip
    gone = not there and status.deployed == "Terminated"
    claims.check(
        "truthful",
        "an acknowledged terminate takes the application away; a refused one leaves it to run or to be terminated",
        holds=aftermath.as_told(asked.told, gone=gone, runs=not stage.groups.not_ready("dig1")),
        seen=f"{asked.describe()}; then {status.deployed}, on the edges: {aftermath.shown(there) or 'nothing'}",
        otherwise=Outcome.ORPHANS if asked.told.kind == "acknowledged" else Outcome.BROKEN,
    )
    wrong = aftermath.disagreements(None, stage.snapshots["answered"])
    claims.check(
        "consistent",
        "stores and edges agree afterwards",
        holds=not wrong,
        seen=aftermath.shown(wrong, most=3) or "no invariant is broken",
        measured={"violations": len(wrong)},
    )
