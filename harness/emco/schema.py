"""EMCO's referential schema: what kinds of records there are, what the parent of each is, what it refers to.

The orchestrator stores it in mongo beside the records (collection `resources`, sub-document `segment`), other services
may add segments of their own, and every service reads it from there. So does the harness: kinds of services that it has
no code for are covered as well. Field names are those that EMCO's driver writes (small letters).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SEGMENT_KEY_ID = "{SegmentId}"
BASE = "emco-base"
"""Name of the segment without which no service takes a record."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of record.

    name:    its name; the last name where a record is named by two (composite app and version)
    key:     the names of all its key fields
    parent:  the names of its parent's key fields; empty for a kind at the top
    refers:  names of kinds that it may refer to
    """

    name: str
    key: frozenset[str]
    parent: frozenset[str]
    refers: tuple[str, ...] = ()

    @property
    def key_id(self) -> str:
        return key_id(self.key)


@dataclass(frozen=True, slots=True)
class Schema:
    """Kinds by key id. builtin: no segment was there to be read, it is what the harness knows by itself."""

    kinds: Mapping[str, Kind]
    builtin: bool = False

    def names(self) -> frozenset[str]:
        """All names of key fields."""
        return frozenset(name for kind in self.kinds.values() for name in kind.key)


def key_id(names: Iterable[str]) -> str:
    """As EMCO writes it: `{cluster,clusterProvider}`."""
    return "{" + ",".join(sorted(names)) + "}"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A resource of a segment: the names it adds to its parent's key, its parent's name, what it refers to."""

    own: tuple[str, ...]
    parent: str
    refers: tuple[str, ...] = ()


# For a mongo that holds no segment: what the REST paths say (a resource stands below its parent).
_BUILTIN: tuple[_Entry, ...] = (
    _Entry(("project",), ""),
    _Entry(("controllerGroup", "controller"), ""),
    _Entry(("clusterProvider",), ""),
    _Entry(("cluster",), "clusterProvider"),
    _Entry(("clusterLabel",), "cluster"),
    _Entry(("clusterKv",), "cluster"),
    _Entry(("clusterSyncObject",), "clusterProvider"),
    _Entry(("network",), "cluster"),
    _Entry(("providerNetwork",), "cluster"),
    _Entry(("logicalCloud",), "project"),
    _Entry(("clusterReference",), "logicalCloud", ("cluster",)),
    _Entry(("userPermission",), "logicalCloud"),
    _Entry(("clusterQuota",), "logicalCloud"),
    _Entry(("logicalCloudKv",), "logicalCloud"),
    _Entry(("compositeApp", "compositeAppVersion"), "project"),
    _Entry(("app",), "compositeAppVersion"),
    _Entry(("appDependency",), "app"),
    _Entry(("compositeProfile",), "compositeAppVersion"),
    _Entry(("appProfile",), "compositeProfile", ("app",)),
    _Entry(("deploymentIntentGroup",), "compositeAppVersion", ("logicalCloud", "compositeProfile")),
    _Entry(("groupIntent",), "deploymentIntentGroup", ("controller",)),
    _Entry(("genericPlacementIntent",), "deploymentIntentGroup"),
    _Entry(("genericAppPlacementIntent",), "genericPlacementIntent", ("app", "cluster")),
)


def read_schema(segments: Sequence[Any]) -> tuple[Schema, tuple[str, ...]]:
    """The schema of all segments that mongo holds, and what is wrong with them, a sentence each.

    EMCO takes records only with exactly one segment named emco-base, each name once, and every parent and every kind
    that is referred to known. Without that segment the built-in knowledge stands in for it.
    """
    problems: list[str] = []
    entries: list[_Entry] = []
    names: list[str] = []
    for segment in segments:
        name, found = _entries(segment)
        if not found:
            problems.append(f"the schema segment {name or 'without a name'} has no readable resources")
        names.append(name)
        entries += found
    counted = Counter(names)
    problems += [f"{count} schema segments are named {name}" for name, count in sorted(counted.items()) if count > 1]
    builtin = BASE not in names or not entries
    if BASE not in names:
        problems.append(f"there is no schema segment named {BASE}")
    kinds, more = _kinds((*_BUILTIN, *entries) if builtin else entries, quiet=builtin)
    return Schema(kinds, builtin), tuple(problems + more)


def _entries(segment: Any) -> tuple[str, list[_Entry]]:
    if not isinstance(segment, Mapping):
        return "", []
    resources = segment.get("resources")
    found = []
    for resource in resources if isinstance(resources, list) else ():
        if isinstance(resource, Mapping) and isinstance(resource.get("name"), str) and resource["name"]:
            references = resource.get("references")
            refers = tuple(
                str(one.get("name", ""))
                for one in (references if isinstance(references, list) else ())
                if isinstance(one, Mapping)
            )
            found.append(_Entry(tuple(resource["name"].split(".")), str(resource.get("parent") or ""), refers))
    return str(segment.get("name") or ""), found


def _kinds(entries: Sequence[_Entry], *, quiet: bool) -> tuple[dict[str, Kind], list[str]]:
    """Kinds by key id, and what does not fit together. quiet: a name may stand there twice."""
    problems: list[str] = []
    parents: dict[str, str] = {}
    for entry in entries:
        for name, parent in zip(entry.own, (entry.parent, *entry.own), strict=False):
            if name in parents and not quiet:
                problems.append(f"the schema has {name} twice")
            parents.setdefault(name, parent)
    kinds: dict[str, Kind] = {}
    for entry in entries:
        above = _chain(entry.parent, parents)
        if above is None:
            problems.append(f"the schema does not know all that stands above {entry.own[-1]} ({entry.parent})")
            continue
        unknown = [name for name in entry.refers if name not in parents]
        problems += [f"the schema does not know {name}, to which {entry.own[-1]} refers" for name in unknown]
        kind = Kind(entry.own[-1], frozenset((*entry.own, *above)), frozenset(above), entry.refers)
        kinds.setdefault(kind.key_id, kind)
    return kinds, problems


def _chain(name: str, parents: Mapping[str, str]) -> tuple[str, ...] | None:
    """All names from here up to the top; None where one is not known or they go round in a circle."""
    chain: list[str] = []
    while name:
        if name not in parents or name in chain:
            return None
        chain.append(name)
        name = parents[name]
    return tuple(chain)
