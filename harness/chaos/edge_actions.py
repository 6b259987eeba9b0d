"""Actions on what runs on an edge, and on what EMCO says of it. As those of harness.chaos.actions, each fails with a
sentence."""

from collections.abc import Mapping
from typing import Any, Literal

from harness.campaign import Campaign
from harness.chaos.current import stage
from harness.chaos.sentences import in_sentences
from harness.emco.records import DEPLOYMENT_LABEL, REPORT
from harness.emco.running import RUN
from harness.faults.victim import UsageError
from harness.platforms.edges.edge import Edge

__all__ = ["spoil", "wait_until_reported", "wait_until_told", "wait_until_unreported"]


@in_sentences
def spoil(edge: str, how: Literal["not-ready", "deleted"] = "not-ready") -> str:
    """End what EMCO has running on an edge, without asking EMCO; what was hit. Fails when nothing runs there.

    not-ready: nothing is ready any more, as where no node is left; the rollback `make_whole` lets it run again. Not on
               a cluster that has controllers of its own
    deleted:   somebody deletes the workloads by the edge's API, and leaves all else
    """

    async def act(campaign: Campaign) -> list[str]:
        cluster = _edge(campaign, edge)
        mine = [thing for thing in await cluster.objects() if thing["kind"] in RUN and _is_emcos(thing)]
        if mine and how == "not-ready":
            await cluster.let_run(runs=False)
        for thing in mine if how == "deleted" else ():
            await cluster.delete(thing)
        return [f"{thing['kind']} {thing['metadata']['name']}" for thing in mine]

    spoiled = stage().act(act)
    if not spoiled:
        raise AssertionError(f"EMCO has nothing on {edge} that could run")
    stage().mark(f"spoiled {edge}")
    return f"{', '.join(spoiled)} on {edge}: {how}"


@in_sentences
def wait_until_told(group: str, edge: str, says: Literal["Ready", "NotReady"], limit: float = 10.0) -> str:
    """Wait until EMCO's `status=ready` of a group says of what is on an edge that it is ready, or is not; what it says
    there. Fails with that when it does not within `limit` seconds."""
    here = stage()
    here.within(lambda: here.groups.readiness(group).on(edge) == says, limit=float(limit))
    now = here.groups.readiness(group)
    words = ", ".join(f"{name} {word}" for name, word in now.edges.get(edge, {}).items()) or "nothing"
    if now.on(edge) != says:
        raise AssertionError(f"EMCO does not say {says} of {edge}, but after {float(limit):g} s: {words}")
    return f"EMCO says of {edge}: {words}"


@in_sentences
def wait_until_reported(limit: float = 10.0) -> int:
    """Wait until each edge that has something of EMCO's reports on it by a ResourceBundleState; how many there are.

    Fails with an edge that does not within `limit` seconds, and where no edge has anything: that later none is left
    would say nothing.
    """
    here = stage()

    def lacking() -> list[str]:
        mine = {edge: [one["kind"] for one in things if _is_emcos(one)] for edge, things in here.objects().items()}
        return [edge for edge, kinds in mine.items() if kinds and REPORT not in kinds]

    here.within(lambda: not lacking() and bool(_reports()), limit=float(limit))
    if without := lacking():
        raise AssertionError(f"{without[0]} does not report within {float(limit):g} s")
    there = _reports()
    if not there:
        raise AssertionError("no edge reports on anything")
    return len(there)


@in_sentences
def wait_until_unreported(delay: float = 0.0, limit: float = 10.0) -> str:
    """Wait until no ResourceBundleState is left on any edge; EMCO removes it some time after a deployment.

    delay: how long EMCO means to wait;  limit: seconds after that. Fails with those that are left.
    """
    here = stage()
    here.within(lambda: not _reports(), limit=float(delay) + float(limit))
    if left := _reports():
        raise AssertionError(f"{', '.join(left)} after {float(delay) + float(limit):g} s")
    return "no edge reports any more"


def _reports() -> list[str]:
    return [
        f"{edge} has the {REPORT} {thing['metadata']['name']}"
        for edge, things in stage().objects().items()
        for thing in things
        if thing["kind"] == REPORT
    ]


def _is_emcos(thing: Mapping[str, Any]) -> bool:
    return DEPLOYMENT_LABEL in (thing["metadata"].get("labels") or {})


def _edge(campaign: Campaign, name: str) -> Edge:
    for edge in campaign.lab.edges.values():
        if edge.name == name:
            return edge
    known = ", ".join(str(edge) for edge in campaign.lab.edges)
    raise UsageError(f"there is no edge {name!r}; there are {known}")
