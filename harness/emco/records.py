"""EMCO's records in mongo, AppContexts in etcd, objects on edges: labels, ids, masks, owners, what is at work."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import bson
import msgspec

from harness.stores.canonical import CanonicalRules, Mask
from harness.stores.snapshot import Snapshot
from harness.wire.effects import Effect

CONTEXT_KEY = re.compile(r"^/context/([0-9]+)/")
ACTIVE_KEY = re.compile(r"^/activecontext/([0-9]+)/")
_LONG_NUMBER = re.compile(r"[0-9]{10,}")  # a context's id in the name of an edge's object
DEPLOYMENT_LABEL = "emco/deployment-id"
REPORT = "ResourceBundleState"
"""Kind of what the monitor reports a deployment's status by. rsync removes it two minutes after the workload."""
_UNFINISHED = frozenset({"Instantiating", "Terminating", "Updating"})
# After an update EMCO leaves this event in the old context's queue, without any fault; rsync's next start works it off.
MAY_STAY = frozenset({"UpdateDelete"})
_CURRENT = b"/rsync/state/CurrentState/"
_QUEUE = "/rsync/AppContextEventQueue/"

MASKS: tuple[Mask, ...] = (
    Mask("timestamp", r"^mongo ", "stateInfo.actions.*.timestamp"),
    Mask("private key", r"^mongo ", "privatekey.keyvalue"),
    Mask("certificate", r"^mongo ", "data.specification.certificate"),
    Mask("uid", r"^edge ", "metadata.uid", drop=True),
    Mask("resource version", r"^edge ", "metadata.resourceVersion", drop=True),
    Mask("creation time", r"^edge ", "metadata.creationTimestamp", drop=True),
    Mask("generation", r"^edge ", "metadata.generation", drop=True),
    Mask("managed fields", r"^edge ", "metadata.managedFields", drop=True),
    Mask("self link", r"^edge ", "metadata.selfLink", drop=True),
    # The last applied configuration repeats the object, in an order of keys that varies.
    Mask(
        "last applied", r"^edge ", r"metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration", drop=True
    ),
    Mask("status", r"^edge ", "status", drop=True),
    # What the monitor on the edge reported: it follows the edge's own pace, not the call.
    Mask("reported status", r"^etcd /context/[^/]+/app/.*/cluster/[^/]+/status/$", "", drop=True),
    Mask("reported readiness", r"^etcd /context/[^/]+/app/.*/(resourcesready|resready|ressuccess)/$", "", drop=True),
)


_JUDGED = re.compile(r"(?i)status|state|queue|context|reference|actions|keyId|owner|meta")


def never_masked(mask: Mask) -> bool:
    """States and references are what is judged: no run may differ from another one in them and be called the same."""
    return bool(_JUDGED.search(mask.path) or (mask.where.startswith("^etcd") and _JUDGED.search(mask.where)))


def rules(extra: tuple[Mask, ...] = ()) -> CanonicalRules:
    """The canonical rules for EMCO, with masks learned in this run."""
    return CanonicalRules(
        id_keys=(CONTEXT_KEY.pattern, ACTIVE_KEY.pattern),
        id_fields=frozenset({"contextid", "statuscontextid", "ChildContextIDs", "uCID"}),
        id_values=(r"/reference/$", r"/statusappctxid/$"),
        id_object=applied_by,
        id_prefix="ctx",
        label=document_label,
        object_label=object_label,
        prepare=without_idle_activity,
        masks=MASKS + extra,
        unordered=("references",),
    )


def document_label(document: Mapping[str, Any]) -> str:
    """`{logicalCloud,project} lc1/proj1`: the names in keyId and their values, as the record itself says."""
    key_id = document.get("keyId")
    if isinstance(key_id, str) and key_id.startswith("{"):
        names = key_id.strip("{}").split(",")
    else:
        names = sorted(name for name, value in document.items() if isinstance(value, str) and name != "keyId")
    values = "/".join(str(document.get(name, "?")) for name in names)
    return f"{{{','.join(names)}}} {values}"


def object_label(thing: Mapping[str, Any]) -> str:
    """`apps/v1/Deployment default/r1-web`."""
    metadata = thing.get("metadata", {})
    namespace = metadata.get("namespace", "")
    name = f"{namespace}/{metadata.get('name', '')}" if namespace else str(metadata.get("name", ""))
    return f"{thing.get('apiVersion', '')}/{thing.get('kind', '')} {name}"


