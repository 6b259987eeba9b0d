"""Experiments with a store that goes away, written by hand: what steps gave, what clients were told, what is there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import Any, cast

import bson

from fixtures.experiment import Ran
from harness.chaos.clients import Ask, Asked
from harness.crashpoints.model import Told
from harness.crashpoints.outcomes import Outcome
from harness.emco.status import GroupStatus
from harness.stores.snapshot import Snapshot
from harness.wire.effects import Observation
from harness.wire.knocks import Knock

Outcomes = Callable[[], Mapping[str, Outcome]]
RUNS = "the application runs everywhere"
AGAIN = "clients ask again for what was refused"
LIES = "what of it is not true"
PROJECT = {"_id": 1, "project": "p", "keyId": "{project}", "data": {"metadata": {"name": "p"}}}
NEW = {**PROJECT, "_id": 2, "project": "new"}


def snapshot(*documents: dict[str, Any], keys: tuple[str, ...] = ()) -> Snapshot:
    mongo = {"emco.resources": tuple(bson.encode(one) for one in documents)}
    return Snapshot("x", mongo, {key.encode(): b'""' for key in keys}, {})


WHOLE = snapshot(PROJECT)
TWICE = snapshot(PROJECT, {**PROJECT, "_id": 3})  # breaks an invariant
INERT = snapshot(PROJECT, keys=("/context/1234567890/",))
BOTH_LEFT = snapshot(PROJECT, NEW, keys=("/context/1234567890/",))


def post(status: int | None, name: str = "new", *, began: float = 1.0, ended: float = 2.0) -> Asked:
    return Asked(Ask("orchestrator", "POST", "/v2/projects", {"metadata": {"name": name}}), Told(status), began, ended)


def other(status: int | None, method: str = "POST") -> Asked:
    return Asked(Ask("orchestrator", method, "/v2/projects/p/x/dig1/terminate"), Told(status), 1.0, 2.0)


def knock(at: float, source: str = "rsync", target: str = "mongo") -> Knock:
    return Knock(at, source, target, "connect")


@dataclass(frozen=True, slots=True)
class Case:
    """An experiment. The store goes away at 5.0, is brought back from 5.9 on, and is back at 6.0.

    outputs, failed: of activities;  asked, load: what clients were told;  there: whether what they asked for is
    knocks: at stores;  restless: why EMCO does not come to rest
    """

    outputs: Mapping[str, Any] = field(default_factory=dict)
    failed: Sequence[str] = ()
    asked: Sequence[Asked] = ()
    load: Sequence[Asked] = ()
    there: bool = True
    snapshots: Mapping[str, Snapshot] = field(default_factory=dict)
    now: Snapshot = WHOLE
    not_ready: str = ""
    deployed: str = "Terminated"
    history: Sequence[Observation] = ()
    knocks: Sequence[Knock] = (knock(5.5), knock(5.6, "clm"))
    restless: str = ""

    def knocks_at(self, *, source: str, target: str, since: Any) -> list[Knock]:
        """As a stage has them."""
        return [
            one
            for one in self.knocks
            if one.at >= since.at and fnmatchcase(one.source, source) and fnmatchcase(one.target, target)
        ]

    def ran(self) -> Ran:
        run: list[dict[str, Any]] = [
            {"activity": {"name": name}, "status": "failed", "exception": [f"it failed: {name}"]}
            for name in self.failed
        ]
        run += [
            {"activity": {"name": name}, "status": "succeeded", "output": output}
            for name, output in self.outputs.items()
            if name not in self.failed
        ]
        moments = {"outage mongo": 5.0, "back mongo": 6.0, "outage both": 5.0, "back both": 6.0, "empty": 0.0}
        moments |= {"outage etcd": 5.0, "back etcd": 6.0, "supervised": 5.2, "rsync up": 6.5, "resume rsync": 7.0}
        moments |= {"two rsync": 3.0, "meanwhile": 4.0}
        moments |= {f"returns {store}": 5.9 for store in ("mongo", "etcd", "both")}
        stage = SimpleNamespace(
            snapshots={"begin": WHOLE, **self.snapshots},
            snapshot=lambda: self.now,
            objects=dict,
            clients=SimpleNamespace(asked=list(self.asked), took_place=lambda _: self.there),
            load=SimpleNamespace(asked=list(self.load)),
            groups=SimpleNamespace(
                not_ready=lambda _: self.not_ready,
                status=lambda _: GroupStatus(self.deployed, "", {}, {}, ()),
            ),
            knocks=self.knocks_at,
            history=lambda _: self.history,
            seen=lambda *, source, target, since: [one for one in self.history if one.target == target],
            at_rest=lambda: self.restless,
            marked=lambda name: SimpleNamespace(at=moments[name]),
        )
        return Ran({"status": "completed", "deviated": False, "run": run}, cast("Any", stage))


def judged(outcomes: Outcomes) -> dict[str, Outcome]:
    """All but what claim_steady says, of which test_steady.py is, and that no test came to its end."""
    return {name: one for name, one in outcomes().items() if name not in ("steady-afterwards", "carried-out")}


def differing(outcomes: Outcomes) -> dict[str, Outcome]:
    return {name: outcome for name, outcome in judged(outcomes).items() if outcome is not Outcome.HOLDS}
