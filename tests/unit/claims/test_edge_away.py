"""What is claimed of an edge that is away, on hand-written recordings: each claim holds, is broken, and is not guessed.

Every table begins with a recording in which all is well, and changes one thing; only what that concerns may change.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fixtures.beyond_links import claim_git_away, claim_machine, claim_policy
from fixtures.experiment import Ran
from fixtures.partition import claim_at_rest, claim_bounded, claim_given_up
from fixtures.partition import claim_while_away as while_away
from harness.chaos.recording import Recording
from harness.chaos.watching import Content, Seen
from harness.crashpoints.outcomes import Outcome
from harness.emco.status import NOTHING_SAID, GroupStatus, Resource
from harness.evidence.run_folder import RunFolder
from harness.platforms.disruptions import Partition
from harness.pytest_claims import Claims
from harness.reporting.claimed import read_claimed
from harness.stores.snapshot import Snapshot
from harness.wire.effects import Effect, Observation
from harness.wire.knocks import Knock

from .experiments import WHOLE

Outcomes = Callable[[], Mapping[str, Outcome]]
Expected = Mapping[str, Outcome]
EDGES = ("p1+c1", "p1+c2", "p1+c3")
LOST = "p1+c2"
OLD, NEW, NONE = {"ConfigMap/a": "1"}, {"ConfigMap/a": "2"}, dict[str, str]()
OTHER = {"Deployment/b": "1"}
MAPS = "/api/v1/namespaces/n/configmaps"
REPORTS = "/apis/k8splugin.io/v1alpha1/namespaces/n/resourcebundlestates/1-app1"


def look(
    at: float, said: str, *edges: Content, c2: str = "Applied", c3: str = "Applied", word: str = "Available"
) -> Seen:
    """What each edge holds, and EMCO's words for the resources on the last two and for the connection of the second."""
    words = dict(zip(EDGES, ("Applied", c2, c3), strict=True))
    resources = tuple(Resource("app1", edge, "ConfigMap", "a", status, "1-app1") for edge, status in words.items())
    status = GroupStatus(said, "", {}, {**dict.fromkeys(EDGES, "Available"), LOST: word}, resources)
    return Seen(at, status, dict(zip(EDGES, edges, strict=True)))


def wrote(op: str, edge: str = LOST, *, at: float = 1.0, path: str = MAPS) -> Observation:
    effect = Effect("edge", op, edge, (("path", path),))
    return Observation(0, "rsync", edge, effect, at, at + 0.1, forwarded=True, ok=True)


def knocks(*moments: float, target: str = LOST) -> tuple[Knock, ...]:
    return tuple(Knock(at, "rsync", target, "connect") for at in moments)


def watched(*moments: float) -> tuple[Knock, ...]:
    """Those of which it was seen that they are no tries."""
    return tuple(Knock(at, "rsync", LOST, "connect", "GET /apis/k8splugin.io/v1alpha1") for at in moments)


def differing(outcomes: Outcomes) -> Expected:
    return {name: one for name, one in outcomes().items() if one is not Outcome.HOLDS and name != "carried-out"}


BEFORE = Seen(-0.1, NOTHING_SAID, dict.fromkeys(EDGES, NONE))
AWAY = look(1.5, "Instantiating", OLD, NONE, OLD, c2="Pending", word="Retrying")
DONE = look(9.0, "Instantiated", OLD, OLD, OLD)
WELL = Recording(
    group="dig1",
    target=LOST,
    how=Partition("refused", 1.0),
    edges=EDGES,
    marks={f"partition {LOST}": 0.0, f"heal {LOST}": 8.0, "running dig1": 9.0},
    seen=(BEFORE, AWAY, DONE),
    knocks=knocks(1.0, 3.0, 5.0, 7.0),
    effects=tuple(wrote("POST", edge) for edge in EDGES),
)


def marks(**changes: float | None) -> Mapping[str, float]:
    """Those of WELL with others in their place; None: there is none."""
    named = {name.replace("_", " "): at for name, at in changes.items()}
    return {name: at for name, at in {**WELL.marks, **named}.items() if at is not None}


def seen(*looks: Seen) -> dict[str, Any]:
    return {"seen": looks}


