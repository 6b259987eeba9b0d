"""On the golden workload the reference does what the real services did: recordings.md says how that was recorded."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.campaign import open_campaign
from harness.crashpoints.learn import Lesson
from harness.defaults import GOLDEN
from harness.platforms.settings import Settings
from harness.work import prepare

RECORDED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "recordings.json").read_text())
Effects = Counter[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Variation:
    """What real services do in some recordings and not in others, though nothing differs from outside.

    effects: what may come in addition to the recording, all of it or none
    """

    reason: str
    effects: Mapping[str, int]


# Seen in one of five recordings of real binaries.
VARIES: dict[str, Variation] = {
    "orchestrator/deployment-intent-groups/rollback-dig1": Variation(
        reason="the UpdateDelete for the old context is queued beside the thread that ends the context's work; whether "
        "that thread still sees it and works it off at once, or leaves it for rsync's next start, is a race in EMCO",
        effects={
            "etcd.put:context/ID/rsync/AppContextEventQueue": 1,
            "etcd.put:context/ID/rsync/state/DesiredState": 1,
            "etcd.put:context/ID/rsync/state/CurrentState": 2,
            "etcd.put:context/ID/status": 2,
            "etcd.put:context/ID/rsync/state/PendingTerminateFlag": 1,
            "etcd.deleterange:activecontext/ID": 1,
        },
    ),
}


async def test_every_call_has_the_recorded_answer_and_effects(tmp_path: Path) -> None:
    lessons = await _learned(tmp_path)
    assert [lesson.subject.call.name for lesson in lessons] == [call["call"] for call in RECORDED]
    wrong = {
        call["call"]: text
        for lesson, call in zip(lessons, RECORDED, strict=True)
        if (text := _deviation(lesson.told.status, [(one.source, one.slug) for one in lesson.effects], call))
    }
    assert wrong == {}


async def _learned(folder: Path) -> tuple[Lesson, ...]:
    settings = Settings(
        workload=GOLDEN,
        values=GOLDEN.with_name("golden.values.yaml"),
        state_folder=folder / "state",
        cache_folder=folder / "cache",
        work_folder=folder / "work",
    )
    async with open_campaign(settings, prepare(settings), name="conformance") as campaign:
        return await campaign.learn()


def _deviation(told: int | None, effects: Sequence[tuple[str, str]], call: dict[str, Any]) -> str:
    """What differs, in words; empty when nothing does. effects: who made it and its slug, in order."""
    called, recorded = call["service"], [(one["source"], one["slug"]) for one in call["effects"]]
    if told != call["told"]:
        return f"answered {told}, recorded {call['told']}"
    own, expected_own = ([slug for source, slug in some if source == called] for some in (effects, recorded))
    if own != expected_own:
        return f"{called}: {own}, recorded {expected_own}"
    others, expected = (Counter(one for one in some if one[0] != called) for some in (effects, recorded))
    if others in (expected, expected + _extra(call["call"])) or _a_report_less(others, expected):
        return ""
    return f"not recorded: {dict(others - expected)}; only recorded: {dict(expected - others)}"


def _a_report_less(others: Effects, expected: Effects) -> bool:
    """Whether all that is missing is one report of an edge, or the end of one.

    rsync, just started, begins to watch an edge beside its work there. What it finds at the beginning counts as a
    report; on a slow machine that comes after a first change, and is the report of that change as well. Or the last
    write of the last report comes when the system was taken to be at rest.
    """
    missing = expected - others
    parts = [slug.rpartition("/cluster/")[2].split("/") for _, slug in missing.elements()]
    places, ends = (Counter(part[at] for part in parts) for at in (0, -1))
    one = len(places) == ends["resourcesready"] == 1 and ends["status"] <= 1
    return one and not others - expected and set(ends) <= {"status", "resourcesready", "resready"}


def _extra(call: str) -> Effects:
    variation = VARIES.get(call)
    return Counter({("rsync", slug): count for slug, count in variation.effects.items()} if variation else {})


def test_the_recordings_hold_gRPC_and_edge_effects_and_no_path_of_a_machine() -> None:  # noqa: N802  gRPC is spelt so
    kinds = Counter(effect["store"] for call in RECORDED for effect in call["effects"])
    assert set(kinds) == {"mongo", "etcd", "grpc", "edge"}
    assert len(RECORDED) == 80
    for effect in (effect for call in RECORDED for effect in call["effects"]):
        assert "127." not in effect["text"], effect


def test_a_deviation_is_noticed() -> None:
    call = next(one for one in RECORDED if one["call"] == "dcm/logical-clouds/terminate-lc1")
    effects = [(one["source"], one["slug"]) for one in call["effects"]]
    own = [one for one in effects if one[0] == "dcm"]
    others = [one for one in effects if one[0] != "dcm"]
    assert len(own) > 1
    assert others
    assert _deviation(202, effects, call) == ""
    assert _deviation(202, own + others[::-1], call) == ""
    assert "recorded 202" in _deviation(409, effects, call)
    assert _deviation(202, own[::-1] + others, call).startswith("dcm: ")
    assert _deviation(202, own + others[1:], call).startswith("not recorded: {}; only recorded: ")
    assert _deviation(202, effects + others[:1], call).endswith("only recorded: {}")


def test_one_report_of_an_edge_may_be_missing_or_its_end() -> None:
    call = next(one for one in RECORDED if one["call"].endswith("/terminate-dig1"))
    effects = [(one["source"], one["slug"]) for one in call["effects"]]
    place = "etcd.put:context/ID/app/app1/cluster/p1+c1"
    report = [f"{place}/status", f"{place}/resource/r1-web+Deployment/resready", f"{place}/resourcesready"]
    assert _deviation(202, _without(effects, report), call) == ""
    assert _deviation(202, _without(effects, report[2:]), call) == ""
    assert _deviation(202, _without(effects, report[:2]), call) != ""
    assert _deviation(202, _without(effects, [*report, f"{place}/readystatus"]), call) != ""
    assert _deviation(202, _without(_without(effects, report), report), call) != ""


def _without(effects: list[tuple[str, str]], slugs: list[str]) -> list[tuple[str, str]]:
    left = list(effects)
    for slug in slugs:
        left.remove(("rsync", slug))
    return left
