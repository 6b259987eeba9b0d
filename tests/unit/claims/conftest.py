"""Claims of a disruption that is proven, kept in a run folder of the test's own; no pytest session, no EMCO."""

from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

import pytest

from harness.crashpoints.outcomes import Outcome
from harness.evidence.redaction import Redactor
from harness.evidence.run_folder import RunFolder, create_run_folder
from harness.pytest_claims import Claims, Setting
from harness.reporting.baseline import Baseline
from harness.reporting.claimed import plan_tests, read_claimed


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return create_run_folder(tmp_path, run="r", redactor=Redactor(salt=b"salt"))


@pytest.fixture
def proven(folder: RunFolder) -> Claims:
    """Not called `claims`: the plugin judges what has a fixture of that name."""
    plan_tests(folder, ["t.py::test_it"])
    setting = Setting("t.py::test_it", folder, Baseline(()), date(2026, 1, 14), 7, "pytest t.py", lambda *_: None)
    claims = Claims(setting)
    claims.about("cluster_partition", "update/refused", proof="refused for 12.0 s, 9 connections")
    return claims


@pytest.fixture
def outcomes(folder: RunFolder) -> Callable[[], Mapping[str, Outcome]]:
    """What each claim came to, by its name."""
    return lambda: {one.id.rpartition(":")[2]: one.outcome for one in read_claimed(folder).claims}
