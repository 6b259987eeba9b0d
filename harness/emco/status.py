"""What EMCO's status API says of a deployment intent group, as a value (facts, section 7)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Resource:
    """One Kubernetes object as EMCO reports it. edge: `provider+cluster`."""

    app: str
    edge: str
    kind: str
    name: str
    status: str


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

    def missing_on(self, edges: Mapping[str, Iterable[Mapping[str, Any]]]) -> tuple[str, ...]:
        """Resources said to be applied that the edges do not have, a sentence each."""
        there = {
            (edge, str(thing.get("kind")), str(thing.get("metadata", {}).get("name")))
            for edge, things in edges.items()
            for thing in things
        }
        return tuple(
            f"{one.kind} {one.name} is said to be applied, but is not on {one.edge}"
            for one in self.resources
            if one.status == "Applied" and (one.edge, one.kind, one.name) not in there
        )

    def not_ready(self, edges: Mapping[str, Iterable[Mapping[str, Any]]]) -> str:
        """Why the workload does not run as it should, empty when it does: by EMCO's word and by the edges'."""
        if self.deployed != "Instantiated":
            return f"the AppContext is {self.deployed or 'without a status'}"
        if not self.resources:
            return "no resource is reported"
        if other := [one for one in self.resources if one.status != "Applied"]:
            return f"{other[0].kind} {other[0].name} on {other[0].edge} is {other[0].status}"
        return "; ".join(self.missing_on(edges)[:3])


NOTHING_SAID = GroupStatus("", "", {}, {}, ())


def parse_status(body: Any) -> GroupStatus:
    """From the JSON of GET .../status?status=deployed&output=all; NOTHING_SAID for what is no such answer.

    The API answers 400 before rsync has begun and when the context is gone: that is said by nothing, too.
    """
    if not isinstance(body, dict):
        return NOTHING_SAID
    actions = (body.get("states") or {}).get("actions") or [{}]
    resources, connectivity = [], {}
    for app in body.get("apps") or ():
        for cluster in app.get("clusters") or ():
            edge = f"{cluster.get('clusterProvider')}+{cluster.get('cluster')}"
            connectivity[edge] = str(cluster.get("connectivity", ""))
            for one in cluster.get("resources") or ():
                kind = str((one.get("GVK") or {}).get("Kind", ""))
                status = str(one.get("deployedStatus", ""))
                resources.append(Resource(str(app.get("name")), edge, kind, str(one.get("name")), status))
    return GroupStatus(
        deployed=str(body.get("deployedStatus", "")),
        state=str(actions[-1].get("state", "")),
        counts={str(name): int(number) for name, number in (body.get("deployedCounts") or {}).items()},
        connectivity=connectivity,
        resources=tuple(resources),
    )
