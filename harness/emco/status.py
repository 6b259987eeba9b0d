"""What EMCO's status API says of a deployment intent group, as a value (facts, section 7)."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.emco.placement import Placed
from harness.emco.records import DEPLOYMENT_LABEL, REPORT
from harness.emco.running import not_running

Edges = Mapping[str, Iterable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Resource:
    """One Kubernetes object as EMCO reports it. edge: `provider+cluster`; label: what EMCO marks the object with, which
    tells it from one of the same name in another namespace."""

    app: str
    edge: str
    kind: str
    name: str
    status: str
    label: str

    def is_in(self, there: Collection[tuple[str, str, str, str]]) -> bool:
        return self.key in there

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from others on all edges, as `marked` has it."""
        return (self.edge, self.kind, self.name, self.label)


def marked(edges: Edges) -> Mapping[tuple[str, str, str, str], Mapping[str, Any]]:
    """What edges have that EMCO applied, by edge, kind, name, label."""
    return {
        (edge, str(thing.get("kind")), str(metadata.get("name")), str(label)): thing
        for edge, things in edges.items()
        for thing in things
        if (label := ((metadata := thing.get("metadata") or {}).get("labels") or {}).get(DEPLOYMENT_LABEL))
    }


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """What is said of a group.

    deployed:     status of its AppContext: `Instantiated`; empty when nothing is said, as before rsync began
    state:        the last action recorded: `Instantiated`
    connectivity: edge -> `Available`, `Retrying`, `Unknown`
    """

    deployed: str
    state: str
    counts: Mapping[str, int]
    connectivity: Mapping[str, str]
    resources: tuple[Resource, ...]

    def missing_on(self, edges: Edges) -> tuple[str, ...]:
        """Resources said to be applied that the edges do not have, a sentence each."""
        there = marked(edges)
        return tuple(
            f"{one.kind} {one.name} is said to be applied, but is not on {one.edge}"
            for one in self.resources
            if one.status == "Applied" and not one.is_in(there)
        )

    def idle_on(self, edges: Edges) -> tuple[str, ...]:
        """Resources said to be applied that are there and do not run, by their own status, a sentence each."""
        there = marked(edges)
        return tuple(
            f"{one.kind} {one.name} on {one.edge} {why}"
            for one in self.resources
            if one.status == "Applied" and (thing := there.get(one.key)) is not None and (why := not_running(thing))
        )

    def still_on(self, edges: Edges) -> tuple[str, ...]:
        """Resources said to be deleted that the edges still have, a sentence each."""
        there = marked(edges)
        return tuple(
            f"{one.kind} {one.name} is said to be deleted, but is on {one.edge}"
            for one in self.resources
            if one.status == "Deleted" and one.is_in(there)
        )

    def not_placed(self, wanted: Iterable[Placed]) -> str:
        """Which application EMCO does not even name where the workload wants it; empty when it names them all."""
        there = {(one.app, one.edge) for one in self.resources}
        return next((why for one in wanted if (why := one.missing(there))), "")

    def not_ready(self, edges: Edges, wanted: Iterable[Placed]) -> str:
        """Why the workload does not run as it should, empty when it does: by EMCO's word and by the edges'.

        The edges' is what each object's own status says; EMCO's is that it was applied.

        wanted: where it has to be; EMCO itself names only what it has not forgotten
        """
        if self.deployed != "Instantiated":
            return f"the AppContext is {self.deployed or 'without a status'}"
        if not self.resources:
            return "no resource is reported"
        if other := [one for one in self.resources if one.status != "Applied"]:
            return f"{other[0].kind} {other[0].name} on {other[0].edge} is {other[0].status}"
        if why := self.not_placed(wanted):
            return why
        return "; ".join((self.missing_on(edges) or self.idle_on(edges))[:3])

    def lacks(self, edge: str, edges: Edges, wanted: Iterable[Placed]) -> str:
        """What EMCO has still to bring to one edge, whatever becomes of the others; empty when everything is there.

        The report of each application is among it: rsync asks for it when the rest is applied (facts, section 7).
        """
        mine = [one for one in self.resources if one.edge == edge]
        if other := [one for one in mine if one.status != "Applied"]:
            return f"{other[0].kind} {other[0].name} on {edge} is {other[0].status}"
        if why := self.not_placed(Placed(one.app, frozenset([edge])) for one in wanted if edge in one.edges):
            return why
        there = marked(edges)
        if missing := [one for one in mine if not one.is_in(there)]:
            return f"{missing[0].kind} {missing[0].name} is said to be applied, but is not on {edge}"
        reported = {name for at, kind, name, _ in there if (at, kind) == (edge, REPORT)}
        if missing := [one for one in mine if one.label not in reported]:
            return f"nothing reports on {missing[0].app} on {edge} yet"
        return "" if mine else f"nothing is to be on {edge}"


@dataclass(frozen=True, slots=True)
class Readiness:
    """What EMCO says of whether a group runs, from what edges report to it.

    word:  `Ready` or `NotReady` for all of it, empty where nothing is said
    edges: edge -> of each resource there, as `Deployment r1-web`, EMCO's word: Ready, NotReady, NotPresent
    """

    word: str
    edges: Mapping[str, Mapping[str, str]]

    def on(self, edge: str) -> str:
        """`Ready` or `NotReady` for one edge, empty where nothing is said of it."""
        words = set(self.edges.get(edge, {}).values())
        return "" if not words else "Ready" if words == {"Ready"} else "NotReady"


def parse_readiness(body: Any) -> Readiness:
    """From the JSON of GET .../status?status=ready&output=all; nothing is said by what is no such answer."""
    if not isinstance(body, dict):
        return Readiness("", {})
    edges: dict[str, dict[str, str]] = {}
    for app in body.get("apps") or ():
        for cluster in app.get("clusters") or ():
            words = edges.setdefault(f"{cluster.get('clusterProvider')}+{cluster.get('cluster')}", {})
            for one in cluster.get("resources") or ():
                kind = (one.get("GVK") or {}).get("Kind", "")
                words[f"{kind} {one.get('name')}"] = str(one.get("readyStatus", ""))
    return Readiness(str(body.get("readyStatus", "")), edges)


NOTHING_SAID = GroupStatus("", "", {}, {}, ())


def parse_status(body: Any) -> GroupStatus:
    """From the JSON of GET .../status?status=deployed&output=all; NOTHING_SAID for what is no such answer.

    The API answers 400 before rsync has begun and when the context is gone: that is said by nothing, too.
    """
    if not isinstance(body, dict):
        return NOTHING_SAID
    states = body.get("states") or {}
    actions = states.get("actions") or [{}]
    resources, connectivity = [], {}
    for app in body.get("apps") or ():
        for cluster in app.get("clusters") or ():
            edge = f"{cluster.get('clusterProvider')}+{cluster.get('cluster')}"
            connectivity[edge] = str(cluster.get("connectivity", ""))
            for one in cluster.get("resources") or ():
                kind = str((one.get("GVK") or {}).get("Kind", ""))
                status = str(one.get("deployedStatus", ""))
                label = f"{states.get('statusctxid')}-{app.get('name')}"
                resources.append(Resource(str(app.get("name")), edge, kind, str(one.get("name")), status, label))
    return GroupStatus(
        deployed=str(body.get("deployedStatus", "")),
        state=str(actions[-1].get("state", "")),
        counts={str(name): int(number) for name, number in (body.get("deployedCounts") or {}).items()},
        connectivity=connectivity,
        resources=tuple(resources),
    )
