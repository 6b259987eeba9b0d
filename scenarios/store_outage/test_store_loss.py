"""A store crashes under load, with its volume and without. README.md says what is claimed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fixtures import store_loss
from fixtures.experiment import Ran

if TYPE_CHECKING:
    from harness.pytest_claims import Claims


@pytest.mark.emco_own_stores
@pytest.mark.parametrize("store", ["mongo", "etcd"])
def test_crash_under_load(store: str, experiment: Callable[..., Ran], claims: "Claims") -> None:
    ran = experiment(f"crash_under_load_{store}.yaml")
    how = (f"{store} crashes", f"{store} is back")
    store_loss.claim_crash_under_load(claims, ran, f"crash-under-load/{store}", store, *how)


@pytest.mark.emco_kind
def test_pod_deleted(experiment: Callable[..., Ran], claims: "Claims") -> None:
    ran = experiment("pod_deleted.yaml", store="mongo")
    store_loss.claim_crash_under_load(claims, ran, "pod-deleted/mongo", "mongo", "its pod is deleted")


@pytest.mark.emco_own_stores
@pytest.mark.parametrize("store", ["mongo", "etcd"])
def test_volume_lost(store: str, experiment: Callable[..., Ran], claims: "Claims") -> None:
    store_loss.claim_volume_lost(claims, experiment("volume_lost.yaml", store=store), store)
