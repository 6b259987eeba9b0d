"""What is claimed of a wiped EMCO, on hand-written snapshots and journals: each claim holds and is broken.

Every table begins with an experiment in which all is well, and changes one thing; only what that concerns may change.
What the API must have said for a claim to be judged at all is in test_wipe.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import bson
import pytest

from fixtures import wipe, wipe_refused
from fixtures.experiment import Ran
from harness.chaos.moments import Made
from harness.crashpoints.model import Told
from harness.crashpoints.outcomes import Outcome
from harness.pytest_claims import Claims
from harness.stores.snapshot import Snapshot

Outcomes = Callable[[], Mapping[str, Outcome]]
Expected = Mapping[str, Outcome]
PROJECT = {"_id": 1, "project": "p", "keyId": "{project}", "data": {"metadata": {"name": "p"}}}
LATER = {**PROJECT, "_id": 2, "project": "q"}


def thing(name: str, context: str, data: str = "1", uid: str = "first") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "n", "uid": uid, "labels": {"emco/deployment-id": f"{context}-app1"}}
    return {"kind": "ConfigMap", "metadata": metadata, "data": {"k": data}}


def snapshot(*documents: dict[str, Any], contexts: tuple[str, ...] = (), edge: tuple[Any, ...] = ()) -> Snapshot:
    mongo = {"emco.resources": tuple(bson.encode(one) for one in documents)}
    return Snapshot("x", mongo, {f"/context/{one}/".encode(): b'""' for one in contexts}, {"p1+c1": edge})


def ran(
    outputs: Mapping[str, Any],
    *failed: str,
    snapshots: Mapping[str, Snapshot] | None = None,
    made: tuple[Made, ...] = (),
) -> Ran:
    run = [
        {
            "activity": {"name": name},
            "status": "failed" if name in failed else "succeeded",
            "output": output,
            "duration": 0.0,
        }
        for name, output in outputs.items()
    ]
    kept = dict(snapshots or {})
    moments = {"backup backup": 1.0, "wiping": 5.0}
    stage = SimpleNamespace(
        snapshots=kept,
        remembered=kept.__getitem__,
        made=made,
        marked=lambda name: SimpleNamespace(at=moments[name]),
    )
    return Ran({"status": "completed", "deviated": False, "run": run}, cast("Any", stage))


def differing(outcomes: Outcomes) -> Expected:
    return {name: one for name, one in outcomes().items() if one is not Outcome.HOLDS and name != "carried-out"}


# -- claims that say what steps came to -------------------------------------------------------------------------------

EMPTY = snapshot()
REFUSED = {
    "while services run": "services-run",
    "spoilt records": "spoilt-records",
    "spoilt contexts": "spoilt-contexts",
    "a file that is not there": "no-file",
    "into stores that are not empty": "not-empty",
}
KEY = {
    "mongo all the same": "9 documents",
    "etcd all the same": "9 keys",
    "services start with it": "rsync ended: no key",
    "work is given to EMCO": ["update-dig1 500"],
}
SILENT = {"what the API says": {"status": 400, "said": "", "running": False}}
RETAINED = {"volumes of claims that are gone": ["a", "b"], "no pod is left": 0}
BINDING = {"the stores are installed again": "PersistentVolumeClaim is not bound"}


def broken(name: str, outcome: Outcome, *steps: str) -> Mapping[str, Expected]:
    """By each of these steps this claim is broken."""
    return {step: {name: outcome} for step in steps}


STEPS: list[tuple[Callable[[Claims, Ran], None], Mapping[str, Any], Mapping[str, Expected]]] = [
    (
        wipe_refused.claim_refused,
        {},
        {
            **{step: {name: Outcome.BROKEN} for step, name in REFUSED.items()},
            **broken("unharmed", Outcome.BROKEN, "the good one", "services start", "the application runs"),
        },
    ),
    (
        wipe_refused.claim_key,
        KEY,
        {
            **broken("refused", Outcome.BROKEN, "a restore is refused"),
            **broken("right-one", Outcome.BROKEN, "the backup is restored", "services start", "the application runs"),
        },
    ),
    (
        wipe.claim_lost,
        SILENT,
        {
            **broken("one-restarts", Outcome.NEEDS_REPAIR, "clm starts again", "clm is used"),
            **broken("all-restart", Outcome.BROKEN, "EMCO comes up empty", "everything is made anew"),
            **broken("all-restart", Outcome.BROKEN, "the new application runs"),
        },
    ),
    (
        lambda claims, one: wipe.claim_works(claims, one, "the second group runs again"),
        {},
        broken("works", Outcome.STUCK, "the second group runs again", "everything is carried to its end"),
    ),
    (
        wipe_refused.claim_retained,
        {**RETAINED, **BINDING, "the time to recover": 2.0, "the time until new work is done": 3.0},
        {
            **broken("nothing-lost", Outcome.LOST, "the volumes are released", "the stores come up"),
            **broken("nothing-lost", Outcome.LOST, "records and contexts are as before the wipe"),
            **broken("no-restore-over-it", Outcome.BROKEN, "a restore over what is there is refused"),
            **broken("rto", Outcome.STUCK, "services start", "the application runs", "the time to recover"),
            **broken("rto", Outcome.STUCK, "the time until new work is done"),
        },
    ),
]
ALL_STEPS = [
    pytest.param(claim, outputs, steps, step, expected, id=step or "all is well")
    for claim, outputs, steps in STEPS
    for step, expected in {"": dict[str, Outcome](), **steps}.items()
]


@pytest.mark.parametrize("claim, outputs, steps, failed, expected", ALL_STEPS)
def test_a_step_that_fails_breaks_its_claim(
    claim: Callable[[Claims, Ran], None],
    outputs: Mapping[str, Any],
    steps: Mapping[str, Expected],
    failed: str,
    expected: Expected,
    proven: Claims,
    outcomes: Outcomes,
) -> None:
    done = {**dict.fromkeys(steps, "done"), **outputs}
    claim(proven, ran(done, failed, snapshots={"end": EMPTY}))
    assert differing(outcomes) == expected
    assert set(outcomes()) >= {name for broken in steps.values() for name in broken}


@pytest.mark.parametrize(
    "outputs, expected",
    [
        ({"volumes of claims that are gone": ["a"]}, {"kept": Outcome.LOST}),
        ({"no pod is left": 1}, {"kept": Outcome.LOST}),
        ({"the stores are installed again": "they are bound"}, {"not-bound-again": Outcome.BROKEN}),
    ],
)
def test_volumes_that_are_not_kept(
    outputs: Mapping[str, Any], expected: Expected, proven: Claims, outcomes: Outcomes
) -> None:
    claim, usual, steps = STEPS[-1]
    claim(proven, ran({**dict.fromkeys(steps, "done"), **usual, **outputs}))
    assert differing(outcomes) == expected


# -- claims that compare ----------------------------------------------------------------------------------------------

BACKUP = snapshot(PROJECT, contexts=("1",), edge=(thing("old", "1"),))
WIPED = snapshot(PROJECT, LATER, contexts=("1", "2"), edge=(thing("old", "1"), thing("new", "2")))
RESTORED = replace(BACKUP, edges=WIPED.edges)
AS_AT = {"records are as at the backup": "yes", "contexts are as at the backup": "yes"}


@pytest.mark.parametrize(
    "change, failed, expected",
    [
        ({}, "", {}),
        ({}, "records are as at the backup", {"records": Outcome.LOST}),
        ({"restored": replace(RESTORED, mongo=snapshot(LATER, PROJECT).mongo)}, "", {"records": Outcome.LOST}),
        ({}, "contexts are as at the backup", {"contexts": Outcome.LOST}),
        (
            {"restored": replace(RESTORED, edges={"p1+c1": (thing("old", "1", "2"), thing("new", "2"))})},
            "",
            {"edges": Outcome.LOST},
        ),
        (  # taken away and put back
            {"restored": replace(RESTORED, edges={"p1+c1": (thing("old", "1", uid="other"), thing("new", "2"))})},
            "",
            {"edges": Outcome.LOST},
        ),
        (  # what nothing was applied of has no orphan that could be named
            {"wiped": BACKUP, "restored": BACKUP},
            "",
            {"orphans-named": Outcome.UNKNOWN},
        ),
        (
            {"wiped": snapshot(PROJECT), "restored": snapshot(PROJECT, contexts=("1",))},
            "",
            {"edges": Outcome.UNKNOWN, "orphans-named": Outcome.UNKNOWN},
        ),
        (
            {"restored": replace(RESTORED, mongo=snapshot(PROJECT, {**PROJECT, "_id": 9}).mongo)},
            "",
            {"records": Outcome.LOST, "invariants": Outcome.BROKEN},
        ),
    ],
)
def test_what_a_restore_brings_back(
    change: Mapping[str, Snapshot], failed: str, expected: Expected, proven: Claims, outcomes: Outcomes
) -> None:
    kept = {"backup": BACKUP, "wiped": WIPED, "restored": RESTORED, **change}
    wipe.claim_as_at_backup(proven, ran(AS_AT, failed, snapshots=kept))
    assert differing(outcomes) == expected
    assert len(outcomes()) == 6  # with that of the fixture


def test_an_object_that_is_no_orphan_is_not_named_one(
    proven: Claims, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.emco.invariants.broken", lambda *_, **__: ())  # an invariant that sees nothing
    wipe.claim_as_at_backup(proven, ran(AS_AT, snapshots={"backup": BACKUP, "wiped": WIPED, "restored": RESTORED}))
    assert differing(outcomes) == {"orphans-named": Outcome.BROKEN}


def made(status: int, began: float) -> Made:
    return Made("instantiate-dig2", Told(status), began, began + 0.1)


IN_TIME = {**AS_AT, "the age of the backup": 4.0, "services start": "up", "the application runs": "it does"}


@pytest.mark.parametrize(
    "calls, failed, expected",
    [
        ((made(202, 2.0),), "", {}),
        ((made(202, 2.0),), "the age of the backup", {"rpo": Outcome.LOST}),
        ((made(202, 2.0),), "records are as at the backup", {"rpo": Outcome.LOST}),
        ((made(202, 0.5),), "", {"rpo": Outcome.LOST}),  # before the backup: nothing was lost that could be counted
        ((made(500, 2.0),), "", {"rpo": Outcome.LOST}),
        ((made(202, 2.0),), "the time to recover", {"rto": Outcome.STUCK}),
        ((made(202, 2.0),), "the application runs", {"rto": Outcome.STUCK}),
        ((made(202, 2.0),), "the time until new work is done", {"rto": Outcome.STUCK}),
    ],
)
def test_how_far_back_and_how_long(
    calls: tuple[Made, ...], failed: str, expected: Expected, proven: Claims, outcomes: Outcomes
) -> None:
    kept = {"restarted": BACKUP, "wiped": WIPED}
    times = {"the time to recover": 3.0, "the time until new work is done": 5.0}
    wipe.claim_back_in_time(proven, ran({**IN_TIME, **times}, failed, snapshots=kept, made=calls))
    assert differing(outcomes) == expected


@pytest.mark.parametrize(
    "end, outcome",
    [
        ({"end": EMPTY}, Outcome.HOLDS),
        ({"end": snapshot(edge=({"kind": "ResourceBundleState"},))}, Outcome.HOLDS),
        ({"end": snapshot(edge=(thing("new", "2"),))}, Outcome.ORPHANS),
        ({}, Outcome.ORPHANS),
    ],
)
def test_what_is_left_in_the_end(
    end: Mapping[str, Snapshot], outcome: Outcome, proven: Claims, outcomes: Outcomes
) -> None:
    wipe.claim_reclaimed(proven, ran({}, snapshots=end))
    assert outcomes()["reclaimed"] == outcome


@pytest.mark.parametrize(
    "anew, failed, outcome",
    [
        (BACKUP, "", Outcome.HOLDS),
        (snapshot(PROJECT, contexts=("1",)), "", Outcome.HOLDS),  # of edges others speak
        (snapshot(LATER, contexts=("1",)), "", Outcome.BROKEN),
        (BACKUP, "the new application runs", Outcome.BROKEN),
    ],
)
def test_what_is_made_anew(anew: Snapshot, failed: str, outcome: Outcome, proven: Claims, outcomes: Outcomes) -> None:
    steps = {"everything is made anew": ["project"], "the new application runs": "it does"}
    wipe.claim_anew(proven, ran(steps, failed, snapshots={"backup": BACKUP, "anew": anew}))
    assert outcomes()["anew"] == outcome


def group(context: str) -> dict[str, Any]:
    actions = [{"state": "Instantiated", "contextid": context}]
    return {"_id": 7, "deploymentIntentGroup": "dig1", "keyId": "{deploymentIntentGroup}",
            "stateInfo": {"actions": actions}}  # fmt: skip


@pytest.mark.parametrize(
    "context, outcome",
    [("2222222222", Outcome.HOLDS), ("1111111111", Outcome.BROKEN)],  # the latter is a pair, after all
)
def test_what_does_not_fit_is_named(context: str, outcome: Outcome, proven: Claims, outcomes: Outcomes) -> None:
    queue = {f"/context/{context}/rsync/AppContextEventQueue/".encode(): b'{"AcQueue":[{"event":"Instantiate"}]}'}
    restored = snapshot(group("1111111111"), contexts=(context,))
    wipe.claim_mixed(proven, ran({}, snapshots={"restored": replace(restored, etcd={**restored.etcd, **queue})}))
    assert outcomes()["named"] == outcome


def test_what_is_not_named_is_missed(proven: Claims, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.emco.invariants.check", lambda *_: ())  # an invariant that sees nothing
    wipe.claim_mixed(proven, ran({}, snapshots={"restored": snapshot(group("1"), contexts=("2",))}))
    assert outcomes()["named"] == Outcome.BROKEN


def test_what_the_api_cannot_take_away_is_stuck(proven: Claims, outcomes: Outcomes) -> None:
    steps = ("everything is taken away", "what may help what is left", "everything is taken away once more")
    kept = {"restored": snapshot(group("1"), contexts=("2",)), "left": snapshot(group("1"))}
    wipe.claim_mixed(proven, ran({step: ["delete-dig1 500"] for step in steps}, snapshots=kept))
    assert outcomes()["api-repairs"] == Outcome.STUCK


SCHEMA = {"_id": 4, "SegmentId": "s", "keyId": "{SegmentId}",
          "segment": {"name": "emco-base", "resources": [{"name": "project", "parent": ""}]}}  # fmt: skip
PENDING = {
    "a backup is refused": "it needs writers at rest",
    "the backup is restored": "all of it",
    "the application runs again": "it does",
    "EMCO is at rest again": "at rest",
}


@pytest.mark.parametrize(
    "failed, restored, wiped, expected",
    [
        ("", snapshot(SCHEMA), EMPTY, {}),
        ("a backup is refused", snapshot(SCHEMA), EMPTY, {"refused-at-work": Outcome.BROKEN}),
        (
            "the application runs again",
            snapshot(SCHEMA),
            EMPTY,
            {"taken-up": Outcome.STUCK, "invariants": Outcome.BROKEN},
        ),
        ("", snapshot(), EMPTY, {"invariants": Outcome.BROKEN}),  # without a schema
        # What nobody undid is there without rsync.
        ("", snapshot(SCHEMA), snapshot(edge=(thing("old", "1"),)), {"taken-up": Outcome.UNKNOWN}),
    ],
)
def test_a_backup_with_something_pending(
    failed: str, restored: Snapshot, wiped: Snapshot, expected: Expected, proven: Claims, outcomes: Outcomes
) -> None:
    wipe.claim_pending(proven, ran(PENDING, failed, snapshots={"restored": restored, "wiped": wiped}))
    assert differing(outcomes) == expected
    assert len(outcomes()) == 4


TERMINATED = dict.fromkeys(
    ("terminate again", "EMCO is at rest again", "instantiate again", "the application runs"), "done"
)


@pytest.mark.parametrize("failed", ["", *TERMINATED])
def test_what_was_terminated_is_brought_back(failed: str, proven: Claims, outcomes: Outcomes) -> None:
    kept = {"backup": BACKUP, "restored": BACKUP}
    wipe.claim_terminated(proven, ran(TERMINATED, failed, snapshots=kept))
    assert outcomes()["brought-back"] == (Outcome.STUCK if failed else Outcome.HOLDS)
    assert outcomes()["absent-named"] == Outcome.BROKEN  # nothing is gone


def violation(edge: str, name: str, invariant: str = "edge-applied") -> Any:
    """As the invariants of the edges have it."""
    where, sentence = f"etcd /context/1/app/app1/cluster/{edge}/", f"ConfigMap {name} is Applied, but not on the edge"
    return SimpleNamespace(invariant=invariant, where=where, sentence=sentence)


@pytest.mark.parametrize(
    "found, outcome",
    [
        ((violation("p1+c1", "old"),), Outcome.HOLDS),
        ((), Outcome.BROKEN),
        ((violation("p1+c1", "other"),), Outcome.BROKEN),  # as many as are gone, and not those
        ((violation("p1+c2", "old"),), Outcome.BROKEN),
        ((violation("p1+c1", "old"), violation("p1+c2", "old")), Outcome.BROKEN),
        ((violation("p1+c1", "old", "edge-owned"),), Outcome.BROKEN),
        ((violation("p1+c1", "old"), violation("p1+c1", "old", "I4-dangling")), Outcome.BROKEN),
    ],
)
def test_each_object_that_is_gone_is_named(
    found: tuple[Any, ...], outcome: Outcome, proven: Claims, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.emco.invariants.broken", lambda *_, **__: found)
    kept = {"backup": BACKUP, "restored": replace(BACKUP, edges={})}
    wipe.claim_terminated(proven, ran(TERMINATED, snapshots=kept))
    assert outcomes()["absent-named"] == outcome


def test_an_object_is_called_alike_by_the_edges_and_by_their_invariants(proven: Claims, outcomes: Outcomes) -> None:
    place = "/context/1111111111/app/app1/cluster/p1+c1/resource/old+ConfigMap/"
    keys = {place.encode(): b'""', f"{place}status/".encode(): b'{"Status":"Applied"}'}
    before = snapshot(SCHEMA, group("1111111111"), contexts=("1111111111",), edge=(thing("old", "1111111111"),))
    before = replace(before, etcd={**before.etcd, **keys})
    kept = {"backup": before, "restored": replace(before, edges={"p1+c1": ()})}
    wipe.claim_terminated(proven, ran(TERMINATED, snapshots=kept))
    assert outcomes()["absent-named"] == Outcome.HOLDS


@pytest.mark.parametrize(
    "failed, outcome", [("", Outcome.HOLDS), ("mongo is lost", Outcome.UNKNOWN), ("etcd is lost", Outcome.UNKNOWN)]
)
def test_a_loss_is_proven_by_each_of_its_steps(
    failed: str, outcome: Outcome, proven: Claims, outcomes: Outcomes
) -> None:
    lost = ("mongo is lost", "etcd is lost")
    one = ran(dict.fromkeys(lost, "SIGKILL reaped"), failed, snapshots={"end": EMPTY})
    not_mended = {"activity": {"name": "mend"}, "status": "failed"}  # of what comes after the end others speak
    one = Ran({**one.journal, "rollbacks": [not_mended]}, one.stage)
    wipe.about(proven, one, "no-backup", by=lost)
    wipe.claim_reclaimed(proven, one)
    assert outcomes()["reclaimed"] == outcome


def test_of_records_that_were_not_restored_nothing_is_claimed(proven: Claims, outcomes: Outcomes) -> None:
    kept = {"restored": snapshot(SCHEMA, contexts=("2",)), "left": snapshot(SCHEMA, contexts=("2",))}
    wipe.claim_mixed(proven, ran({}, snapshots=kept))
    assert "api-repairs" not in outcomes()
