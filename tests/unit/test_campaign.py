"""What spoils the control runs of a call spoils its points, and not the run."""

from types import SimpleNamespace
from typing import Any

import pytest

from harness.campaign import Campaign
from harness.crashpoints.learn import DoesNotSettle, Lesson
from harness.crashpoints.model import CrashPoint, Outcome
from harness.faults.victim import HarnessTrouble, ServiceDown

POINT = CrashPoint("clm/clusters/create-c1", "clm", "before", "mongo.data", 1, 1, "crash")
GAVE_UP = HarnessTrouble("dcm gave up the referential schema")


class Spoiled(Campaign):
    """One whose control runs go wrong, and that keeps evidence by counting it."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.kept: list[str] = []
        nothing: Any = SimpleNamespace(keep_evidence=self._keep)
        super().__init__(nothing, nothing, (nothing, nothing), nothing, nothing)
        lesson: Any = SimpleNamespace(subject=SimpleNamespace(call=SimpleNamespace(name=POINT.call)))
        self._lessons = (lesson,)

    async def _keep(self, about: str) -> None:
        self.kept.append(about)

    async def controls(self, lesson: Lesson) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "error, said, kept",
    [
        (GAVE_UP, "HarnessTrouble: dcm gave up the referential schema", [POINT.id]),
        (ServiceDown("dcm", "ended", ""), "ServiceDown: dcm: ended", [POINT.id]),
        (DoesNotSettle("effects go on"), "its control runs failed: effects go on", []),
    ],
)
async def test_a_point_whose_control_runs_are_spoiled_is_unknown(error: Exception, said: str, kept: list[str]) -> None:
    campaign = Spoiled(error)
    result = await campaign.run(POINT)
    assert (result.outcome, result.reason, result.proof.proven) == (Outcome.UNKNOWN, said, False)
    assert campaign.kept == kept


@pytest.mark.parametrize("error", [GAVE_UP, ServiceDown("dcm", "ended", ""), DoesNotSettle("effects go on")])
async def test_control_runs_that_are_made_ahead_leave_it_to_the_points_to_tell(error: Exception) -> None:
    await Spoiled(error).control(POINT.call)


async def test_a_mistake_of_the_harness_is_not_kept_from_anybody() -> None:
    with pytest.raises(KeyError):
        await Spoiled(KeyError("before")).control(POINT.call)