@pytest.mark.parametrize(
    "change, expected",
    [
        ({}, {}),
        ({"marks": marks(running_dig1=24.9)}, {}),
        ({"marks": marks(running_dig1=25.1)}, {"resumes": Outcome.STUCK}),  # 15 s and one period of 2 s
        ({"marks": marks(running_dig1=None)}, {"resumes": Outcome.STUCK}),
        ({"knocks": knocks(1.0)}, {"tries-again": Outcome.BROKEN}),
        ({"knocks": watched(1.0, 2.5)}, {"tries-again": Outcome.STUCK}),
        ({"knocks": knocks(0.8, 2.4, 5.6, 7.9)}, {"tries-again": Outcome.UNKNOWN}),  # a watch knocks so, too
        (seen(BEFORE, replace(AWAY, at=8.5), DONE), {"says-retrying": Outcome.BROKEN, "others-go-on": Outcome.BROKEN}),
        # an edge that is there waits for the one that is away
        (seen(BEFORE, look(1.5, "Instantiating", OLD, NONE, NONE, c2="Pending", c3="Pending", word="Retrying"), DONE),
         {"others-go-on": Outcome.BROKEN}),
        # said to be applied for longer than a moment, and it is not
        (seen(BEFORE, look(1.5, "Instantiating", OLD, NONE, OLD, word="Retrying"), DONE),
         {"resources-as-said": Outcome.BROKEN}),
        # said to be done, and it is not; whether it is in the end makes no difference
        (seen(BEFORE, AWAY, look(3.0, "Instantiated", OLD, NONE, OLD, c2="Pending"), DONE),
         {"done-when-done": Outcome.BROKEN}),
        (seen(BEFORE, AWAY, look(3.0, "Instantiated", OLD, NONE, OLD, c2="Pending")),
         {"done-when-done": Outcome.BROKEN}),
        ({"effects": (*WELL.effects, wrote("POST", at=9.0))}, {"created-once": Outcome.BROKEN}),
        # EMCO never says anything
        (seen(*(replace(one, status=NOTHING_SAID) for one in WELL.seen)),
         {"says-retrying": Outcome.BROKEN, "resources-as-said": Outcome.UNKNOWN, "done-when-done": Outcome.UNKNOWN}),
    ],
)  # fmt: skip
def test_while_an_edge_is_away(
    change: Mapping[str, Any], expected: Expected, proven: Claims, outcomes: Outcomes
) -> None:
    while_away(proven, replace(WELL, **change), "instantiate")
    assert differing(outcomes) == expected


def test_retrying_is_said_of_each_edge_that_is_away(proven: Claims, outcomes: Outcomes) -> None:
    everywhere = (*knocks(1.0, 3.0, 5.0, 7.0), *(k for edge in EDGES for k in knocks(1.0, 3.0, 5.0, target=edge)))
    one_of_them = replace(WELL, target="p1+*", marks={"partition p1+*": 0.0, "heal p1+*": 8.0}, knocks=everywhere)
    while_away(proven, one_of_them, "instantiate")
    assert outcomes()["says-retrying"] == Outcome.BROKEN


@pytest.mark.parametrize(
    "words, seen",
    [
        (("Available", "Available"), "it said Available"),
        (("", "Unknown"), "it never said so: nothing, then Unknown"),
        (("", "Available"), "it said nothing, then Available"),  # no baseline that accepts the one above accepts this
        (("Unknown", "Retrying"), "Retrying after 6.9 s"),
    ],
)
def test_what_was_said_instead_of_retrying(
    words: tuple[str, str], seen: str, proven: Claims, folder: RunFolder
) -> None:
    looks = [look(at, "Instantiating", OLD, NONE, OLD, word=word) for at, word in zip((0.0, 6.9), words, strict=True)]
    while_away(proven, replace(WELL, knocks=knocks(0.1, 0.9), seen=(BEFORE, *looks, DONE)), "instantiate")
    told = {one.name: one.reason for one in read_claimed(folder).claims}
    assert told["says-retrying"] == seen


