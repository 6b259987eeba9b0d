"""Learning: which points there are, which states are lawful, what does not settle."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.crashpoints.inplace import learn_in_place
from harness.crashpoints.lab import Call, Rung, Subject
from harness.crashpoints.learn import DoesNotSettle, Lesson, Seen, learn_controls, plan_call, settle, stable, union
from harness.crashpoints.model import Fault, Told
from harness.stores.snapshot import Snapshot
from harness.wire.effects import Effect, Observation

from .conftest import EXISTS, LIMITS, OK, PROFILE, FakeCall, FakeLab, State, create, records, remove, snapshot


def effect(slug: str, source: str = "svc", target: str = "mongo") -> Seen:
    return Seen(slug, source, "grpc" if target not in ("mongo", "etcd") else target, target, slug)


def lesson(*effects: Seen, subject: Subject | None = None) -> Lesson:
    return Lesson(subject or Subject(create("a")), snapshot({}), OK, effects, snapshot({"a": "made"}))


def ids(*effects: Seen, faults: tuple[Fault, ...] = ("crash",)) -> list[str]:
    return [point.id for point in plan_call(lesson(*effects), faults=faults).points]


def test_points_are_before_the_first_effect_after_each_and_after_the_answer() -> None:
    assert ids(effect("x"), effect("y")) == [
        "create@before:x.crash",
        "create@after:x.crash",
        "create@after:y.crash",
        "create@after:answer.crash",
    ]


def test_equal_effects_are_counted() -> None:
    assert ids(effect("x"), effect("x"), effect("y"), effect("x")) == [
        "create@before:x.crash",
        "create@after:x.crash",
        "create@after:x~2.crash",
        "create@after:y.crash",
        "create@after:x~3.crash",
        "create@after:answer.crash",
    ]


def test_a_disconnect_has_no_point_after_the_answer() -> None:
    assert ids(effect("x"), faults=("crash", "disconnect")) == [
        "create@before:x.crash",
        "create@after:x.crash",
        "create@after:answer.crash",
        "create@before:x.disconnect",
        "create@after:x.disconnect",
    ]


def test_effects_of_other_services_are_no_boundaries() -> None:
    planned = plan_call(lesson(effect("x", "rsync"), effect("y"), effect("z", "rsync")), faults=("crash",))
    assert [point.effect for point in planned.points] == ["y", "y", "answer"]
    assert planned.effects == ("y",)


def test_a_call_without_effects_can_only_be_killed_after_its_answer() -> None:
    assert ids() == ["create@after:answer.crash"]


def test_ordinals_are_for_display_and_count_the_own_effects() -> None:
    planned = plan_call(lesson(effect("x"), effect("o", "rsync"), effect("y")), faults=("crash",))
    assert [(point.effect, point.ordinal) for point in planned.points] == [("x", 1), ("x", 1), ("y", 2), ("answer", 0)]


def test_a_call_that_is_only_made_has_no_points_and_says_so() -> None:
    planned = plan_call(lesson(effect("x")), faults=(), note="made, but not tested")
    assert (planned.points, planned.note, planned.effects) == ((), "made, but not tested", ("x",))


def test_the_services_that_have_to_run_are_those_with_work_from_the_call_its_undo_and_its_repair() -> None:
    def call(service: str) -> Call:
        return replace(create("a"), service=service)

    subject = Subject(call("svc"), (call("undoer"),), (Rung("r", (call("repairer"),)),), (call("remover"),))
    made = lesson(effect("x", "worker"), effect("g", "svc", "asked"), subject=subject)
    assert made.services == {"svc", "worker", "asked", "undoer", "repairer", "remover"}
    assert made.involves_others is True
    assert lesson(effect("x")).involves_others is False


# -- control runs ---------------------------------------------------------------------------------------------------


class Learning(FakeLab):
    """Every call makes the next of these effects."""

    def __init__(self, *runs: tuple[str, ...]) -> None:
        super().__init__()
        self.runs = list(runs)

    async def send(self, call: Call) -> Told:
        for slug in self.runs.pop(0) if self.runs else ():
            one = Effect("mongo", slug, "db.records", ())
            self.history.append(Observation(len(self.history), "svc", "mongo", one, 0.0, 0.0, True, True))
        return await super().send(call)


async def test_control_states_are_those_of_call_repeat_undo_and_redo() -> None:
    subject = Subject(create("a"), (remove("a"),))
    lab = Learning(("x",))
    controls = await learn_controls(lab.as_lab(), PROFILE, LIMITS, lesson(effect("x"), subject=subject))
    assert [records(one) for one in controls.before] == [{}]
    assert [records(one) for one in controls.after] == [{"a": "made"}, {"a": "made"}]
    assert (records(controls.twice), controls.repeat) == ({"a": "made"}, EXISTS)
    assert controls.undone is not None
    assert controls.redone is not None
    assert (records(controls.undone), controls.undo) == ({}, (Told(204),))
    assert (records(controls.redone), controls.redo) == ({"a": "made"}, OK)


async def test_a_call_is_run_until_two_runs_have_the_same_effects_in_any_order() -> None:
    lab = Learning(("x", "y", "z"), ("y", "x"), ("never",))
    controls = await learn_controls(lab.as_lab(), PROFILE, LIMITS, lesson(effect("x"), effect("y")))
    assert [[seen.slug for seen in run] for run in controls.effects] == [["x", "y"], ["x", "y", "z"], ["y", "x"]]


async def test_a_call_that_does_not_settle_in_five_runs_is_refused_with_what_varies() -> None:
    lab = Learning(("x", "a"), ("x", "b"), ("x", "c"), ("x", "d"))
    with pytest.raises(DoesNotSettle, match=r"create has other effects in each of 5 runs: a, b, c, d"):
        await learn_controls(lab.as_lab(), PROFILE, LIMITS, lesson(effect("x")))


class Unstable(FakeLab):
    """A restart adds a record, up to so many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    async def clean_slate(self, taken: Snapshot, *, only: frozenset[str] | None = None) -> None:
        await super().clean_slate(taken)
        if len(self.state) < self.most:
            self.state = {**self.state, f"r{len(self.state)}": "made"}


