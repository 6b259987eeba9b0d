"""Invariants find what a crash breaks, without being told what the call should have done.

The service is crashed at boundaries of the faithful reference of which the outcome is known; what is broken in the
state that is left, and was not before, are the invariants of the table.
"""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from harness.campaign import Campaign, open_campaign
from harness.crashpoints.inject import inject
from harness.crashpoints.lab import Limits
from harness.crashpoints.learn import Lesson, fresh, settle
from harness.crashpoints.model import CrashPoint
from harness.defaults import GOLDEN
from harness.emco.invariants import broken
from harness.emco.profile import PROFILE
from harness.planning import make_plan
from harness.platforms.settings import Settings
from harness.work import prepare

_DIG = "orchestrator/deployment-intent-groups/"
FOUND: dict[str, set[str]] = {
    "clm/clusters/create-c1@after:mongo.data.crash": {"I1-state", "I3-cloud-config"},
    "clm/clusters/create-c1@after:mongo.stateInfo.crash": {"I3-cloud-config"},
    "clm/clusters/delete-c1@after:mongo.delete.cluster.crash": {"I3-cluster"},
    "dcm/logical-clouds/create-lc1@after:mongo.data.crash": {"I1-state"},
    "dcm/logical-clouds/create-lc2@after:mongo.data.crash": {"I1-state", "I1-private-key"},
    "dcm/logical-clouds/instantiate-lc1@after:grpc.InstallApp.crash": {"I4-unowned"},
    "dcm/logical-clouds/instantiate-lc1-2@after:etcd.deleterange:context/ID.crash": {"I4-dangling"},
    "dcm/logical-clouds/terminate-lc1@after:grpc.UninstallApp.crash": {"I5-told-and-done"},
    "orchestrator/apps/create-app1@after:mongo.data.crash": {"I2-content"},
    "orchestrator/profiles/create-prof1@after:mongo.data.crash": {"I2-app-field", "I2-content"},
    "orchestrator/app-intents/create-ai1@after:mongo.data.crash": {"I2-app-field"},
    f"{_DIG}create-dig1@after:mongo.data.crash": {"I1-state"},
    f"{_DIG}instantiate-dig1@after:etcd.put:context/ID/app/app1.crash": {"I4-inert"},
    f"{_DIG}instantiate-dig1@after:grpc.InstallApp.crash": {"I4-unowned", "edge-owned"},
    f"{_DIG}update-dig1@after:grpc.UpdateApp.crash": {"I4-unowned"},
    f"{_DIG}update-dig1@after:mongo.stateInfo.crash": {"I4-unowned", "I10-updated"},
    f"{_DIG}terminate-dig1@after:grpc.UninstallApp.crash": {"I5-told-and-done"},
    f"{_DIG}delete-dig2@after:etcd.deleterange:context/ID.crash": {"I4-dangling"},
    # and where a call is atomic, nothing is
    "orchestrator/projects/create-proj1@after:mongo.data.crash": set(),
    f"{_DIG}instantiate-dig1@after:answer.crash": set(),
}


@pytest.mark.timeout(240)
def test_what_a_crash_breaks_is_found_in_what_it_leaves(tmp_path: Path) -> None:
    settings = Settings(
        workload=GOLDEN,
        values=GOLDEN.with_name("golden.values.yaml"),
        faults=("crash",),
        state_folder=tmp_path / "state",
        cache_folder=tmp_path / "cache",
        work_folder=tmp_path / "work",
    )
    assert asyncio.run(_broken(settings, FOUND)) == FOUND


async def _broken(settings: Settings, ids: Iterable[str]) -> dict[str, set[str]]:
    async with open_campaign(settings, prepare(settings), name="invariants") as campaign:
        lessons = {lesson.subject.call.name: lesson for lesson in await campaign.learn()}
        planned = make_plan(campaign.work, settings, tuple(lessons.values()), {})
        points = {point.id: point for point in planned.points()}
        return {name: await _crashed(campaign, lessons[points[name].call], points[name]) for name in ids}


async def _crashed(campaign: Campaign, lesson: Lesson, point: CrashPoint) -> set[str]:
    lab, limits = campaign.lab, Limits()
    before = await fresh(lab, PROFILE, limits, lesson.before, only=lesson.services)
    injected = await inject(lab, PROFILE, limits, point, lesson.subject.call)
    assert injected.proof.proven, injected.proof.how
    await settle(lab, PROFILE, limits, quiet=limits.quiet_async)
    await lab.victim(point.service).start()
    left, _ = await settle(lab, PROFILE, limits, quiet=limits.quiet_async)
    return {one.invariant for one in broken(left, before=before)}
