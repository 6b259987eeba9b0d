"""What chaostoolkit-kubernetes is told of the cluster of a run, by environment variables."""

import os
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.chaos.current import acting_on


def test_the_callers_own_credentials_are_away_as_long_as_the_runs_cluster_is_acted_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KUBERNETES_API_KEY", "the caller's")
    monkeypatch.delenv("KUBERNETES_HOST", raising=False)
    told = {"KUBERNETES_HOST": "https://127.0.0.1:6443", "KUBERNETES_API_KEY": ""}
    stage: Any = SimpleNamespace(act=lambda _: told)
    with acting_on(cast(Any, stage)):
        assert os.environ["KUBERNETES_HOST"] == told["KUBERNETES_HOST"]
        assert "KUBERNETES_API_KEY" not in os.environ
    assert os.environ["KUBERNETES_API_KEY"] == "the caller's"
    assert "KUBERNETES_HOST" not in os.environ