async def test_every_run_begins_with_the_state_that_restarts_lead_to() -> None:
    assert records(await stable(Unstable(2).as_lab(), PROFILE, LIMITS, snapshot({}))) == {"r0": "made", "r1": "made"}


async def test_control_runs_begin_there_too() -> None:
    controls = await learn_controls(Unstable(2).as_lab(), PROFILE, LIMITS, lesson())
    assert [records(one) for one in controls.before] == [{"r0": "made", "r1": "made"}]


async def test_a_state_that_changes_by_every_restart_is_refused() -> None:
    with pytest.raises(DoesNotSettle, match=r"changes by each of 5 restarts"):
        await stable(Unstable(99).as_lab(), PROFILE, LIMITS, snapshot({}))


async def test_quiet_but_not_at_rest_is_said_unless_it_is_known() -> None:
    lab = FakeLab()
    lab.state = {"q": "pending", "p": "pending"}
    reason = (await settle(lab.as_lab(), PROFILE, LIMITS, quiet=0.001))[1]
    assert reason == "q is pending; p is pending"
    known = frozenset({"q is pending", "p is pending"})
    assert (await settle(lab.as_lab(), PROFILE, LIMITS, quiet=0.001, stays=known))[1] == ""


@pytest.mark.parametrize("waits", [True, False])
async def test_who_waits_for_its_next_try_is_not_taken_for_stuck(*, waits: bool) -> None:
    """It moves after its pause, later than anybody else who has something in hand would."""

    class Late(FakeLab):
        async def moved(self, seq: int, *, limit: float) -> bool:
            if limit < 2.3 * LIMITS.at_rest:
                return False
            self.state = {"p": "done"}
            return True

    lab, profile = Late(), replace(PROFILE, between_tries=lambda _: waits)
    lab.state = {"p": "pending"}
    limits = replace(LIMITS, retries=3 * LIMITS.at_rest)
    reason = (await settle(lab.as_lab(), profile, limits, quiet=0.001))[1]
    assert reason == ("" if waits else "p is pending")


