"""rsync dies while it has nothing in hand, and with it what it holds in memory only. README.md says what is claimed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fixtures import restarts
from fixtures.experiment import Ran

if TYPE_CHECKING:
    from harness.pytest_claims import Claims

SHORT = pytest.mark.emco_reference("real rsync waits 120 s before it cleans up, and has no setting for it")


@pytest.mark.parametrize("how", ["not-ready", "deleted"])
def test_at_rest(how: str, experiment: Callable[..., Ran], claims: "Claims") -> None:
    restarts.claim_at_rest(claims, experiment("at_rest.yaml", how=how), how)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("delay", [pytest.param(8, marks=SHORT), pytest.param(120, marks=pytest.mark.emco_slow)])
def test_cleanup(delay: int, experiment: Callable[..., Ran], claims: "Claims") -> None:
    restarts.claim_cleanup(claims, experiment("cleanup.yaml", cleanup_delay=delay), f"{delay}s")
