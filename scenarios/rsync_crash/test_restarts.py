"""rsync dies while it has nothing in hand, or two of it are at work. README.md says what is claimed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fixtures import restarts
from fixtures.experiment import Ran

if TYPE_CHECKING:
    from harness.pytest_claims import Claims

SLOW = pytest.mark.emco_slow
SHORT = pytest.mark.emco_reference("real rsync waits 120 s before it cleans up, and has no setting for it")


@pytest.mark.parametrize("how", ["not-ready", "deleted"])
def test_at_rest(how: str, experiment: Callable[..., Ran], claims: "Claims") -> None:
    restarts.claim_at_rest(claims, experiment("at_rest.yaml", how=how), how)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "call, ready, meanwhile, goal",
    [
        ("instantiate", "approve-dig1", "terminate", "gone"),
        pytest.param("instantiate", "approve-dig1", "nothing", "running", marks=SLOW),
        pytest.param("update", "replace-prof1", "nothing", "changed", marks=SLOW),
        pytest.param("terminate", "instantiate-dig1", "nothing", "gone", marks=SLOW),
    ],
    ids=["given-up", "instantiate", "update", "terminate"],
)
def test_overlap(
    call: str, ready: str, meanwhile: str, goal: str,
    request: pytest.FixtureRequest, experiment: Callable[..., Ran], claims: "Claims",
) -> None:  # fmt: skip
    ran = experiment("overlap.yaml", call=f"{call}-dig1", ready=ready, meanwhile=meanwhile, goal=goal)
    restarts.claim_overlap(claims, ran, request.node.callspec.id, goal)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("delay", [pytest.param(8, marks=SHORT), pytest.param(120, marks=SLOW)])
def test_cleanup(delay: int, experiment: Callable[..., Ran], claims: "Claims") -> None:
    restarts.claim_cleanup(claims, experiment("cleanup.yaml", cleanup_delay=delay), f"{delay}s")
