"""Actions on an EMCO in a cluster. As those of harness.chaos.actions, each fails with a sentence; on processes all do.

While an experiment acts on an EMCO in a cluster, the environment variables of chaostoolkit-kubernetes name that
cluster, so that the actions and probes of `chaosk8s` act on it and on no other.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from chaosk8s.pod.actions import terminate_pods

from harness.campaign import Campaign
from harness.chaos import outages
from harness.chaos.current import stage
from harness.chaos.sentences import in_sentences
from harness.faults.victim import HarnessTrouble
from harness.platforms.disruptions import InCluster

__all__ = [
    "allow_edge",
    "delete_pod",
    "deny_edge",
    "disconnect_edge",
    "need_policies",
    "reclaim_volumes",
    "reconnect_edge",
    "restart_node",
    "retain_volumes",
    "stale_volumes",
]

T = TypeVar("T")


@in_sentences
def retain_volumes() -> list[str]:
    """Give the stores volumes as EMCO's charts make them, on the node and kept when their claim is gone. They are empty
    then; rollbacks with `make_whole` take them away again."""
    return list(stage().act(lambda campaign: _cluster(campaign).retain_volumes()))


@in_sentences
def stale_volumes() -> list[str]:
    """Names of volumes whose claim is gone: no new claim gets them."""
    return list(stage().act(lambda campaign: _cluster(campaign).stale_volumes()))


@in_sentences
def reclaim_volumes() -> list[str]:
    """Let new claims have what gone claims have left, with what is in it; the volumes. Fails when there is none."""
    reclaimed = stage().act(lambda campaign: _cluster(campaign).reclaim_volumes())
    if not reclaimed:
        raise AssertionError("no volume belonged to a claim that is gone")
    return list(reclaimed)


@in_sentences
def delete_pod(store: str, limit: float = 60.0) -> str:
    """Delete the pod of a store, with its grace period, and wait until the cluster has made another one by itself.

    chaosk8s.pod.actions.terminate_pods, which says nothing when it hits nothing, with proof. Marks the moment as
    `outage <store>`, and as `back <store>` when the other one is there.
    """
    here = stage()
    before = here.act(_read(lambda cluster: cluster.pods(store)))
    namespace, selector = here.act(_read(lambda cluster: cluster.selector(store)))
    here.mark(outages.began_mark(store))
    if not terminate_pods(label_selector=selector, ns=namespace, qty=1):
        raise AssertionError(f"no pod of {store} was there to be deleted")

    def others() -> tuple[str, ...] | None:
        now = here.act(_read(lambda cluster: cluster.pods(store)))
        return now if now and not set(now) & set(before) else None

    found = here.until(others, limit=float(limit), what=f"another pod of {store}")
    here.mark(outages.ended_mark(store))
    return f"the pod {', '.join(before)} was deleted, and {', '.join(found)} was made by the cluster"


@in_sentences
def disconnect_edge(edge: str) -> str:
    """Take an edge that is a cluster off the network; rollbacks with `make_whole` put it back. Marked `partition`."""
    address = stage().act(lambda campaign: _cluster(campaign).disconnect(edge))
    stage().mark(f"partition {edge}")
    return f"{edge}, which was at {address}, is off the network"


@in_sentences
def reconnect_edge(edge: str) -> str:
    """Put it on the network again, and wait until its API answers. Marked `heal`."""
    stage().act(lambda campaign: _cluster(campaign).reconnect(edge))
    stage().mark(f"heal {edge}")
    return f"{edge} is on the network, and its API answers"


@in_sentences
def need_policies() -> str:
    """Try out, with two pods, whether NetworkPolicies break anything in this cluster; fails where they do not."""
    if why := stage().act(lambda campaign: _cluster(campaign).policies.unenforced()):
        raise HarnessTrouble(why)
    return "a policy broke a connection that was there, and new ones, and no others"


@in_sentences
def deny_edge(edge: str) -> str:
    """Keep rsync from an edge by a NetworkPolicy; rollbacks with `make_whole` remove it. Marked `partition`.

    Begins with trying out whether policies break anything in this cluster, and fails where they do not.
    """
    proof = stage().act(lambda campaign: _cluster(campaign).policies.deny(edge))
    stage().mark(f"partition {edge}")
    return proof


@in_sentences
def allow_edge(edge: str) -> str:
    """Let rsync reach it again. Marked `heal`."""
    stage().act(lambda campaign: _cluster(campaign).policies.allow(edge))
    stage().mark(f"heal {edge}")
    return f"{edge} is denied no more"


@in_sentences
def restart_node(edge: str) -> str:
    """Switch the machine of an edge that is a cluster off and on, and wait until its API answers."""
    stage().mark(f"restart {edge}")
    stage().act(lambda campaign: _cluster(campaign).restart_node(edge))
    seconds = stage().since(f"restart {edge}")
    return f"the node of {edge} was switched off and on, and its API answers after {seconds:.1f} s"


def _read(what: Callable[[InCluster], T]) -> Callable[[Campaign], Coroutine[Any, Any, T]]:
    async def read(campaign: Campaign) -> T:
        return what(_cluster(campaign))

    return read


def _cluster(campaign: Campaign) -> InCluster:
    if not isinstance(campaign.disruptions, InCluster):
        raise HarnessTrouble("EMCO does not run in a cluster: this takes the platform kind")
    return campaign.disruptions
