"""What is claimed of tries, on hand-written knocks."""

import dataclasses
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fixtures import partition
from fixtures.experiment import Ran
from fixtures.partition import Variant, claim_bounded, claim_while_away
from harness.chaos.recording import Recording
from harness.chaos.watching import Seen
from harness.crashpoints.outcomes import Outcome
from harness.emco.status import NOTHING_SAID
from harness.evidence.run_folder import RunFolder
from harness.platforms.disruptions import Partition
from harness.pytest_claims import Claims
from harness.reporting.claimed import read_claimed
from harness.wire.knocks import Knock

from .experiments import WHOLE

Outcomes = Callable[[], Mapping[str, Outcome]]
LOOK = Seen(0.0, NOTHING_SAID, {"p1+c1": {}, "p1+c2": {}})
VARIANT = Variant("instantiate", "refused", {})
NEVER = "the action 'EMCO says that the call has failed' failed: the AppContext of dig1 is Instantiating"


def knocks(*moments: float) -> tuple[Knock, ...]:
    return tuple(Knock(at, "rsync", "p1+c2", "connect") for at in moments)


def recorded(*moments: float, healed: float, marks: Mapping[str, float] | None = None) -> Recording:
    return Recording(
        group="dig1",
        target="p1+c2",
        how=Partition("refused", 1.0),
        edges=("p1+c1", "p1+c2"),
        marks={"partition p1+c2": 0.0, "heal p1+c2": healed, **(marks or {})},
        seen=(LOOK,),
        knocks=knocks(*moments),
        effects=(),
    )


@pytest.mark.parametrize(
    "marks, outcome",
    [
        ({"meanwhile running dig1": 4.2, "running dig1": 4.3}, Outcome.HOLDS),
        ({"running dig1": 9.0}, Outcome.STUCK),  # only after healing
        ({}, Outcome.STUCK),
    ],
)
def test_a_call_gets_through_when_its_goal_is_reached_before_healing(
    marks: Mapping[str, float], outcome: Outcome, proven: Claims, outcomes: Outcomes
) -> None:
    flapping = dataclasses.replace(recorded(1.0, healed=4.21, marks=marks), how=Partition("flapping", 2.3))
    claim_while_away(proven, flapping, "instantiate")
    assert outcomes()["gets-through"] == outcome


def ran(*problems: str) -> Ran:
    """An experiment whose edge was away for 10 s, as far as a recording is made of it."""
    moments = {"empty": -1.0, "partition p1+c2": 0.0, "heal p1+c2": 10.0}
    marks = [SimpleNamespace(name=name, at=at) for name, at in moments.items()]
    stage = SimpleNamespace(
        marks=marks,
        marked=lambda name: next(one for one in marks if one.name == name),
        edges=LOOK.edges,
        groups=SimpleNamespace(watched=lambda _: (LOOK,)),
        knocks=lambda **_: knocks(1.0, 3.0),
        snapshots={"begin": WHOLE},
        snapshot=lambda: WHOLE,
        history=lambda _: (),
        at_rest=str,
        seen=lambda **_: (),
    )
    terminated = {
        "activity": {"name": "the application is terminated"},
        "status": "succeeded",
        "output": {"status": 202, "body": ""},
    }
    journal = {"status": "failed", "deviated": False, "problems": list(problems), "run": [terminated]}
    return Ran(journal, cast("Any", stage))


@pytest.mark.parametrize(
    "moments, healed, outcome",
    [
        ((1.0, 3.0, 5.0, 7.0), 8.0, Outcome.HOLDS),
        ((1.0, 3.0, 5.0, 7.0), 70.0, Outcome.BROKEN),  # given up after 7 s
        ((1.0, 66.0), 67.0, Outcome.BROKEN),
        ((1.0,), 8.0, Outcome.BROKEN),
    ],
)
def test_who_gives_up_before_the_edge_is_back_does_not_try_again(
    moments: tuple[float, ...], healed: float, outcome: Outcome, proven: Claims, outcomes: Outcomes
) -> None:
    claim_while_away(proven, recorded(*moments, healed=healed), "instantiate")
    assert outcomes()["tries-again"] == outcome


@pytest.mark.parametrize(
    "kind, moments, outcome",
    [
        ("black-hole", (1.2, 1.3, 32.3, 33.5, 64.1, 66.5), Outcome.HOLDS),
        ("black-hole", (1.2, 30.3, 64.1), Outcome.UNKNOWN),  # these may be a watch's alone
        ("refused", (1.2, 1.3, 32.3, 33.5, 64.1, 66.5), Outcome.UNKNOWN),
    ],
)
def test_in_a_black_hole_more_knocks_than_a_watch_can_make_are_tries(
    kind: str, moments: tuple[float, ...], outcome: Outcome, proven: Claims, outcomes: Outcomes
) -> None:
    rec = dataclasses.replace(recorded(*moments, healed=80.0), how=Partition(kind, 1.0))
    claim_while_away(proven, rec, "instantiate")
    assert outcomes()["tries-again"] == outcome


def test_the_silence_before_healing_is_a_pause_and_no_spacing(proven: Claims, folder: RunFolder) -> None:
    claim_while_away(proven, recorded(1.0, 3.0, 5.0, healed=25.0), "instantiate")
    (found,) = [one for one in read_claimed(folder).claims if one.id.endswith(":tries-again")]
    assert (found.measured["spacing_s"], found.measured["longest_pause_s"]) == (2.0, 20.0)


@pytest.mark.parametrize(
    "problems, proof",
    [((NEVER,), True), (("the action 'the edge goes away' failed: no such edge",), False)],
)
def test_a_call_that_never_fails_is_a_finding_and_no_trouble(
    problems: tuple[str, ...], proof: bool, proven: Claims, outcomes: Outcomes
) -> None:
    rec = partition.recorded(proven, ran(*problems), VARIANT)
    assert rec.lost == ("p1+c2",)
    proven.check("ends", "tries end", holds=False, seen="never", otherwise=Outcome.STUCK)
    assert outcomes()["ends"] == (Outcome.STUCK if proof else Outcome.UNKNOWN)


@pytest.mark.parametrize(
    "failed, after, ends, peace",
    [
        ({"InstantiateFailed dig1": 6.0}, (), Outcome.HOLDS, Outcome.HOLDS),
        ({"InstantiateFailed dig1": 6.0}, (7.1, 9.1, 11.1), Outcome.HOLDS, Outcome.BROKEN),
        ({}, (), Outcome.STUCK, Outcome.BROKEN),
    ],
)
def test_an_edge_is_left_in_peace_only_after_the_call_has_failed(
    failed: Mapping[str, float],
    after: tuple[float, ...],
    ends: Outcome,
    peace: Outcome,
    proven: Claims,
    outcomes: Outcomes,
) -> None:
    rec = recorded(1.0, 3.0, 5.0, *after, healed=15.0, marks={"terminate dig1": 16.0, **failed})
    claim_bounded(proven, rec, ran(), failed="InstantiateFailed", most=2)
    assert (outcomes()["ends"], outcomes()["left-in-peace"]) == (ends, peace)
