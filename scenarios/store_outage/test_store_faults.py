"""A store fails exactly at one effect or read of one call: its connection is reset, or it answers with an error.

README.md beside this file says what is claimed. rsync works on several contexts over one connection: a reset would fail
whatever is under way with it, and that differs from run to run. An error fails one question alone.
"""

import pytest

from fixtures.evidence import Evidence
from fixtures.faults import Faults
from harness.crashpoints.model import CrashPoint


@pytest.mark.emco_slow
@pytest.mark.crash_point(victims=("called",), faults=("reset", "error"))
def test_store_fault(crash_point: CrashPoint, faults: Faults, evidence: Evidence) -> None:
    """What was refused changed nothing, and what was acknowledged is there in the end."""
    result = faults.replay(crash_point)
    evidence.judge(result)


@pytest.mark.emco_slow
@pytest.mark.crash_point(victims=("rsync",), faults=("error",))
def test_store_error_for_rsync(crash_point: CrashPoint, faults: Faults, evidence: Evidence) -> None:
    """rsync loses no event, and what was acknowledged is there in the end."""
    result = faults.replay(crash_point)
    evidence.judge(result)
