from collections.abc import Callable

import pytest

from fixtures.experiment import Ran


@pytest.mark.parametrize("kind", ["refused", "reset", "black-hole", "paused", "crashed"])
@pytest.mark.parametrize("store", ["mongo", "etcd"])
def test_at_rest(store: str, kind: str, experiment: Callable[..., Ran]) -> None:
    ran = experiment("at_rest.yaml", store=store, kind=kind)
    assert ran.completed, ran.why
    print(*[(r["activity"]["name"], r["duration"], r.get("output")) for r in ran.journal["run"]], sep="\n")
