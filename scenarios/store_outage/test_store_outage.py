"""mongo or etcd goes away, at rest or in the middle of an event, and comes back. README.md says what is claimed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fixtures import outage
from fixtures.experiment import Ran

if TYPE_CHECKING:
    from harness.pytest_claims import Claims

SHORT = [(store, kind, 1) for kind in ("refused", "paused", "crashed") for store in ("mongo", "etcd")]
LONG = [
    *((store, kind, 10) for kind in ("refused", "reset", "black-hole", "crashed") for store in ("mongo", "etcd")),
    *((store, kind, 60) for kind in ("refused", "paused") for store in ("mongo", "etcd")),
]


TO_THE_STORE = pytest.mark.emco_own_stores(kinds=("crashed", "paused"))


@TO_THE_STORE
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "store,kind,seconds", [*SHORT, *(pytest.param(*one, marks=pytest.mark.emco_slow) for one in LONG)]
)
def test_at_rest(store: str, kind: str, seconds: int, experiment: Callable[..., Ran], claims: "Claims") -> None:
    ran = experiment("at_rest.yaml", store=store, kind=kind, seconds=seconds)
    outage.claim_at_rest(claims, ran, store, f"{store}/{kind}/{seconds}s")


@pytest.mark.emco_kind
@pytest.mark.timeout(300)
def test_node_restarted(experiment: Callable[..., Ran], claims: "Claims") -> None:
    outage.claim_node_restarted(claims, experiment("node_restarted.yaml"))


MOMENTS: dict[str, dict[str, str | int]] = {  # of rsync's effects
    "accepted": {},
    "begun": {"at": "rsync/state/DesiredState/"},
    "reachable": {"at": "readystatus/"},
    "applied": {"at": "ConfigMap/status/"},
    "done": {"at": "AppContextEventQueue/", "nth": 2, "side": "before"},
}
IN_EVENT = [
    ("etcd", "refused", 1, "begun"),
    ("etcd", "refused", 1, "reachable"),
    ("etcd", "crashed", 1, "applied"),
    ("mongo", "refused", 1, "accepted"),
]
LONG_IN_EVENT = [
    ("etcd", "refused", 1, "done"),
    ("etcd", "refused", 10, "begun"),
    ("etcd", "refused", 10, "applied"),
    ("etcd", "black-hole", 10, "applied"),
    ("etcd", "paused", 10, "reachable"),
    ("mongo", "crashed", 10, "accepted"),
    ("mongo", "refused", 40, "accepted"),  # longer than its driver waits
]


@TO_THE_STORE
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "store,kind,seconds,moment",
    [*IN_EVENT, *(pytest.param(*one, marks=pytest.mark.emco_slow) for one in LONG_IN_EVENT)],
)
def test_in_event(
    store: str, kind: str, seconds: int, moment: str, experiment: Callable[..., Ran], claims: "Claims"
) -> None:
    ran = experiment("in_event.yaml", store=store, kind=kind, seconds=seconds, moment=MOMENTS[moment])
    outage.claim_in_event(claims, ran, store, f"{store}/{kind}/{seconds}s/{moment}")


@pytest.mark.emco_kind
@pytest.mark.timeout(300)
@pytest.mark.parametrize("moment", ["reachable", pytest.param("applied", marks=pytest.mark.emco_slow)])
def test_node_restarted_in_event(moment: str, experiment: Callable[..., Ran], claims: "Claims") -> None:
    ran = experiment("node_restarted_in_event.yaml", moment=MOMENTS[moment])
    how = ("the node is switched off and on in the middle of instantiate",)
    outage.claim_in_event(claims, ran, "both", f"node-restarted/{moment}", how)
