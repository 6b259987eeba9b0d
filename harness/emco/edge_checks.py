"""Checks of the edges: is there what EMCO says it applied, and nothing else of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.emco.record_checks import Found
from harness.emco.records import REPORT
from harness.emco.view import View


def owned(view: View) -> Found:
    """An object that EMCO applied belongs to a context that a record names and that was not taken down."""
    for thing in view.things:
        if thing.kind == REPORT:
            continue
        context, owners = view.contexts.get(thing.owner), view.owners.get(thing.owner, ())
        if context is None:
            yield thing.where, f"the context that applied it, {thing.owner}, is not there"
        elif thing.owner not in view.owned:
            yield thing.where, f"no record names the context that applied it, {thing.owner} ({context.status})"
        elif context.status == "Terminated":
            yield thing.where, f"it is still there, although its context {thing.owner} is Terminated"
        elif owners and all(owner.last.state == "Terminated" for owner in owners):
            yield (
                thing.where,
                f"it is still there, although its record says Terminated ({thing.owner}: {context.status})",
            )


def applied(view: View) -> Found:
    """A resource that is Applied is on its edge, as the context that keeps its status applied it."""
    labels: dict[tuple[str, str, str], set[str]] = {}  # several: a name may be in several namespaces
    for thing in view.things:
        labels.setdefault((thing.edge, thing.kind, thing.name), set()).add(thing.label)
    for claim in _claims(view, "Applied"):
        found = labels.get((claim.edge, claim.kind, claim.name))
        if found is None:
            yield claim.where, f"{claim.kind} {claim.name} is Applied, but not on the edge"
        elif claim.label not in found:
            others = ", ".join(sorted(found))
            yield claim.where, f"{claim.kind} {claim.name} is Applied, but what is on the edge was applied as {others}"


def deleted(view: View) -> Found:
    """A resource that is Deleted is not on its edge any more."""
    there = {(thing.edge, thing.kind, thing.name, thing.label) for thing in view.things}
    for claim in _claims(view, "Deleted"):
        if (claim.edge, claim.kind, claim.name, claim.label) in there:
            yield claim.where, f"{claim.kind} {claim.name} is Deleted, but still on the edge"


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a context says of one object; label: what the object carries if it was applied by it."""

    where: str
    edge: str
    kind: str
    name: str
    label: str


def _claims(view: View, status: str) -> Iterator[_Claim]:
    """Of every resource with this status, where contexts that are owned keep it, on edges that were looked at."""
    for context in view.contexts.values():
        if context.id not in view.owned:
            continue
        for app in context.apps.values():
            for cluster in app.clusters.values():
                where = f"{context.where}app/{app.name}/cluster/{cluster.name}/"
                for resource in cluster.resources.values():
                    if resource.status == status and cluster.name in view.edges:
                        name, _, kind = resource.name.rpartition("+")
                        yield _Claim(where, cluster.name, kind, name, f"{context.keeps_in}-{app.name}")
