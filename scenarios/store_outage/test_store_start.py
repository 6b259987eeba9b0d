"""Services start while mongo or etcd is away, or fails when it is first asked. README.md says what is claimed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fixtures import outage
from fixtures.experiment import Ran

if TYPE_CHECKING:
    from harness.pytest_claims import Claims

SLOW = pytest.mark.emco_slow
LATER = [("both", 10), ("both", 60), ("mongo", 10), ("etcd", 10)]


@pytest.mark.emco_own_stores
@pytest.mark.timeout(300)
@pytest.mark.parametrize("store,seconds", [("both", 1), *(pytest.param(*one, marks=SLOW) for one in LATER)])
def test_before_start(store: str, seconds: int, experiment: Callable[..., Ran], claims: "Claims") -> None:
    asked = "etcd" if store == "etcd" else "mongo"
    ran = experiment("before_start.yaml", store=store, asked=asked, seconds=seconds)
    outage.claim_before_start(claims, ran, store, f"{store}/{seconds}s")


@SLOW
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind,seconds", [("refused", 1), ("refused", 10), ("black-hole", 10)])
def test_etcd_later_than_rsync(kind: str, seconds: int, experiment: Callable[..., Ran], claims: "Claims") -> None:
    ran = experiment("restore.yaml", kind=kind, seconds=seconds)
    outage.claim_goes_on_later(claims, ran, f"{kind}/{seconds}s")


@SLOW
def test_etcd_fails_when_rsync_asks_what_is_active(experiment: Callable[..., Ran], claims: "Claims") -> None:
    ran = experiment("restore_error.yaml")
    proof = outage.cuts(ran, "it asked in vain", "connections of rsync to etcd were reset at its question")
    measured = {"asked": ran.output("it asked in vain")} if proof else {}
    outage.claim_goes_on(claims, ran, "errors", proof=proof, measured=measured)


@SLOW
@pytest.mark.parametrize("service,path", [("clm", "/v2/cluster-providers"), ("orchestrator", "/v2/projects")])
def test_mongo_fails_at_the_schema(service: str, path: str, experiment: Callable[..., Ran], claims: "Claims") -> None:
    outage.claim_schema(claims, experiment("schema.yaml", service=service, path=path), service)
