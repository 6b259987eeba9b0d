"""A store fails exactly when a service asks it something that it decides by. README.md says what is claimed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from fixtures import outage
from fixtures.experiment import Ran

if TYPE_CHECKING:
    from harness.pytest_claims import Claims


def test_a_create_that_cannot_look_whether_it_exists(experiment: Callable[..., Ran], claims: "Claims") -> None:
    outage.claim_existing(claims, experiment("existing.yaml"))


def test_a_queue_of_events_that_cannot_be_read(experiment: Callable[..., Ran], claims: "Claims") -> None:
    outage.claim_queue(claims, experiment("queue.yaml"))
