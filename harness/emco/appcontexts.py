"""An AppContext as etcd holds it: apps, clusters, resources and their states, rsync's queue and flags.

Read leniently: what is missing or not of the right type is None or empty, so that a damaged context can be judged.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from harness.emco.records import ACTIVE_KEY, CONTEXT_KEY
from harness.stores.snapshot import Snapshot

UNFINISHED = frozenset({"Instantiating", "Terminating", "Updating"})
FAILED = frozenset({"InstantiateFailed", "TerminateFailed", "UpdatedFailed", "UpdateFailed"})


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of rsync's queue. other: id of the context that an update comes from or goes to."""

    name: str
    status: str
    other: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """`name+Kind`. present: its own key is there, not only keys below it."""

    name: str
    present: bool
    status: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """`provider+cluster` of one app. order: names of resources, None where it is not there.

    reference: id of the context that applied to it last; only a context that keeps the status of others can have one
    of another context
    """

    name: str
    order: tuple[str, ...] | None
    resources: Mapping[str, Resource]
    reference: str


@dataclass(frozen=True, slots=True)
class App:
    name: str
    present: bool
    clusters: Mapping[str, Cluster]


@dataclass(frozen=True, slots=True)
class AppContext:
    """One context.

    order:       names of apps; None where it is not there
    status, current, desired: as rsync wrote them; empty before it did
    keeps_in:    id of the context that keeps the status of its resources: itself, but for a context of an update
    active:      it has a record below /activecontext/
    """

    id: str
    order: tuple[str, ...] | None
    apps: Mapping[str, App]
    status: str
    current: str
    desired: str
    stopped: bool
    queue: tuple[Event, ...]
    keeps_in: str
    children: tuple[str, ...]
    active: bool

    @property
    def where(self) -> str:
        return f"etcd /context/{self.id}/"

    def clusters(self) -> Iterator[tuple[str, Cluster]]:
        """The clusters of all apps, each with its place."""
        for app in self.apps.values():
            for cluster in app.clusters.values():
                yield f"{self.where}app/{app.name}/cluster/{cluster.name}/", cluster

    @property
    def queued(self) -> bool:
        """It reached rsync."""
        return bool(self.queue) or self.active

    @property
    def alone(self) -> bool:
        """No update ever led to it or away from it: its own resources and statuses are all there is."""
        return self.keeps_in == self.id and not any(event.other for event in self.queue)


def read_contexts(snapshot: Snapshot) -> dict[str, AppContext]:
    """All contexts of a snapshot by id."""
    keys: dict[str, dict[str, bytes]] = {}
    active = set()
    for raw, value in snapshot.etcd.items():
        key = raw.decode("utf-8", "replace")
        if match := CONTEXT_KEY.match(key):
            keys.setdefault(match.group(1), {})[key[match.end() :]] = value
        elif match := ACTIVE_KEY.match(key):
            active.add(match.group(1))
    return {name: _context(name, keys[name], active=name in active) for name in sorted(keys)}


def _context(name: str, keys: Mapping[str, bytes], *, active: bool) -> AppContext:
    meta = _mapping(keys.get("meta/"))
    queue = _mapping(keys.get("rsync/AppContextEventQueue/")).get("AcQueue")
    return AppContext(
        id=name,
        order=_names(keys.get("app/instruction/order/"), "apporder"),
        apps=_apps(keys),
        status=_status(keys.get("status/")),
        current=_status(keys.get("rsync/state/CurrentState/")),
        desired=_status(keys.get("rsync/state/DesiredState/")),
        stopped=_json(keys.get("stopflag/")) is True,
        queue=tuple(_event(item) for item in _list(queue) if isinstance(item, Mapping)),
        keeps_in=_text(keys.get("statusappctxid/")) or name,
        children=tuple(str(child) for child in _list(meta.get("ChildContextIDs"))),
        active=active,
    )


def _event(item: Mapping[str, Any]) -> Event:
    return Event(str(item.get("event", "")), str(item.get("status", "")), str(item.get("uCID") or ""))


def _apps(keys: Mapping[str, bytes]) -> dict[str, App]:
    below = _grouped("app/", keys)
    below.pop("instruction", None)
    return {name: App(name, "" in rest, _clusters(rest)) for name, rest in sorted(below.items())}


def _clusters(keys: Mapping[str, bytes]) -> dict[str, Cluster]:
    found = {}
    for name, rest in sorted(_grouped("cluster/", keys).items()):
        order = _names(rest.get("resource/instruction/order/"), "resorder")
        found[name] = Cluster(name, order, _resources(rest), _text(rest.get("reference/")))
    return found


def _resources(keys: Mapping[str, bytes]) -> dict[str, Resource]:
    below = _grouped("resource/", keys)
    below.pop("instruction", None)
    return {name: Resource(name, "" in rest, _status(rest.get("status/"))) for name, rest in sorted(below.items())}


def _grouped(prefix: str, keys: Mapping[str, bytes]) -> dict[str, dict[str, bytes]]:
    """The keys below `prefix` by their first step; what is left of a key may be empty."""
    groups: dict[str, dict[str, bytes]] = {}
    for key, value in keys.items():
        if key.startswith(prefix):
            name, _, rest = key[len(prefix) :].partition("/")
            groups.setdefault(name, {})[rest] = value
    return groups


def _names(raw: bytes | None, member: str) -> tuple[str, ...] | None:
    """An order instruction; None where there is none or it holds none."""
    names = _mapping(raw).get(member)
    return tuple(str(name) for name in names) if isinstance(names, list) else None


def _status(raw: bytes | None) -> str:
    status = _mapping(raw).get("Status")
    return status if isinstance(status, str) else ""


def _text(raw: bytes | None) -> str:
    value = _json(raw)
    return value if isinstance(value, str) else ""


def _mapping(raw: bytes | None) -> Mapping[str, Any]:
    """A JSON object, also one inside of a JSON string."""
    value = _json(raw)
    if isinstance(value, str):
        value = _json(value.encode())
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _json(raw: bytes | None) -> Any:
    try:
        return msgspec.json.decode(raw) if raw is not None else None
    except (msgspec.DecodeError, UnicodeError):
        return None
