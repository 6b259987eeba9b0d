"""Where a workload wants its applications: what its placement intents name, whatever EMCO says of it later."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.emco.calls import Call


@dataclass(frozen=True, slots=True)
class Placed:
    """An application of a group and edges (`provider+cluster`), of which at least one has to have it."""

    app: str
    edges: frozenset[str]

    def missing(self, there: Collection[tuple[str, str]]) -> str:
        """Why it is not where it has to be, by the pairs of application and edge that are there; empty when it is."""
        if any((self.app, edge) in there for edge in self.edges):
            return ""
        where = " or ".join(sorted(self.edges)) or "an edge with a label that the workload gives to none"
        return f"nothing of {self.app} is reported on {where}, where it is to be"


def placed(calls: Iterable[Call], group: Call) -> tuple[Placed, ...]:
    """What a group's placement intents name: each edge of `allOf`, one edge of `anyOf`.

    Labels mean the clusters to which the workload gives them.
    """
    made = [call for call in calls if call.verb == "create"]
    below = f"{group.target}/generic-placement-intents/"
    labelled = _labels(made)
    return tuple(
        dict.fromkeys(
            Placed(str(spec.get("app", "")), edges)
            for call in made
            if call.kind == "app-intents" and call.target.startswith(below)
            for spec in [(call.json or {}).get("spec") or {}]
            for edges in _wanted(spec.get("intent") or {}, labelled)
        )
    )


def _wanted(intent: Mapping[str, Any], labelled: "_Labelled") -> Iterator[frozenset[str]]:
    for one in intent.get("allOf") or ():
        if one.get("anyOf"):
            yield _some(one["anyOf"], labelled)
            continue
        edges = _some([one], labelled)
        yield from (frozenset([edge]) for edge in sorted(edges))
        if not edges:
            yield edges  # a label that nothing has: EMCO must not pass it over
    if intent.get("anyOf"):
        yield _some(intent["anyOf"], labelled)


def _some(named: Iterable[Mapping[str, Any]], labelled: "_Labelled") -> frozenset[str]:
    edges: set[str] = set()
    for one in named:
        provider = str(one.get("clusterProvider", ""))
        if one.get("cluster"):
            edges.add(f"{provider}+{one['cluster']}")
        else:
            edges |= labelled.get((provider, str(one.get("clusterLabel", ""))), set())
    return frozenset(edges)


_Labelled = Mapping[tuple[str, str], set[str]]
"""Provider and label -> edges that have it."""


def _labels(calls: Iterable[Call]) -> _Labelled:
    labelled: dict[tuple[str, str], set[str]] = {}
    for call in calls:
        match call.target.split("/"):
            case ["cluster-providers", provider, "clusters", cluster, "labels", label]:
                labelled.setdefault((provider, label), set()).add(f"{provider}+{cluster}")
    return labelled
