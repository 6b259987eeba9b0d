"""What an outage left behind, from snapshots and from what clients were told: pure functions for claims."""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import bson

from harness.chaos.clients import Ask, Asked
from harness.crashpoints.model import Told
from harness.emco.invariants import Violation, broken
from harness.emco.profile import PROFILE
from harness.emco.records import applied_by, object_label
from harness.emco.view import look, names_in
from harness.stores.canonical import Delta, canonical, difference
from harness.stores.snapshot import Snapshot
from harness.wire.effects import Observation, digest

GROUP = "deploymentIntentGroup"
"""Kind of the records that an update makes a revision of."""


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


def changed(before: Snapshot, after: Snapshot) -> tuple[str, ...]:
    """What is not as it was before, a line each; without rsync's list of the active."""
    return tuple(
        f"{one.where} ({one.kind})" if one.kind != "differs" else one.where
        for one in _deltas(before, after)
        if not one.where.startswith(f"etcd {_ACTIVE.decode()}")
    )


def unasked(before: Snapshot, after: Snapshot, asked: Sequence[Asked]) -> tuple[str, ...]:
    """Names of what is new or changed although nobody asked for it, or was refused.

    What was acknowledged, or not answered, may have left what it asks for: a create its record; a lifecycle call the
    state of its group, the contexts that this group names and new ones, and what these applied to edges. What stands
    below a record is not asked for with it.
    """
    excused = _excuse(before, after, asked)
    return tuple(
        delta.where for delta in _deltas(before, after) if delta.kind != "missing" and not excused(delta.where)
    )


def reverted(before: Snapshot, after: Snapshot, asked: Sequence[Asked]) -> tuple[str, ...]:
    """Names of what is there and does not hold what it held before, although nobody asked for that.

    asked: everything that may have changed something since, refused or not
    """
    excused = _excuse(before, after, [replace(one, told=Told(None)) for one in asked])
    active = f"etcd {_ACTIVE.decode()}"
    return tuple(
        f"{delta.where} (not as before)"
        for delta in _deltas(before, after)
        if delta.kind == "differs" and not excused(delta.where) and not delta.where.startswith(("edge ", active))
    )


def _excuse(before: Snapshot, after: Snapshot, asked: Sequence[Asked]) -> Callable[[str], bool]:
    """Tells of places whether what clients asked for, and were not refused, may have changed them."""
    allowed = [one.ask for one in asked if one.told.kind != "refused" and one.ask.method != "GET"]
    labels = {ask.label or _target(ask) for ask in allowed}
    at_work = _at_work(before, after, {_target(ask) for ask in allowed if not ask.label})
    applied = {
        f"edge {edge} {object_label(thing)}"
        for snapshot in (before, after)
        for edge, things in snapshot.edges.items()
        for thing in things
        if applied_by(thing) in at_work
    }

    below = _below(labels, before) | _below(labels, after)

    def excused(where: str) -> bool:
        if where.startswith("mongo "):
            return _COPY.sub("", where) not in below and not labels.isdisjoint(names_in(where))
        if where.startswith("etcd "):
            return not at_work.isdisjoint(where.split("/")[2:3])  # etcd /context/<id>/..., /activecontext/<id>/
        return where in applied

    return excused


_COPY = re.compile(r" \(copy \d+\)$")  # how the canonical form calls further documents with the same key


def _below(labels: Collection[str], snapshot: Snapshot) -> frozenset[str]:
    """Places of records that have one of these names only because they stand below the record that is called so."""
    named = {
        record.where: frozenset(record.key)
        for record in look(snapshot).records
        if not {value for _, value in record.key}.isdisjoint(labels)
    }

    def stands_below(key: frozenset[tuple[str, str]], pair: tuple[str, str]) -> bool:
        return any(other < key and pair in other for other in named.values())

    return frozenset(
        where for where, key in named.items() if all(stands_below(key, pair) for pair in key if pair[1] in labels)
    )


def _at_work(before: Snapshot, after: Snapshot, targets: Collection[str]) -> frozenset[str]:
    """Ids of the contexts that lifecycle calls of these may have to do with: those that they name, and new ones."""
    if not targets:
        return frozenset()
    was, now = look(before), look(after)
    found = {*now.contexts} - {*was.contexts}
    for view in (was, now):
        for record in view.records:
            if not record.names.isdisjoint(targets):
                children = (view.contexts[name].children for name in record.named if name in view.contexts)
                found.update(record.named, *children)
    return frozenset(found)


def _target(ask: Ask) -> str:
    """Whom a lifecycle call is about: `dig1` of /v2/.../dig1/instantiate."""
    return ask.path.split("/")[-2]


