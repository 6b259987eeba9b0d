"""A service dies, or its client hangs up, in the middle of an API call: at every write of every mutating call.

README.md beside this file says what is claimed.
"""

from fixtures.evidence import Evidence
from fixtures.faults import Faults
from harness.crashpoints.model import CrashPoint


def test_crash_mid_call(crash_point: CrashPoint, faults: Faults, evidence: Evidence) -> None:
    """Stores and edges hold the state before the call or after it, or repeating the call leads there."""
    result = faults.replay(crash_point)
    evidence.judge(result)
