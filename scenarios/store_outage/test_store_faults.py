"""A store fails exactly at one effect or read of one call: its connection is reset, or it answers with an error.

README.md beside this file says what is claimed.
"""

import pytest

from fixtures.evidence import Evidence
from fixtures.faults import Faults
from harness.crashpoints.model import CrashPoint


@pytest.mark.emco_slow
@pytest.mark.crash_point(victims=("called", "rsync"), faults=("reset", "error"))
def test_store_fault(crash_point: CrashPoint, faults: Faults, evidence: Evidence) -> None:
    """What was refused changed nothing, what was acknowledged is there in the end, and rsync loses no event."""
    result = faults.replay(crash_point)
    evidence.judge(result)