@pytest.mark.parametrize(
    "call, early, right",
    [
        ("update", look(4.0, "Instantiated", NEW, NEW, NEW), True),
        ("update", look(4.0, "Instantiated", NEW, OLD, NEW), False),
        ("update", look(4.0, "Instantiated", OLD, OLD, OLD), False),
        ("terminate", look(4.0, "Terminated", NONE, NONE, NONE), True),
        ("terminate", look(4.0, "Terminated", NONE, OLD, NONE), False),
        ("instantiate", look(4.0, "Instantiated", OLD, OLD, OLD), True),
        ("instantiate", look(4.0, "Instantiated", NONE, NONE, NONE), False),
        ("instantiate", look(4.0, "Instantiated", OLD, NEW, OLD), False),
        # alike everywhere, and less than EMCO has to put there
        ("instantiate", look(4.0, "Instantiated", OTHER, OTHER, OTHER), False),
        ("update", look(4.0, "Instantiated", OTHER, OTHER, OTHER), False),
    ],
)
def test_a_call_is_done_when_all_edges_are_as_it_wants(
    call: str, early: Seen, right: bool, proven: Claims, outcomes: Outcomes
) -> None:  # fmt: skip
    at_first = replace(BEFORE, edges=dict.fromkeys(EDGES, NONE if call == "instantiate" else OLD))
    while_away(proven, replace(WELL, seen=(at_first, replace(AWAY, at=3.0), early)), call)
    assert outcomes()["done-when-done"] == (Outcome.HOLDS if right else Outcome.BROKEN)


AT_REST = replace(
    WELL,
    seen=(look(-0.1, "Instantiated", OLD, OLD, OLD), look(3.0, "Instantiated", OLD, OLD, OLD, word="Retrying")),
    effects=(),
)


@pytest.mark.parametrize(
    "change, expected",
    [
        ({}, {}),
        (seen(*AT_REST.seen, look(4.0, "Instantiated", OLD, OLD, NONE)), {"left-alone": Outcome.LOST}),
        (seen(*AT_REST.seen, look(4.0, "Instantiated", OLD, NEW, OLD), DONE), {"left-alone": Outcome.LOST}),
        # taken away and put back, and nobody looked in between
        ({"effects": (wrote("DELETE", "p1+c1", at=9.0), wrote("POST", "p1+c1", at=9.1))}, {"left-alone": Outcome.LOST}),
        ({"effects": (wrote("PATCH", "p1+c1", path=REPORTS),)}, {}),  # what edges report by is not the application
        (seen(*AT_REST.seen[:1]), {"says-retrying": Outcome.BROKEN}),
        ({"marks": marks(running_dig1=23.1)}, {"runs-afterwards": Outcome.STUCK}),
        ({"marks": marks(running_dig1=None)}, {"runs-afterwards": Outcome.STUCK}),
        # there was nothing that could be touched
        (seen(*(replace(one, edges={**one.edges, "p1+c3": NONE}) for one in AT_REST.seen)),
         {"left-alone": Outcome.UNKNOWN}),
    ],
)  # fmt: skip
def test_while_nobody_asks(change: Mapping[str, Any], expected: Expected, proven: Claims, outcomes: Outcomes) -> None:
    claim_at_rest(proven, replace(AT_REST, **change))
    assert differing(outcomes) == expected


STOPPED = look(6.0, "InstantiateFailed", OLD, NONE, OLD, c2="Pending", word="Retrying")
GONE = look(14.0, "Terminated", NONE, NONE, NONE)
REMOVED = replace(STOPPED, at=11.0, edges=dict.fromkeys(EDGES, NONE))
MEANWHILE = {
    f"partition {LOST}": 0.0,
    f"heal {LOST}": 13.0,
    "stop dig1": 5.0,
    "restart-rsync": 5.0,
    "terminate dig1": 10.0,
    "gone dig1": 14.0,
}
GIVEN_UP = replace(
    WELL,
    marks=MEANWHILE,
    seen=(BEFORE, AWAY, STOPPED, REMOVED, GONE),
    knocks=knocks(0.9, 2.9, 4.9, 10.5, 12.5),
    effects=(wrote("DELETE", at=13.5),),
)


def terminated(status: int = 202) -> Ran:
    step = {
        "activity": {"name": "the application is terminated"},
        "status": "succeeded",
        "output": {"status": status, "body": ""},
    }
    return Ran({"status": "completed", "deviated": False, "run": [step]}, cast("Any", None))