async def test_what_never_stops_is_said_beside_what_there_is_to_do() -> None:
    class Endless(FakeLab):
        async def quiet(self, **_: Any) -> bool:
            return False

    lab = Endless()
    lab.state = {"p": "pending"}
    reason = (await settle(lab.as_lab(), PROFILE, LIMITS, quiet=0.001))[1]
    assert reason.startswith("p is pending; effects go on")


async def test_what_varies_between_two_runs_is_masked_and_named() -> None:
    numbers = iter("123456789")

    def act(state: object) -> tuple[Told, dict[str, str]]:
        return OK, {"a": next(numbers)}

    controls = await learn_controls(
        FakeLab().as_lab(), PROFILE, LIMITS, replace(lesson(), subject=Subject(FakeCall("create", act)))
    )
    assert [(mask.where, mask.path) for mask in controls.masks] == [(r"^mongo\ db\.records\ a$", "value")]


def effects(*slugs: str) -> tuple[Seen, ...]:
    return tuple(Seen(slug, "svc", "mongo", "mongo", slug) for slug in slugs)


@pytest.mark.parametrize(
    "runs, expected",
    [
        (["ab", "ab"], "ab"),
        (["ab", "acb"], "acb"),
        (["ab", "abc", "ab"], "abc"),
        (["ab", "cab"], "cab"),
        (["a", "aa"], "aa"),
        (["abc", "acb"], "abc"),
        (["", "a"], "a"),
        (["a", ""], "a"),
    ],
)
def test_the_union_of_runs_has_what_any_of_them_has(runs: list[str], expected: str) -> None:
    assert "".join(one.slug for one in union(effects(*run) for run in runs)) == expected


@given(st.lists(st.text("abc", max_size=6), min_size=1, max_size=4))
def test_the_union_has_each_effect_as_often_as_the_run_that_has_it_most(runs: list[str]) -> None:
    merged = "".join(one.slug for one in union(effects(*run) for run in runs))
    assert {slug: merged.count(slug) for slug in "abc"} == {
        slug: max(run.count(slug) for run in runs) for slug in "abc"
    }


def test_effects_of_later_runs_are_planned_too() -> None:
    learned = lesson(*effects("a"))
    alone = plan_call(learned, faults=("crash",))
    wider = plan_call(learned, faults=("crash",), runs=(effects("a"), effects("a", "late")))
    assert {point.id for point in wider.points} - {point.id for point in alone.points} == {"create@after:late.crash"}


async def test_control_runs_in_place_restart_nothing_where_others_work_too() -> None:
    """A restart makes a service here do what it would not have done: both states are lawful."""

    class Restless(FakeLab):
        async def clean_slate(self, taken: Snapshot, *, only: frozenset[str] | None = None) -> None:
            await super().clean_slate(taken, only=only)
            self.state = {name: value for name, value in self.state.items() if name != "queued"}

    def act(state: State) -> tuple[Told, State]:
        return OK, {**state, "a": str(len(state)), "queued": "event"}

    subject = Subject(FakeCall("create", act), (remove("a"),))
    lab = Restless()
    alone = lesson(effect("x"), subject=subject)
    controls = await learn_controls(lab.as_lab(), PROFILE, LIMITS, alone)
    assert await learn_in_place(lab.as_lab(), PROFILE, LIMITS, alone, controls) == controls
    both = lesson(effect("x"), effect("y", source="rsync"), subject=subject)
    slates = len(lab.slates)
    there = (await learn_in_place(lab.as_lab(), PROFILE, LIMITS, both, controls)).there
    assert len(lab.slates) == slates + 1
    assert {name: records(state) for name, state in there.items()} == {
        "undone": {"queued": "event"},
        "redone": {"a": "1", "queued": "event"},
        "twice": {"a": "2", "queued": "event"},
    }
