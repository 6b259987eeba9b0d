"""Services start while mongo or etcd is away, or fails when it is first asked. README.md says what is claimed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fixtures.claims import claim_steady
from fixtures.experiment import Ran
from harness.chaos import aftermath, goals, outages
from harness.crashpoints.outcomes import Outcome

if TYPE_CHECKING:
    from harness.pytest_claims import Claims


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [1, pytest.param(10, marks=pytest.mark.emco_slow)])
def test_before_start(seconds: int, experiment: Callable[..., Ran], claims: "Claims") -> None:
    ran = experiment("before_start.yaml", seconds=seconds)
    stage = ran.stage
    claims.about("store_outage", f"before-start/both/{seconds}s", proof=ran.output("the stores come later"))
    claim_steady(claims, ran)
    late = ran.failure("the services are up")
    claims.check(
        "come-up",
        "every service comes up by itself when it is started again as kubelet does",
        holds=not late,
        seen=late or "; ".join(ran.output("the services are up")),
        measured={"stores_late_s": outages.away_for(stage, outages.BOTH)},
        otherwise=Outcome.STUCK,
    )
    gone = aftermath.lost(stage.snapshots["before"], stage.snapshots["answered"])
    claims.check(
        "nothing-lost",
        "records and contexts are those of before",
        holds=not gone,
        seen=aftermath.shown(gone) or "nothing is missing",
        measured={"lost": len(gone)},
        otherwise=Outcome.LOST,
    )
    refused = [one for one in stage.clients.asked if one.told.kind != "acknowledged"]
    claims.check(
        "works",
        "every service does what it is asked for, without another restart",
        holds=not refused and not stage.groups.not_ready("dig1"),
        seen="; ".join(one.describe() for one in refused)
        or stage.groups.not_ready("dig1")
        or "everything is acknowledged",
        otherwise=Outcome.NEEDS_REPAIR,
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "kind,seconds",
    [("refused", 1), *(pytest.param(kind, 10, marks=pytest.mark.emco_slow) for kind in ("refused", "black-hole"))],
)
def test_etcd_later_than_rsync(kind: str, seconds: int, experiment: Callable[..., Ran], claims: "Claims") -> None:
    ran = experiment("restore.yaml", kind=kind, seconds=seconds)
    proof = f"{ran.output('etcd is not there for rsync')}; {ran.output('etcd is there')}"
    claims.about("store_outage", f"restore/{kind}/{seconds}s", proof=proof)
    _goes_on(ran, claims, measured={"rsync_up_after_s": ran.stage.marked("rsync up").at - ran.marked("supervised").at})


def test_etcd_fails_when_rsync_asks_what_is_active(experiment: Callable[..., Ran], claims: "Claims") -> None:
    ran = experiment("restore_error.yaml")
    times = ran.output("it asked in vain")
    claims.about(
        "store_outage", "restore/errors", proof=f"{times} connections of rsync to etcd were reset at its question"
    )
    _goes_on(ran, claims, measured={"asked": times})


def _goes_on(ran: Ran, claims: "Claims", *, measured: dict[str, float]) -> None:
    claim_steady(claims, ran)
    failed = ran.failure("the application runs everywhere")
    how = failed or ran.output("the application runs everywhere")
    claims.check(
        "goes-on",
        "rsync goes on with what it had to do as soon as etcd and the edge are there, without another restart",
        holds=how == goals.BY_ITSELF,
        seen=failed or f"the application runs: {how}",
        measured=measured,
        otherwise=Outcome.STUCK if failed else Outcome.NEEDS_REPAIR,
    )


@pytest.mark.parametrize(
    "service,path",
    [("clm", "/v2/cluster-providers"), pytest.param("orchestrator", "/v2/projects", marks=pytest.mark.emco_slow)],
)
def test_mongo_fails_at_the_schema(service: str, path: str, experiment: Callable[..., Ran], claims: "Claims") -> None:
    ran = experiment("schema.yaml", service=service, path=path)
    proof = f"{ran.output('they failed')} connections of {service} to mongo were reset at its first find"
    claims.about("store_outage", f"schema/{service}", proof=proof)
    claim_steady(claims, ran)
    again = ran.failure("it works without a restart")
    claims.check(
        "serves-creates",
        "a service whose first look for the referential schema fails looks again, and then serves creates",
        holds=not again,
        seen=again or "the create is acknowledged without a restart",
        otherwise=Outcome.NEEDS_REPAIR,
    )
    if not again:
        return
    restarted = ran.failure("it works after a restart")
    claims.check(
        "restart-helps",
        "a restart of that service brings it back",
        holds=not restarted,
        seen=restarted or "the create is acknowledged after a restart",
        otherwise=Outcome.STUCK,
    )
