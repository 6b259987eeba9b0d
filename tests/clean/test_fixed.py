"""A reference without defects gives no finding: what the harness reports is EMCO's, not its own.

Here a sample of all calls: the answer, the last effect and one in the middle. All points, again and again:
`make soak WHAT=chaos ARGS="--reference fixed --no-baseline"`, which ends with the first run that is not clean.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.crashpoints.model import CrashPoint, Grade

from ..power.runs import planned, run, unproven

_FEW = 3  # effects; a call with no more has no middle worth a point of its own


@pytest.mark.timeout(300)
def test_no_finding_no_warning_and_every_fault_proven(tmp_path: Path) -> None:
    everything = planned(reference="fixed", folder=tmp_path, limit=100)
    points = sample(everything)
    assert {point.call for point in points} == {point.call for point in everything}
    assert {point.fault for point in points} == {"crash", "disconnect", "none"}
    code, summary = run([point.id for point in points], reference="fixed", folder=tmp_path, limit=180)
    assert summary.status == "complete", summary.trouble
    assert unproven(summary) == []
    assert [f"{one.point.id}: {one.reason}" for one in summary.results if one.grade is not Grade.PASS] == []
    assert Counter(one.point.id for one in summary.results) == Counter(point.id for point in points)
    assert code == 0


def sample(points: Sequence[CrashPoint]) -> tuple[CrashPoint, ...]:
    """Of every call: a crash after the last effect, a disconnect in the middle; and all calls that must be refused."""
    calls: dict[str, list[CrashPoint]] = {}
    for point in points:
        if point.side == "after" and point.ordinal and point.fault == "crash":
            calls.setdefault(point.call, []).append(point)
    last = {max(own, key=lambda one: one.ordinal).id for own in calls.values()}
    middle = {(name, own[len(own) // 2].ordinal) for name, own in calls.items() if len(own) > _FEW}
    return tuple(
        point
        for point in points
        if point.side == "refused"
        or point.id in last
        or (point.fault == "disconnect" and point.side == "after" and (point.call, point.ordinal) in middle)
    )


def test_the_sample_has_the_last_boundary_and_a_middle_one_of_a_long_call() -> None:
    effects = ("a", "b", "c", "d")
    points = [
        CrashPoint("s/x/make", "s", "after", name, 1, number, fault)
        for fault in ("crash", "disconnect")
        for number, name in enumerate(effects, 1)
    ]
    points.append(CrashPoint("s/x/make", "s", "after", "answer", 1, 0, "crash"))
    points.append(CrashPoint("s/x/make", "s", "refused", "exists", 1, 0, "none"))
    expected = ["s/x/make@after:d.crash", "s/x/make@after:c.disconnect", "s/x/make@refused:exists.none"]
    assert [point.id for point in sample(points)] == expected