@pytest.mark.parametrize(
    "change, status, expected",
    [
        ({}, 202, {}),
        ({"knocks": knocks(0.9, 2.9, 4.9, 7.1, 9.1, 10.5, 12.5)}, 202, {"stop-ends-tries": Outcome.BROKEN}),
        # nothing was tried any more, or never was, when it was stopped
        ({"knocks": knocks(10.5, 12.5)}, 202, {"stop-ends-tries": Outcome.UNKNOWN}),
        ({"knocks": knocks(0.1, 0.8, 1.5, 10.5, 12.5)}, 202, {"stop-ends-tries": Outcome.UNKNOWN}),
        (seen(BEFORE, AWAY, REMOVED, GONE), 202, {"stop-is-told": Outcome.BROKEN}),
        (seen(BEFORE, AWAY, replace(STOPPED, status=NOTHING_SAID), REMOVED, GONE), 202,
         {"stop-is-told": Outcome.UNKNOWN}),
        ({}, 500, {"terminate-accepted": Outcome.NEEDS_REPAIR}),
        (seen(BEFORE, AWAY, STOPPED, GONE), 202, {"others-removed-at-once": Outcome.BROKEN}),
        # there never was anything that could be removed
        (seen(*(replace(one, edges={**one.edges, "p1+c3": NONE}) for one in GIVEN_UP.seen)), 202,
         {"others-removed-at-once": Outcome.UNKNOWN}),
        ({"effects": (wrote("POST", at=9.0), wrote("DELETE", at=13.5))}, 202, {}),
        ({"effects": (wrote("POST", at=13.2), wrote("DELETE", at=13.5))}, 202,
         {"nothing-applied-after": Outcome.BROKEN}),
        ({"marks": {name: at for name, at in MEANWHILE.items() if name != "gone dig1"}}, 202,
         {"nothing-left": Outcome.STUCK}),
        ({"marks": {name: at for name, at in MEANWHILE.items() if name != "gone dig1"},
          **seen(*GIVEN_UP.seen[:-1], replace(GONE, edges={**GONE.edges, LOST: OLD}))}, 202,
         {"nothing-left": Outcome.ORPHANS}),
    ],
)  # fmt: skip
def test_a_call_that_is_stopped(
    change: Mapping[str, Any], status: int, expected: Expected, proven: Claims, outcomes: Outcomes
) -> None:
    claim_given_up(proven, replace(GIVEN_UP, **change), terminated(status), "stop")
    assert differing(outcomes) == expected


@pytest.mark.parametrize(
    "left, where",
    [({LOST: OLD}, f"the edge that was away, Terminated ({LOST})"),
     ({LOST: OLD, "p1+c3": OLD}, f"edges that were there, Terminated ({LOST}, p1+c3)")],
)  # fmt: skip
def test_where_something_is_left_is_told_apart(
    left: Mapping[str, Content], where: str, proven: Claims, folder: RunFolder
) -> None:
    last = replace(GONE, edges={**GONE.edges, **left})
    never = {name: at for name, at in MEANWHILE.items() if name != "gone dig1"}
    claim_given_up(proven, replace(GIVEN_UP, marks=never, seen=(*GIVEN_UP.seen[:-1], last)), terminated(), "nothing")
    told = {one.name: one.reason for one in read_claimed(folder).claims}
    assert told["nothing-left"] == f"left on {where}"


@pytest.mark.parametrize(
    "moments, outcome",
    [
        ((1.0, 3.0, 6.0, 6.02, 6.9, 8.3), Outcome.HOLDS),
        ((1.0, 3.0, 6.0, 11.0), Outcome.BROKEN),
        ((1.0, 3.0, 5.1, 5.5, 6.9, 9.9), Outcome.BROKEN),  # one, and a watch
        ((1.0, 3.0, 6.0, 8.5), Outcome.UNKNOWN),  # or a watch alone,
    ],
)
def test_a_restarted_rsync_tries_again(
    moments: tuple[float, ...], outcome: Outcome, proven: Claims, outcomes: Outcomes
) -> None:
    claim_given_up(proven, replace(GIVEN_UP, knocks=knocks(*moments)), terminated(), "restart-rsync")
    assert outcomes()["tries-again-after-restart"] == outcome


