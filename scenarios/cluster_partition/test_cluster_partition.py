"""An edge goes away while an application is deployed. README.md beside this file says what is claimed."""

from collections.abc import Callable

import pytest

from fixtures.experiment import Ran


@pytest.mark.parametrize("kind", ["refused", "reset"])
def test_instantiate(kind: str, experiment: Callable[..., Ran]) -> None:
    ran = experiment(kind=kind)
    assert ran.completed, ran.why
    assert ran.output("what EMCO says of the edge") == "Retrying"
