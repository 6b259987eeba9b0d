"""Probes of Chaos Toolkit on an EMCO: what a steady state is made of, and what an experiment measures."""

from typing import Any

from harness.chaos.attempts import tried
from harness.chaos.current import stage
from harness.chaos.observing import BEGIN
from harness.chaos.sentences import in_sentences
from harness.emco.status import NOTHING_SAID, parse_status
from harness.faults.victim import HarnessTrouble, UsageError

__all__ = [
    "answers_are_true",
    "broken_invariants",
    "changed_since",
    "connectivity",
    "context_status",
    "effects",
    "emco_answers",
    "group_status",
    "invariants_hold",
    "nothing_active",
    "tries",
    "workload_ready",
]

_PLACES = ("", "mongo", "etcd", "edge")


@in_sentences
def emco_answers() -> bool:
    """Whether every service answers a request of its own kind, and EMCO the status of what has a context in etcd.

    Of etcd it says nothing before the first group or logical cloud is instantiated, nor whether rsync can read it: at
    rest rsync reads nothing, and its own request shows no more than that it runs.
    """
    return not stage().silent() and not stage().reading().silent


@in_sentences
def answers_are_true() -> bool:
    """Whether everything that clients were told took place where it was acknowledged, and did not where it was refused.

    Fails where no client was answered.
    """
    return not stage().clients.lies()


@in_sentences
def nothing_active() -> bool:
    """Whether EMCO is at rest: no effect, no request under way, nothing pending in rsync's queues."""
    return not stage().at_rest()


@in_sentences
def workload_ready(group: str) -> bool:
    """Whether a group's workload runs, by EMCO's word and by the edges' own.

    EMCO has to say that all is applied, on every edge where it is wanted; and the status of each object on the edges
    has to say that it runs: replicas, pods and their conditions, the end of jobs. One without a status does not run.
    """
    return not stage().groups.not_ready(group)


@in_sentences
def context_status(group: str) -> str:
    """Status of a group's AppContext, `Instantiated`; empty where EMCO says nothing."""
    return stage().groups.status(group).deployed


@in_sentences
def group_status(group: str) -> dict[str, Any]:
    """What the API answers when it is asked for a group's status.

    status: HTTP's, 0 without an answer;  said: EMCO's word for the context;  running: whether everything is Applied
    """
    try:
        answer = stage().groups.ask_status(group)
    except HarnessTrouble:  # nobody answers: an experiment wants to know that, too
        return {"status": 0, "said": "", "running": False}
    said = parse_status(answer.body) if answer.ok else NOTHING_SAID
    applied = [one.status == "Applied" for one in said.resources]
    return {"status": answer.status, "said": said.deployed, "running": bool(applied) and all(applied)}


@in_sentences
def connectivity(group: str, edge: str) -> str:
    """What EMCO says of its connection to an edge: Available, Retrying or Unknown."""
    return stage().groups.status(group).connectivity.get(edge, "")


@in_sentences
def tries(target: str, since: str, source: str = "*", until: str = "") -> int:
    """How often a target was tried from one mark until another; empty: until now. Fails where no link leads there.

    A try is what rsync does each 2 s to see whether an edge is there; what its watches and client library knock beside
    that does not count. At any other target connections that are asked for at the same time are one try.
    """
    here = stage()
    here.must_be_linked(target, source=source)
    first, last = here.marked(since), here.marked(until) if until else None
    if last is not None and last.at < first.at:
        raise UsageError(f"{until!r} was marked before {since!r}")
    return tried(here.knocks(source=source, target=target, since=first, until=last), here.edges)


@in_sentences
def effects(since: str, source: str = "*", target: str = "*") -> list[str]:
    """Effects that the relays saw since a mark, a line each. Fails where no link leads from source to target."""
    stage().must_be_linked(target, source=source)
    return [one.effect.describe() for one in stage().seen(source=source, target=target, since=stage().marked(since))]


@in_sentences
def invariants_hold(since: str = BEGIN) -> bool:
    """Whether no invariant is broken that held in a snapshot: that of the beginning, or one that was remembered."""
    return not broken_invariants(since)


@in_sentences
def broken_invariants(since: str = BEGIN) -> list[str]:
    """Invariants that are broken and were not so in a snapshot, a line each. Fails when EMCO does not come to rest."""
    if why := stage().at_rest():
        raise AssertionError(f"invariants hold at rest only, and EMCO does not come to rest: {why}")
    return [f"{one.invariant}: {one.where}: {one.sentence}" for one in stage().broken(since)]


@in_sentences
def changed_since(name: str, within: str = "") -> list[str]:
    """What is not as in a snapshot that was remembered, or in a backup: documents, keys and objects, a line each.

    within: mongo, etcd or edge, for that alone
    """
    if within not in _PLACES:
        raise UsageError(
            f"within is one of {', '.join(filter(None, _PLACES))}, or empty for all of them, not {within!r}"
        )
    changed = stage().changed_since(name)
    return [f"{delta.kind}: {delta.where}" for delta in changed if within in ("", delta.where.partition(" ")[0])]
