"""What an outage left behind, from snapshots and from what clients were told: pure functions for claims."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import bson

from harness.chaos.clients import Ask, Asked
from harness.crashpoints.model import Told
from harness.emco.invariants import broken
from harness.emco.profile import PROFILE
from harness.stores.canonical import Delta, canonical, difference
from harness.stores.snapshot import Snapshot
from harness.wire.effects import Observation


def lost(before: Snapshot, after: Snapshot) -> tuple[str, ...]:
    """What was there before and is not any more: documents by their `_id`, keys, without rsync's list of the active."""
    label = PROFILE.rules(()).label
    there = {_identity(raw) for found in after.mongo.values() for raw in found}
    documents = [
        f"{name} {label(bson.decode(raw))}"
        for name, found in before.mongo.items()
        for raw in found
        if _identity(raw) not in there
    ]
    keys = [key.decode() for key in before.etcd if key not in after.etcd and not key.startswith(_ACTIVE)]
    return (*documents, *keys)


_ACTIVE = b"/activecontext/"


def _identity(raw: bytes) -> str:
    return str(bson.decode(raw)["_id"])


def unasked(before: Snapshot, after: Snapshot, asked: Sequence[Asked]) -> tuple[str, ...]:
    """Names of what is new or changed although the client was refused: what a refused request left behind.

    What was acknowledged, or not answered, may have left what it asks for: a create its record, a lifecycle call the
    state of its group, contexts with their keys, and objects on edges.
    """
    allowed = [one.ask for one in asked if one.told.kind != "refused" and one.ask.method != "GET"]
    labels = {ask.label or _target(ask) for ask in allowed}
    lifecycle = any(not ask.label for ask in allowed)

    def excused(where: str) -> bool:
        if where.startswith("mongo "):
            return not labels.isdisjoint(_NAMES.split(where))
        return lifecycle

    return tuple(
        delta.where for delta in _deltas(before, after) if delta.kind != "missing" and not excused(delta.where)
    )


_NAMES = re.compile(r"[ /]")  # between the names that a record is known by: `mongo emco.resources {cluster,..} c1/p1`


def _target(ask: Ask) -> str:
    """Whom a lifecycle call is about: `dig1` of /v2/.../dig1/instantiate."""
    return ask.path.split("/")[-2]


def misjudged_creates(asked: Sequence[Asked], there: Snapshot) -> tuple[str, ...]:
    """Creates that were answered wrongly, a line each: acknowledged they have to be, refused where what they stand
    below is not there.

    asked: of creates, those whose paths are `/v2/` and pairs of a kind and a name, then the kind of what is made
    """
    label = PROFILE.rules(()).label
    names = {frozenset(_NAMES.split(label(one))[1:]) for one in there.documents("emco.resources")}
    wrong = []
    for one in asked:
        if one.ask.label:
            above = frozenset(one.ask.path.split("/")[3::2])
            wanted = "acknowledged" if not above or above in names else "refused"
            wrong += [one.describe()] if one.told.kind != wanted else []
    return tuple(wrong)


def misjudged_rest(asked: Sequence[Asked], *, reads: int) -> tuple[str, ...]:
    """What else was answered wrongly where something is gone: reads have a status, lifecycle calls are refused."""
    return tuple(
        one.describe()
        for one in asked
        if (one.ask.method == "GET" and one.told.status != reads)
        or (one.ask.method != "GET" and not one.ask.label and one.told.kind != "refused")
    )


def as_told(terminate: Told, *, gone: bool, runs: bool) -> bool:
    """Whether a terminate did what its client was told: acknowledged, the application is gone; else it may run, too."""
    return gone or (runs and terminate.kind != "acknowledged")


def unkept(history: Iterable[Observation], after: Snapshot) -> tuple[str, ...]:
    """Keys whose last write etcd had acknowledged and that are not there, though nobody deleted them since."""
    there: dict[str, bool] = {}
    for seen in history:
        key = dict(seen.effect.key)
        if seen.effect.op == "Put" and seen.ok:
            there[key["key"]] = True
        elif seen.effect.op == "DeleteRange" and seen.forwarded:
            end = key.get("range_end", key["key"] + "\0")
            there.update({name: False for name in there if key["key"] <= name < end})
    return tuple(name for name, wanted in there.items() if wanted and name.encode() not in after.etcd)


def disagreements(before: Snapshot | None, after: Snapshot) -> tuple[str, ...]:
    """Invariants that are broken and were not before, a sentence each.

    Without one that needs no outage: rsync notes what a terminate does not find on an edge as Failed, so a deployment
    that is terminated before all of it was applied ends as Terminated with failed resources, whatever happened before.
    """
    return tuple(
        f"{one.invariant} {one.where}: {one.sentence}"
        for one in broken(after, before=before)
        if not (
            one.invariant == "context-truthful" and "is Terminated, but" in one.sentence and "Failed" in one.sentence
        )
    )


def inert_leaks(before: Snapshot, after: Snapshot) -> tuple[str, ...]:
    """Inert leftovers, contexts that never reached rsync say, that were not there before."""
    known = frozenset(PROFILE.without_inert(before)[1])
    return tuple(one for one in PROFILE.without_inert(after)[1] if one not in known)


def without_inert(snapshot: Snapshot) -> Snapshot:
    """What is left when inert leftovers are left out, so that they hide nothing and nothing hides behind them."""
    return PROFILE.without_inert(snapshot)[0]


def shown(names: Iterable[str], *, most: int = 5) -> str:
    """The first few of many, for a sentence."""
    found = list(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def _deltas(before: Snapshot, after: Snapshot) -> tuple[Delta, ...]:
    """Differences of one and the same EMCO: ids stay as they are, or one more context would rename those of others."""
    rules = replace(PROFILE.rules(()), id_keys=(), id_fields=frozenset[str](), id_values=(), id_object=lambda _: "")
    return difference(canonical(before, rules), canonical(after, rules))
