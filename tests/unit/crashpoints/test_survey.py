"""Other services' effects: what all runs have in common is planned, by name and occurrence, on both sides."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count

from harness.crashpoints.lab import Subject
from harness.crashpoints.learn import Lesson, Seen
from harness.crashpoints.model import CallPlan, Told
from harness.crashpoints.survey import Survey, named, plan_elsewhere, survey, works_elsewhere
from harness.wire.effects import Effect, Observation

from .conftest import LIMITS, OK, PROFILE, FakeLab, create, snapshot

PACED = replace(PROFILE, paced=lambda name: name == "report")


def seen(slug: str, source: str) -> Seen:
    return Seen(slug, source, "etcd", "etcd", slug)


def observation(op: str, source: str) -> Observation:
    return Observation(0, source, "etcd", Effect("etcd", op, "", ()), 0.0)


def lesson(*effects: Seen) -> Lesson:
    return Lesson(Subject(create("a")), snapshot({}), OK, effects, snapshot({"a": "1"}))


class Beside(FakeLab):
    """A lab in which another service makes effects after each call: those of the next run."""

    def __init__(self, *runs: str) -> None:
        super().__init__()
        self.runs = [run.split() for run in runs]

    async def send(self, call: object) -> Told:
        for op in self.runs.pop(0):
            self.history.append(observation(op, "other"))
        self.history.append(observation("own", "svc"))
        return OK


async def surveyed(*runs: str) -> Survey:
    return await survey(Beside(*runs).as_lab(), PACED, LIMITS, lesson())


async def test_two_runs_that_are_equal_are_enough() -> None:
    assert await surveyed("put put report", "put put report") == Survey(
        "create", {"other": ("put", "put", "report")}, ()
    )


async def test_what_does_not_come_in_every_run_is_not_planned_but_named() -> None:
    found = await surveyed("put report report late", "report put", "put report")
    assert found == Survey("create", {"other": ("put", "report")}, ("late", "report"))


async def test_a_service_that_does_something_only_once_in_a_while_is_not_struck() -> None:
    assert await surveyed("put", "", "") == Survey("create", {}, ("put",))


def _numbered() -> Callable[[Effect], str]:
    numbers = count(1)
    return lambda effect: f"{effect.op}{next(numbers)}"


def test_each_service_has_names_of_its_own() -> None:
    history = (observation("put", "one"), observation("put", "svc"), observation("put", "two"))
    mine = replace(PROFILE, namer=_numbered)
    assert named(history, mine, but="svc") == {"one": ["put1"], "two": ["put1"]}


def test_a_call_is_worth_a_survey_when_a_victim_does_what_is_not_at_the_pace_of_something_outside() -> None:
    assert works_elsewhere(lesson(seen("put", "other")), PACED, ("other",))
    assert not works_elsewhere(lesson(seen("report", "other")), PACED, ("other",))
    assert not works_elsewhere(lesson(seen("put", "other")), PACED, ("third",))
    assert not works_elsewhere(lesson(seen("put", "svc")), PACED, ("svc",))


def test_every_effect_gives_a_point_on_both_sides_and_what_is_paced_only_the_first() -> None:
    plan = CallPlan("create", "svc", "POST", "/", (), ())
    found = Survey("create", {"other": ("put", "report", "put", "report"), "third": ("put",)}, ())
    points = plan_elsewhere(plan, found, PACED, victims=("other",), faults=("crash",)).points
    assert [point.id for point in points] == [
        "create@before:other:put.crash",
        "create@after:other:put.crash",
        "create@before:other:report.crash",
        "create@after:other:report.crash",
        "create@before:other:put~2.crash",
        "create@after:other:put~2.crash",
    ]
    assert [point.ordinal for point in points] == [1, 1, 2, 2, 3, 3]
    assert {point.victim for point in points} == {"other"}