def effect_slug(effect: Effect) -> str:
    """Readable, stable name of an effect in crash-point ids; only characters that need no quoting."""
    if effect.store == "mongo":
        if effect.read:
            return f"mongo.{effect.op}.{_record_kind(dict(effect.key))}"
        if effect.op == "delete":
            return f"mongo.delete.{_record_kind(dict(effect.key))}"
        tags = [name for name in effect.fields if name not in ("keyId", "references")]
        return f"mongo.{'+'.join(tags) or effect.op}"
    if effect.store == "etcd":
        key = CONTEXT_KEY.sub("context/ID/", dict(effect.key).get("key", ""))
        key = ACTIVE_KEY.sub("activecontext/ID/", key).strip("/")
        return f"etcd.{effect.op.lower()}:{_safe(key)}"
    if effect.store == "grpc":
        return f"grpc.{_safe(effect.op)}"
    path = _LONG_NUMBER.sub("ID", dict(effect.key).get("path", "").strip("/"))
    return f"edge.{effect.op}:{_safe(path)}"


class EffectNames:
    """Names of one service's effects during one call: the context that it touches first is `context/ID`, others `ID2`.

    rsync works on several contexts at a time: for an update on the new one, on the one that is left and on the one
    that collects the status. Which of the latter comes first is chance, so they share a name. A read is no touch, and
    what edges report is none: both may come for any context at any time.
    """

    def __init__(self) -> None:
        self._first = ""

    def __call__(self, effect: Effect) -> str:
        slug = effect_slug(effect)
        key = dict(effect.key).get("key", "") if effect.store == "etcd" else ""
        context = CONTEXT_KEY.match(key) or ACTIVE_KEY.match(key)
        if context is None:
            return slug
        if not (self._first or effect.read or reported(slug)):
            self._first = context.group(1)
        other = self._first and context.group(1) != self._first
        return slug.replace("context/ID", "context/ID2", 1) if other else slug


_REPORTED = re.compile(r"/cluster/[^/]+/status$|/(resourcesready|resready|ressuccess)$")


def reported(slug: str) -> bool:
    """Whether an effect of this name writes down what the monitor on an edge reported, when and as often as it does."""
    return bool(_REPORTED.search(slug))


def retries(slug: str) -> bool:
    """Whether an effect of this name writes down whether a cluster can be reached."""
    return slug.endswith("/readystatus")


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+/:-]+", "", text)


_KIND_ORDER = (
    "genericAppPlacementIntent", "genericPlacementIntent", "groupIntent", "deploymentIntentGroup", "appProfile",
    "compositeProfile", "appDependency", "app", "compositeAppVersion", "compositeApp", "clusterReference",
    "userPermission", "clusterQuota", "logicalCloudKv", "logicalCloud", "cloudConfigCluster", "clusterLabel",
    "clusterKv", "clusterSyncObject", "cluster", "clusterProvider", "controller", "project",
)  # fmt: skip


def _record_kind(filter_: Mapping[str, str]) -> str:
    """What a filter names: the innermost known resource, else all its names. EMCO puts its filters into a $and."""
    key = {name.rsplit(".", 1)[-1]: value for name, value in filter_.items()}
    for kind in _KIND_ORDER:
        if kind in key:
            return kind
    return "+".join(sorted(name for name in key if name != "keyId")) or "all"


@dataclass(frozen=True, slots=True)
class Context:
    """One AppContext in a snapshot.

    owned:  a record in mongo names it (or a context that is named has it among its children)
    queued: it reached rsync's queue; one that never did is inert: nothing will ever act on it
    """

    id: str
    owned: bool
    queued: bool
    status: str
    keys: int