@pytest.mark.parametrize(
    "moments, outcome",
    [
        ((1.0, 3.0, 5.0), Outcome.HOLDS),
        ((1.0, 1.1, 2.1, 3.0), Outcome.BROKEN),
        ((1.0, 3.0, 5.0, 7.0), Outcome.BROKEN),
        ((0.514, 0.52, 1.4, 2.61, 3.037, 4.62, 6.97), Outcome.UNKNOWN),  # nobody said when they ended
        ((0.8, 2.4, 5.6, 7.5), Outcome.UNKNOWN),
    ],
)
def test_an_edge_is_tried_as_often_as_is_set(
    moments: tuple[float, ...], outcome: Outcome, proven: Claims, outcomes: Outcomes
) -> None:
    bounded = replace(GIVEN_UP, marks={**MEANWHILE, "InstantiateFailed dig1": 8.0}, knocks=knocks(*moments), effects=())
    claim_bounded(proven, bounded, terminated(), failed="InstantiateFailed", most=2)
    assert differing(outcomes) == ({} if outcome is Outcome.HOLDS else {"as-often-as-set": outcome})


@pytest.mark.parametrize(
    "moments, outcome",
    [
        ((0.514, 0.52, 1.4, 2.61, 3.037, 4.96, 6.97), Outcome.BROKEN),  # one came late
        ((0.514, 0.52, 1.4, 2.61, 3.037, 4.62, 6.97), Outcome.BROKEN),
        ((1.9, 1.95, 2.8, 4.1, 5.1, 6.95), Outcome.HOLDS),  # 0.85 s late
        ((0.514, 0.52, 1.4, 2.61, 3.037, 4.62), Outcome.UNKNOWN),  # that is not where they ended
    ],
)
def test_late_tries_are_counted_by_what_rsync_wrote_after_the_last_one(
    moments: tuple[float, ...], outcome: Outcome, proven: Claims, outcomes: Outcomes
) -> None:
    key = "/context/1/AppContextEventQueue/"
    over = replace(wrote("put", "etcd", at=7.0), effect=Effect("etcd", "put", key, (("key", key),)))
    marks = {**MEANWHILE, "InstantiateFailed dig1": 8.0}
    bounded = replace(GIVEN_UP, marks=marks, knocks=knocks(*moments), effects=(over,))
    claim_bounded(proven, bounded, terminated(), failed="InstantiateFailed", most=2)
    assert differing(outcomes).get("as-often-as-set", Outcome.HOLDS) == outcome


# -- what only clusters and real EMCO show ----------------------------------------------------------------------------

MACHINE: Mapping[str, Any] = {
    "the edge goes away": "node edge-1 is off the network",
    "the edge is back": "on again",
    "rsync tries": 3,
    "the application runs": "it does",
    "from the return to the application": 2.0,
    "the application runs after the restart": "it does",
    "its node is switched off and on": "it was",
    "EMCO is at rest again": "at rest",
}
THING = {"kind": "ConfigMap", "metadata": {"name": "a"}}


@pytest.mark.parametrize(
    "changed, failed, left, expected",
    [
        ({}, "", (), {}),
        ({"rsync tries": 2}, "", (), {"tries-again": Outcome.BROKEN}),
        ({}, "the application runs", (), {"resumes": Outcome.STUCK}),
        ({}, "from the return to the application", (), {"resumes": Outcome.STUCK}),
        ({}, "the application runs after the restart", (), {"survives-restart": Outcome.LOST}),
        ({}, "", (THING,), {"nothing-left": Outcome.ORPHANS}),
        ({"EMCO is at rest again": "it works"}, "", (), {"nothing-left": Outcome.ORPHANS}),
    ],
)
def test_the_machine_of_an_edge_is_away(
    changed: Mapping[str, Any],
    failed: str,
    left: tuple[dict[str, Any], ...],
    expected: Expected,
    proven: Claims,
    outcomes: Outcomes,
) -> None:
    claim_machine(proven, beyond({**MACHINE, **changed}, failed, left))
    assert {name: one for name, one in differing(outcomes).items() if name != "steady-afterwards"} == expected


def beyond(outputs: Mapping[str, Any], failed: str, left: tuple[dict[str, Any], ...]) -> Ran:
    """An experiment after which an edge holds what is left, with an activity that failed, where one is named."""
    run: list[dict[str, Any]] = [
        {"activity": {"name": name}, "status": "succeeded", "output": output}
        for name, output in outputs.items()
        if name != failed
    ]
    run += [{"activity": {"name": failed}, "status": "failed", "exception": ["it did not"]}] if failed else []
    stage = SimpleNamespace(
        snapshots={"begin": WHOLE, "end": Snapshot("x", {}, {}, {LOST: left})},
        snapshot=lambda: WHOLE,
        history=lambda _: (),
        at_rest=str,
        marked=lambda _: None,
    )
    return Ran({"status": "completed", "deviated": False, "run": run}, cast("Any", stage))


