"""Invariants are silent in every state that the workload goes through: EMCO at its usual work breaks none of them.

The faithful reference leaves the same records as the real services (test_recordings.py); on real binaries the same was
done by hand, see docs/findings.md.
"""

import asyncio
from pathlib import Path

import pytest

from harness.campaign import open_campaign
from harness.crashpoints.learn import Lesson
from harness.defaults import GOLDEN
from harness.emco.invariants import check
from harness.platforms.settings import Settings
from harness.work import prepare


@pytest.mark.parametrize("reference", ["faithful", "fixed"])
def test_no_invariant_is_broken_before_or_after_any_call(reference: str, tmp_path: Path) -> None:
    settings = Settings(
        workload=GOLDEN,
        values=GOLDEN.with_name("golden.values.yaml"),
        reference=reference,
        state_folder=tmp_path / "state",
        cache_folder=tmp_path / "cache",
        work_folder=tmp_path / "work",
    )
    lessons = asyncio.run(_learned(settings))
    broken = {
        f"{lesson.subject.call.name} {when}: {one.invariant} {one.where}": one.sentence
        for lesson in lessons
        for when, snapshot in (("before", lesson.before), ("after", lesson.after))
        for one in check(snapshot)
    }
    assert broken == {}
    assert len(lessons) == 80


async def _learned(settings: Settings) -> tuple[Lesson, ...]:
    async with open_campaign(settings, prepare(settings), name="invariants") as campaign:
        return await campaign.learn()