def contexts(snapshot: Snapshot) -> tuple[Context, ...]:
    """All AppContexts, by id."""
    found: dict[str, dict[str, bytes]] = {}
    active = set()
    for raw_key, value in snapshot.etcd.items():
        key = raw_key.decode("utf-8", "replace")
        if match := CONTEXT_KEY.match(key):
            found.setdefault(match.group(1), {})[key[match.end() :]] = value
        elif match := ACTIVE_KEY.match(key):
            active.add(match.group(1))
    owned = _owned(snapshot, found)
    return tuple(
        Context(
            id=name,
            owned=name in owned,
            queued="rsync/AppContextEventQueue/" in keys or name in active,
            status=_status(keys.get("status/")),
            keys=len(keys),
        )
        for name, keys in sorted(found.items())
    )


def _owned(snapshot: Snapshot, found: Mapping[str, Mapping[str, bytes]]) -> set[str]:
    owned: set[str] = set()
    for documents in snapshot.mongo.values():
        for raw in documents:
            state = bson.decode(raw).get("stateInfo")
            if not isinstance(state, dict):
                continue
            owned.add(str(state.get("statuscontextid", "")))
            owned.update(str(action.get("contextid", "")) for action in _mappings(state.get("actions")))
    for name in list(owned):
        meta = found.get(name, {}).get("meta/")
        if meta:
            children = _json(meta).get("ChildContextIDs")
            owned.update(str(child) for child in (children if isinstance(children, list) else ()))
    return owned


def _status(raw: bytes | None) -> str:
    return str(_json(raw).get("Status", "")) if raw else ""


