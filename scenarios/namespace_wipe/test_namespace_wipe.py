"""EMCO is wiped: services, stores and their volumes. README.md beside this file says what is claimed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fixtures import wipe, wipe_refused
from fixtures.experiment import Ran

if TYPE_CHECKING:
    from harness.pytest_claims import Claims

pytestmark = pytest.mark.emco_own_stores
Run = Callable[..., Ran]
SLOW = pytest.mark.emco_slow
AGAIN = ("what was lost is written again", "the second group runs again")


@pytest.mark.parametrize("at", ["instantiate-dig1", pytest.param("update-dig1", marks=SLOW)])
def test_restored(at: str, experiment: Run, claims: "Claims") -> None:
    ran = experiment(at=at)
    wipe.about(claims, ran, f"restored/{at}")
    wipe.claim_as_at_backup(claims, ran)
    wipe.claim_back_in_time(claims, ran)
    wipe.claim_works(claims, ran, *AGAIN)
    wipe.claim_anew(claims, ran)


@SLOW
@pytest.mark.parametrize(
    "mongo, etcd",
    [("new", "old"), ("old", "new"), ("new", ""), ("", "new")],
    ids=["etcd-older", "mongo-older", "only-mongo", "only-etcd"],
)
def test_no_pair(mongo: str, etcd: str, request: pytest.FixtureRequest, experiment: Run, claims: "Claims") -> None:
    ran = experiment("mixed.yaml", mongo=mongo, etcd=etcd)
    wipe.about(claims, ran, f"no-pair/{request.node.callspec.id}", since="restored")  # what does not fit is named
    wipe.claim_mixed(claims, ran)


def test_backup_with_pending_events(experiment: Run, claims: "Claims") -> None:
    ran = experiment("pending.yaml")
    wipe.about(claims, ran, "pending")
    wipe.claim_pending(claims, ran)
    wipe.claim_works(claims, ran, "everything else is made")


def test_terminated_after_the_backup(experiment: Run, claims: "Claims") -> None:
    ran = experiment("terminated.yaml")
    wipe.about(claims, ran, "terminated")
    wipe.claim_terminated(claims, ran)
    wipe.claim_works(claims, ran, "everything else is made")


def test_wiped_at_work(experiment: Run, claims: "Claims") -> None:
    ran = experiment("at_work.yaml")
    wipe.about(claims, ran, "at-work")
    wipe.claim_as_at_backup(claims, ran)
    wipe.claim_works(claims, ran, "instantiate again", "the application runs", "everything else is made")


def test_refused(experiment: Run, claims: "Claims") -> None:
    ran = experiment("refused.yaml")
    wipe.about(claims, ran, "refused")
    wipe_refused.claim_refused(claims, ran)


@pytest.mark.emco_processes("services in pods are given no other EMCO_DATA_KEY by the harness")
@pytest.mark.parametrize("other", ["another one", pytest.param("", marks=SLOW)], ids=["another", "none"])
def test_data_key(other: str, request: pytest.FixtureRequest, experiment: Run, claims: "Claims") -> None:
    ran = experiment("data_key.yaml", other_key=other)
    wipe.about(claims, ran, f"encrypted/{request.node.callspec.id}")
    wipe_refused.claim_key(claims, ran)
    wipe.claim_works(claims, ran, "everything else is made")


@pytest.mark.emco_kind
def test_volumes_are_kept(experiment: Run, claims: "Claims") -> None:
    ran = experiment("retained.yaml")
    wipe.about(claims, ran, "retained")
    wipe_refused.claim_retained(claims, ran)
    wipe.claim_works(claims, ran)


@SLOW
def test_without_a_backup(experiment: Run, claims: "Claims") -> None:
    ran = experiment("lost.yaml")
    wipe.about(claims, ran, "no-backup", by=("mongo is lost", "etcd is lost"))
    wipe.claim_lost(claims, ran)
    wipe.claim_works(claims, ran)
