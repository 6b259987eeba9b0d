"""One EMCO for all tests of the extension: reference services as processes, stores, three edges."""

import os
from collections.abc import Iterator

import pytest

from harness.chaos.current import acting_on
from harness.chaos.stage import Stage
from harness.defaults import GOLDEN, make_settings
from harness.pytest_stages import Stages


@pytest.fixture(scope="session")
def stages() -> Iterator[Stages]:
    settings = make_settings(
        workload=GOLDEN,
        values=None,
        emco_bin=None,
        reference="faithful",
        mongo_uri="",
        etcd_endpoint="",
        faults="crash",
        workers=1,
        seed=0,
        isolate=True,
    )
    opened = Stages(settings, worker=f"unit-{os.getpid()}", make_room=lambda: None)
    yield opened
    opened.close()


@pytest.fixture
def stage(stages: Stages) -> Iterator[Stage]:
    """Empty, and what experiments act on meanwhile."""
    stage = stages.get()
    stage.empty()
    with acting_on(stage):
        yield stage
    stage.make_whole()
