"""The disk under a store is full. README.md beside this file says what is claimed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fixtures import store_loss
from fixtures.experiment import Ran

if TYPE_CHECKING:
    from harness.pytest_claims import Claims


@pytest.mark.emco_processes("a volume of the cluster's StorageClass is not made smaller")
@pytest.mark.parametrize("store", ["mongo", "etcd"])
def test_full_disk(store: str, experiment: Callable[..., Ran], claims: "Claims") -> None:
    store_loss.claim_full_disk(claims, experiment(f"full_disk_{store}.yaml"), store)
