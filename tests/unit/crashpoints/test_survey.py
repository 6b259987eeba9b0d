"""Other services' effects: what all runs have in common is planned, by name and occurrence, on both sides."""

from dataclasses import replace

import pytest

from harness.crashpoints.lab import Subject
from harness.crashpoints.learn import Lesson, Seen
from harness.crashpoints.model import CallPlan, Fault, Told
from harness.crashpoints.survey import Survey, plan_elsewhere, survey, works_elsewhere
from harness.wire.effects import Effect, Observation

from .conftest import LIMITS, OK, PROFILE, FakeLab, create, snapshot

STORED = frozenset({"put", "report"})
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
    return await survey(Beside(*runs).as_lab(), PACED, LIMITS, lesson(), ("other",))


async def test_two_runs_that_are_equal_are_enough() -> None:
    assert await surveyed("put put report", "put put report") == Survey(
        "create", {"other": ("put", "put", "report")}, STORED
    )


async def test_what_does_not_come_in_every_run_is_not_planned_but_named() -> None:
    found = await surveyed("put report report late", "report put", "put report")
    assert found == Survey("create", {"other": ("put", "report")}, STORED | {"late"}, varies=("late", "report"))


async def test_a_service_that_does_something_only_once_in_a_while_is_not_struck() -> None:
    assert await surveyed("put", "", "") == Survey("create", {}, frozenset({"put"}), varies=("put",))


def test_a_call_is_worth_a_survey_when_a_victim_does_what_is_not_at_the_pace_of_something_outside() -> None:
    assert works_elsewhere(lesson(seen("put", "other")), PACED, ("other",))
    assert not works_elsewhere(lesson(seen("report", "other")), PACED, ("other",))
    assert not works_elsewhere(lesson(seen("put", "other")), PACED, ("third",))
    assert not works_elsewhere(lesson(seen("put", "svc")), PACED, ("svc",))


PLAN = CallPlan("create", "svc", "POST", "/", (), ())


def ids(found: Survey, *faults: Fault) -> list[str]:
    points = plan_elsewhere(PLAN, found, PACED, victims=("other",), faults=faults).points
    assert {point.victim for point in points} == {"other"}
    return [point.id.removeprefix("create@") for point in points]


def test_every_effect_gives_a_point_on_both_sides_but_none_at_what_is_paced() -> None:
    found = Survey("create", {"other": ("put", "report", "put", "report"), "third": ("put",)}, STORED)
    assert ids(found, "crash") == [
        "before:other:put.crash",
        "after:other:put.crash",
        "before:other:put~2.crash",
        "after:other:put~2.crash",
        "after:other:put.crash+start-error",
        "after:other:put.crash+start-error-2",
    ]


@pytest.mark.parametrize("order", [("put", "get", "post", "get"), ("post", "get", "get", "put")])
def test_a_store_fails_at_the_start_after_the_same_write_in_whatever_order_they_came(order: tuple[str, ...]) -> None:
    found = Survey("create", {"other": order}, frozenset({"put", "post"}))
    assert [one for one in ids(found, "crash") if "start-error-2" in one] == ["after:other:put.crash+start-error-2"]
    nowhere = Survey("create", {"other": order})
    assert not [one for one in ids(nowhere, "crash") if "start-error" in one]


def test_faults_of_stores_are_at_what_lands_there_and_at_reads_but_not_at_every_one_of_many() -> None:
    found = Survey("create", {"other": ("put", "post")}, STORED, {"other": ("get", "list", "list", "list")})
    assert ids(found, "reset", "error") == [
        "before:other:put.reset",
        "after:other:put.reset",
        "before:other:get.reset",
        "before:other:list.reset",
        "before:other:list~2.reset",
        "before:other:put.error",
        "before:other:get.error",
        "before:other:list.error",
        "before:other:list~2.error",
    ]


def test_who_tries_to_reach_an_edge_is_struck_at_what_it_notes_and_between_two_tries() -> None:
    found = Survey("create", {"other": ("put",)}, STORED, retried={"other": ("lost",)})
    assert ids(found, "crash")[2:] == [
        "before:other:lost.crash+edges-refused",
        "after:other:lost.crash+edges-refused",
        "after:other:quiet.crash+edges-refused",
        "after:other:put.crash+start-error",
        "after:other:put.crash+start-error-2",
    ]