def _json(raw: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(raw)
        if isinstance(value, str):
            value = msgspec.json.decode(value)
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def at_work(snapshot: Snapshot, running: frozenset[str], *, restarted: bool) -> tuple[str, ...]:
    """Why EMCO is not at rest: what rsync has still to do, a sentence each; nothing while rsync is down.

    restarted: rsync was just started; then it has to work off all that is active. Without a restart an UpdateDelete
    stays in the queue of the old context after each update, and rsync does nothing about it.

    What is queued comes first; each kind in the order of its words, so that a sentence begins the same whatever ids the
    contexts of this run have.
    """
    if "rsync" not in running:
        return ()
    queued = pending(snapshot, stays=frozenset() if restarted else MAY_STAY)
    reasons = []
    for raw_key, value in sorted(snapshot.etcd.items()):
        key = raw_key.decode("utf-8", "replace")
        if CONTEXT_KEY.match(key) and key.count("/") == 4 and key.endswith("/status/"):  # /context/ID/status/
            status = _status(value)
            if status in _UNFINISHED:
                reasons.append(f"{key} is {status}")
        elif restarted and (active := ACTIVE_KEY.match(key)) and _is_there(active.group(1), snapshot):
            reasons.append(f"rsync has not worked off {key}")
    return (*sorted(queued, key=_by_words), *sorted(reasons, key=_by_words))


def _by_words(reason: str) -> tuple[str, str]:
    return _LONG_NUMBER.sub("", reason), reason


def between_tries(snapshot: Snapshot) -> bool:
    """Whether rsync has noted of a cluster that it tries to reach it again, and has not noted that it did: it sleeps
    between two tries, and only after such a note."""
    return any(key.endswith(b"/readystatus/") and b"Retrying" in value for key, value in snapshot.etcd.items())


def pending(snapshot: Snapshot, *, stays: frozenset[str] = MAY_STAY) -> tuple[str, ...]:
    """What is queued for rsync, a sentence for each queue; events that may stay there are left out."""
    reasons = []
    for raw_key, value in sorted(snapshot.etcd.items()):
        key = raw_key.decode("utf-8", "replace")
        if key.endswith(_QUEUE) and (events := [event for event in _pending(value) if event not in stays]):
            reasons.append(f"rsync has {events[0]} pending in {key}")
    return tuple(reasons)


def may_be_at_work(snapshot: Snapshot, running: frozenset[str]) -> bool:
    """Whether rsync has an event that it may take up in the next moment, or never (see MAY_STAY), or is about to note
    what it has just done: the state of a context comes after its status, and on a busy machine not at once."""
    if "rsync" not in running:
        return False
    if any(key.endswith(_CURRENT) and _status(value) in _UNFINISHED for key, value in snapshot.etcd.items()):
        return True
    active = [match.group(1) for key in snapshot.etcd if (match := ACTIVE_KEY.match(key.decode("utf-8", "replace")))]
    return any(_pending(snapshot.etcd.get(f"/context/{name}{_QUEUE}".encode(), b"{}")) for name in active)


def _pending(queue: bytes) -> list[str]:
    return [
        str(item.get("event")) for item in _mappings(_json(queue).get("AcQueue")) if item.get("status") == "Pending"
    ]


def _mappings(value: Any) -> list[dict[str, Any]]:
    """The mappings of a list; what is neither is not EMCO's, and for the invariants to find."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def without_idle_activity(snapshot: Snapshot) -> Snapshot:
    """Without the /activecontext/ records of contexts that have nothing to do.

    rsync writes and removes that record in two goroutines that race at the end of an update; whether it stays is
    chance, and its next start removes it.
    """
    idle = []
    for key in snapshot.etcd:
        if match := ACTIVE_KEY.match(key.decode("utf-8", "replace")):
            queue = snapshot.etcd.get(f"/context/{match.group(1)}{_QUEUE}".encode())
            if queue is not None and not [event for event in _pending(queue) if event not in MAY_STAY]:
                idle.append(key)
    return (
        replace(snapshot, etcd={key: value for key, value in snapshot.etcd.items() if key not in idle})
        if idle
        else snapshot
    )


def without_inert(snapshot: Snapshot) -> tuple[Snapshot, tuple[str, ...]]:
    """The snapshot without what nothing will ever act on; and that, each as a line.

    Contexts that no record owns and that never reached rsync; on edges, ResourceBundleStates (reports of a deployment's
    status) of contexts that are gone.
    """
    known = contexts(snapshot)
    inert = [context for context in known if not context.owned and not context.queued]
    fewer = _without(snapshot, [context.id for context in inert], edges=False)
    there = {context.id for context in known}
    edges = {name: tuple(thing for thing in things if not _stale(thing, there)) for name, things in fewer.edges.items()}
    stale = sum(map(len, fewer.edges.values())) - sum(map(len, edges.values()))
    lines = [f"etcd context that no record owns, never given to rsync ({context.keys} keys)" for context in inert]
    lines += [f"{stale} ResourceBundleState on the edge of a context that is gone"] if stale else []
    return replace(fewer, edges=edges), tuple(lines)


def _stale(thing: Mapping[str, Any], there: set[str]) -> bool:
    owner = applied_by(thing)
    return thing.get("kind") == REPORT and bool(owner) and owner not in there


def without_unowned(snapshot: Snapshot) -> tuple[Snapshot, tuple[str, ...]]:
    """The snapshot without any context that no record owns and without what it applied; and those, a line each.

    Also without active records of contexts that are gone. They are not inert: rsync restores what is active in the
    order of the keys, and ends that at the first context that it cannot load.
    """
    unowned = [context for context in contexts(snapshot) if not context.owned]
    lines = [
        f"etcd context that no record owns, {context.status or 'without a status'} ({context.keys} keys)"
        for context in unowned
    ]
    active = (match.group(1) for key in snapshot.etcd if (match := ACTIVE_KEY.match(key.decode("utf-8", "replace"))))
    gone = [name for name in active if not _is_there(name, snapshot)]
    lines += ["etcd active record of a context that is gone" for _ in gone]
    return _without(snapshot, [context.id for context in unowned] + gone, edges=True), tuple(lines)


def _is_there(context: str, snapshot: Snapshot) -> bool:
    prefix = f"/context/{context}/".encode()
    return any(key.startswith(prefix) for key in snapshot.etcd)


def _without(snapshot: Snapshot, ids: list[str], *, edges: bool) -> Snapshot:
    if not ids:
        return snapshot
    prefixes = tuple(f"/{space}/{name}/".encode() for name in ids for space in ("context", "activecontext"))
    kept = {key: value for key, value in snapshot.etcd.items() if not key.startswith(prefixes)}
    if not edges:
        return replace(snapshot, etcd=kept)
    left = {
        edge: tuple(thing for thing in objects if applied_by(thing) not in ids)
        for edge, objects in snapshot.edges.items()
    }
    return replace(snapshot, etcd=kept, edges=left)


def applied_by(thing: Mapping[str, Any]) -> str:
    """Id of the context that applied an edge's object; empty for one that EMCO did not apply."""
    labels = thing.get("metadata", {}).get("labels") or {}
    return str(labels.get(DEPLOYMENT_LABEL, "")).partition("-")[0]