POLICY: Mapping[str, Any] = {
    "the network does what policies say": "policies are enforced",
    "the edge is denied": "a policy denies p1+c2",
    "what arrived": [],
    "the application runs": "it does",
    "from the return to the application": 3.0,
    "EMCO is at rest again": "at rest",
}
RESUMES, RETURN = "the application runs", "from the return to the application"


@pytest.mark.parametrize(
    "changed, failed, left, expected",
    [
        ({}, "", (), {}),
        ({"what arrived": ["POST configmaps"]}, "", (), {"nothing-arrives": Outcome.BROKEN}),
        ({}, RESUMES, (), {"resumes": Outcome.STUCK}),
        ({}, RETURN, (), {"resumes": Outcome.STUCK}),
        ({}, "", (THING,), {"nothing-left": Outcome.ORPHANS}),
        ({"EMCO is at rest again": "it works"}, "", (), {"nothing-left": Outcome.ORPHANS}),
        ({}, "the edge is denied", (), {"resumes": Outcome.UNKNOWN}),
    ],
)
def test_a_policy_keeps_rsync_from_an_edge(
    changed: Mapping[str, Any],
    failed: str,
    left: tuple[dict[str, Any], ...],
    expected: Expected,
    proven: Claims,
    outcomes: Outcomes,
) -> None:
    claim_policy(proven, beyond({**POLICY, **changed}, failed, left))
    assert {name: one for name, one in differing(outcomes).items() if name != "steady-afterwards"} == expected


def git(at: float, said: str, *, c1: Content = OLD, c2: str = "Pending", word: str = "Retrying") -> Seen:
    return look(at, said, c1, NONE, OLD, c2=c2, word=word)


GIT = replace(
    WELL,
    target="git",
    marks={"partition git": 0.0, "heal git": 20.0, "terminate dig1": 10.0},
    seen=(BEFORE, git(2.0, "Instantiating"), replace(git(12.0, "Terminating"), edges=dict.fromkeys(EDGES, NONE))),
    knocks=knocks(1.0, 3.0, 5.0, 11.0, target="git"),
)


@pytest.mark.parametrize(
    "change, status, expected",
    [
        ({}, 202, {}),
        ({"knocks": knocks(1.0, 11.0, target="git")}, 202, {"tries-again": Outcome.BROKEN}),
        ({"knocks": knocks(1.0, 3.0, 5.0, target="git")}, 202, {"terminate-waits": Outcome.NEEDS_REPAIR}),
        (seen(BEFORE, git(2.0, "InstantiateFailed"), *GIT.seen[-1:]), 202, {"tries-again": Outcome.BROKEN}),
        (seen(*(replace(one, status=replace(one.status, connectivity={})) for one in GIT.seen)), 202,
         {"says-retrying": Outcome.BROKEN}),
        (seen(BEFORE, git(2.0, "Instantiating", c1=NONE), *GIT.seen[-1:]), 202, {"others-go-on": Outcome.BROKEN}),
        (seen(BEFORE, git(2.0, "Instantiating", c2="Applied"), *GIT.seen[-1:]), 202,
         {"pushed-as-said": Outcome.BROKEN}),
        (seen(*(replace(one, status=replace(one.status, resources=())) for one in GIT.seen)), 202,
         {"pushed-as-said": Outcome.UNKNOWN}),
        ({}, 500, {"terminate-waits": Outcome.NEEDS_REPAIR}),
        (seen(*GIT.seen[:-1], replace(git(12.0, "TerminateFailed"), edges=dict.fromkeys(EDGES, NONE))), 202,
         {"terminate-waits": Outcome.NEEDS_REPAIR}),
        (seen(*GIT.seen[:-1], replace(git(12.0, "Terminated"), edges=dict.fromkeys(EDGES, NONE))), 202,
         {"terminate-waits": Outcome.NEEDS_REPAIR}),
    ],
)  # fmt: skip
def test_a_git_server_that_is_away(
    change: Mapping[str, Any], status: int, expected: Expected, proven: Claims, outcomes: Outcomes
) -> None:
    claim_git_away(proven, replace(GIT, **change), terminated(status))
    assert differing(outcomes) == expected
