"""rsync dies while it works on what a call set off: at every effect of its own, on both sides of it.

README.md beside this file says what is claimed.
"""

import pytest

from fixtures.evidence import Evidence
from fixtures.faults import Faults
from harness.crashpoints.model import CrashPoint


@pytest.mark.crash_point(victims=("rsync",), faults=("crash",))
def test_rsync_crash(crash_point: CrashPoint, faults: Faults, evidence: Evidence) -> None:
    """The workload reaches its goal without a client, and what EMCO told and shows is the truth."""
    result = faults.replay(crash_point)
    evidence.judge(result)