def misjudged_creates(asked: Sequence[Asked], there: Snapshot) -> tuple[str, ...]:
    """Creates that were answered wrongly, a line each: acknowledged they have to be, refused where what they stand
    below is not there.

    asked: of creates, those whose paths are `/v2/` and pairs of a kind and a name, then the kind of what is made
    """
    label = PROFILE.rules(()).label
    names = {frozenset(names_in(label(one))[1:]) for one in there.documents("emco.resources")}
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
    """Keys whose last write etcd had acknowledged and that are not there, or hold something else, since when nobody
    deleted them.

    A write that nobody knows the end of, or that was under way beside another one, may have taken place or not.
    """
    last: dict[str, _Last] = {}
    for seen in history:
        names = [value for name, value in seen.effect.key if name == "key"]
        if seen.effect.op == "Put" and seen.forwarded:
            last[names[0]] = last.get(names[0], _Last()).then(seen)
        elif seen.effect.op == "DeleteRange" and seen.forwarded:
            end = dict(seen.effect.key).get("range_end", names[0] + "\0")
            last = {name: one for name, one in last.items() if not names[0] <= name < end}
        elif seen.effect.op == "Txn":  # what it did is not told
            last = {name: one for name, one in last.items() if name not in names}
    return tuple(
        f"{name} (an older value)" if name.encode() in after.etcd else name
        for name, one in last.items()
        if not one.fits(after.etcd.get(name.encode()))
    )


@dataclass(frozen=True, slots=True)
class _Last:
    """What was written to a key. values: what may be the last of it;  there: one was acknowledged;  until: when the
    last of them that is under way will be over."""

    values: frozenset[str] = frozenset()
    there: bool = False
    until: float = 0.0

    def then(self, put: Observation) -> "_Last":
        """After one more write."""
        alone = put.ok and self.until <= put.requested
        return _Last(
            values=frozenset({put.effect.value}) | (frozenset() if alone else self.values),
            there=self.there or bool(put.ok),
            until=max(self.until, put.answered or put.requested + _LINGERS),
        )

    def fits(self, value: bytes | None) -> bool:
        """Whether what stands there now can be it. Where it is not known what was written, anything can."""
        return not self.there or (value is not None and not self.values.isdisjoint((digest(value), "")))


_LINGERS = 2.0  # seconds: a write without an answer may take place later than one that begins within these


def unrecorded(before: Snapshot, after: Snapshot, asked: Sequence[Asked]) -> tuple[str, ...]:
    """Groups whose record says less often than their clients that they were updated, a sentence each."""
    updates = Counter(
        _target(one.ask)
        for one in asked
        if one.told.kind == "acknowledged" and not one.ask.label and one.ask.path.endswith("/update")
    )
    was, now = _revisions(before), _revisions(after)
    return tuple(
        f"{group} was updated {told} times, its record has {now[group] - was[group]} new revisions"
        for group, told in updates.items()
        if now[group] - was[group] < told
    )


def _revisions(snapshot: Snapshot) -> Counter[str]:
    """How often each group was instantiated, by an update or otherwise."""
    return Counter(
        dict(record.key)[GROUP]
        for record in look(snapshot).of(GROUP)
        for action in record.actions
        if action.state == "Instantiated"
    )


def disagreements(
    before: Snapshot | None, after: Snapshot, history: Sequence[Observation] = ()
) -> tuple[Violation, ...]:
    """Invariants that are broken and were not before.

    Without one that needs no outage: rsync notes what a terminate does not find on an edge as Failed, so a deployment
    that is terminated before all of it was applied ends as Terminated with failed resources, whatever happened before.
    history tells what was not there when a context's terminate was asked for.
    """
    present = _at_each_terminate(history)
    early = {
        (where, f"the context is Terminated, but {name} is Failed")
        for context in look(after).contexts.values()
        for where, cluster in context.clusters()
        for name in cluster.resources
        if any((cluster.name, name.partition("+")[0]) not in there for there in present.get(context.id, ()))
    }
    return tuple(
        one
        for one in broken(after, before=before)
        if one.invariant != "context-truthful" or (one.where, one.sentence) not in early
    )


_QUEUE = re.compile(r"/context/(\d+)/rsync/AppContextEventQueue/$")


def _at_each_terminate(history: Iterable[Observation]) -> Mapping[str, Sequence[frozenset[tuple[str, str]]]]:
    """What was on the edges whenever rsync was asked to terminate a context, by its id: edge and name of each object.

    The request does not tell whom it is about; the queue that rsync puts the event into, before it answers, does.
    """
    there: set[tuple[str, str]] = set()
    found: dict[str, list[frozenset[tuple[str, str]]]] = {}
    asked, until = frozenset[tuple[str, str]](), -math.inf
    for seen in sorted(history, key=lambda one: one.requested):
        effect = seen.effect
        if effect.store == "grpc" and effect.op == "UninstallApp":
            asked, until = frozenset(there), math.inf if seen.answered is None else seen.answered
        elif effect.store == "edge" and seen.ok:
            name = effect.value if effect.op == "POST" else dict(effect.key)["path"].rpartition("/")[2]
            (there.discard if effect.op == "DELETE" else there.add)((seen.target, name))
        elif seen.requested <= until and effect.op == "Put" and (queue := _QUEUE.search(dict(effect.key)["key"])):
            found.setdefault(queue[1], []).append(asked)
    return found


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
