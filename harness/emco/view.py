"""A snapshot as the invariants look at it: records with their keys and states, contexts with their owners, objects."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.emco.appcontexts import AppContext, read_contexts
from harness.emco.records import DEPLOYMENT_LABEL, applied_by, contexts, document_label, object_label
from harness.emco.schema import SEGMENT_KEY_ID, Kind, Schema, key_id, read_schema
from harness.stores.snapshot import Snapshot

COLLECTION = "emco.resources"
"""EMCO keeps all its records in this one collection."""

Key = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Action:
    """One entry of a record's stateInfo."""

    state: str
    context: str


@dataclass(frozen=True, slots=True)
class Record:
    """One document. kind: None for one outside of the schema; key: names and values of keyId, sorted."""

    document: Mapping[str, Any]
    key_id: str
    key: Key
    kind: Kind | None

    @property
    def where(self) -> str:
        return f"mongo {COLLECTION} {document_label(self.document)}"

    @property
    def name(self) -> str:
        """Name of its kind; empty outside of the schema."""
        return self.kind.name if self.kind else ""

    def part(self, *steps: str) -> Any:
        """What stands at a path of the document; None where nothing does."""
        value: Any = self.document
        for step in steps:
            value = value.get(step) if isinstance(value, Mapping) else None
        return value

    @property
    def actions(self) -> tuple[Action, ...]:
        found = self.part("stateInfo", "actions")
        return tuple(
            Action(str(one.get("state") or ""), str(one.get("contextid") or ""))
            for one in (found if isinstance(found, list) else ())
            if isinstance(one, Mapping)
        )

    @property
    def last(self) -> Action:
        """What it was last told to be; empty where it never was."""
        return (self.actions or (Action("", ""),))[-1]

    @property
    def status_context(self) -> str:
        return str(self.part("stateInfo", "statuscontextid") or "")

    @property
    def names(self) -> frozenset[str]:
        """The names that it is known by, its own and those of what it stands below."""
        return frozenset(names_in(self.where))

    @property
    def named(self) -> frozenset[str]:
        """Ids of all contexts that it names."""
        return frozenset({self.status_context, *(action.context for action in self.actions)}) - {""}


def names_in(where: str) -> tuple[str, ...]:
    """The parts of how a record is called: `{cluster,clusterProvider} c1/p1`, with or without what stands before it."""
    return tuple(re.split(r"[ /]", where))


@dataclass(frozen=True, slots=True)
class Thing:
    """An object on an edge that EMCO applied. owner: id of the context; label: `<context>-<app>`."""

    edge: str
    where: str
    kind: str
    name: str
    owner: str
    label: str


@dataclass(frozen=True, slots=True)
class View:
    """Everything the checks read.

    keys:   how often each key is there
    owned:  ids of contexts that a record names, or that a named context has among its children
    owners: records that name a context
    things: objects on edges that EMCO applied;  edges: names of the edges that were looked at
    """

    snapshot: Snapshot
    schema: Schema
    schema_problems: tuple[str, ...]
    records: tuple[Record, ...]
    keys: Mapping[tuple[str, Key], int]
    contexts: Mapping[str, AppContext]
    owned: frozenset[str]
    owners: Mapping[str, tuple[Record, ...]]
    things: tuple[Thing, ...]
    edges: frozenset[str]

    def of(self, *names: str) -> Iterator[Record]:
        """Records of these kinds."""
        return (record for record in self.records if record.name in names)

    def has(self, key: Mapping[str, str]) -> bool:
        """Whether a record with exactly this key is there."""
        return (key_id(key), tuple(sorted(key.items()))) in self.keys


def look(snapshot: Snapshot) -> View:
    """Read a snapshot. Never fails for what documents and keys hold: that is what the checks are for."""
    documents = snapshot.documents(COLLECTION)
    schema, problems = read_schema([document.get("segment") for document in documents if _is_segment(document)])
    records = tuple(_record(document, schema) for document in documents if not _is_segment(document))
    owners: dict[str, tuple[Record, ...]] = {}
    for record in records:
        for name in record.named:
            owners[name] = (*owners.get(name, ()), record)
    return View(
        snapshot=snapshot,
        schema=schema,
        schema_problems=problems,
        records=records,
        keys=Counter((record.key_id, record.key) for record in records),
        contexts=read_contexts(snapshot),
        owned=frozenset(context.id for context in contexts(snapshot) if context.owned),
        owners=owners,
        things=tuple(_things(snapshot)),
        edges=frozenset(snapshot.edges),
    )


def _is_segment(document: Mapping[str, Any]) -> bool:
    return document.get("keyId") == SEGMENT_KEY_ID or "segment" in document


def _record(document: Mapping[str, Any], schema: Schema) -> Record:
    found = document.get("keyId")
    name = found if isinstance(found, str) else ""
    names = [one for one in name.strip("{}").split(",") if one]
    key = tuple(sorted((one, str(document.get(one, ""))) for one in names))
    return Record(document, name, key, schema.kinds.get(name))


def _things(snapshot: Snapshot) -> Iterator[Thing]:
    for edge, objects in snapshot.edges.items():
        for thing in objects:
            if owner := applied_by(thing):
                metadata = thing["metadata"]
                label = str(metadata["labels"][DEPLOYMENT_LABEL])
                where = f"edge {edge} {object_label(thing)}"
                yield Thing(edge, where, str(thing.get("kind", "")), str(metadata.get("name", "")), owner, label)
