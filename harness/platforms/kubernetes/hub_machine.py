"""The machine of the hub, switched off and on: whatever runs in the cluster ends, and has to come back by itself.

The relay, and where edges are emulated these, run there as well. A relay knows nothing of the one before it, so that
everybody waits until they are let in again. Emulated edges stand for other clusters, which no machine of the hub takes
with it: what they held is put back before anybody asks them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.faults.victim import HarnessTrouble
from harness.platforms.kind.machine import Machine
from harness.platforms.kubernetes.lab import ClusterParts
from harness.platforms.kubernetes.pods import Pods

_PODS_LIMIT = 120.0
_RELAY_LIMIT = 120.0
_EDGES_LIMIT = 60.0
_PAUSE = 0.2


@dataclass(frozen=True, slots=True)
class Held:
    """What there was before.

    containers: of each pod that ran, by the pod's uid
    edges:      what emulated edges held; empty where edges are clusters of their own
    """

    containers: Mapping[str, str]
    edges: Mapping[str, Sequence[dict[str, Any]]]


async def held_now(parts: ClusterParts) -> Held:
    """What there is. Raises HarnessTrouble."""
    emulated = parts.edges is not None and not parts.wiring.clusters
    edges = await parts.edges.objects() if parts.edges is not None and emulated else {}
    return Held({pod.uid: pod.container for pod in parts.pods.there if pod.container}, edges)


async def switch_off_and_on(machine: Machine, parts: ClusterParts, held: Held) -> str:
    """Switch it off and on, and return when all pods have come back, or others in their place.

    What became of them, in words. Raises HarnessTrouble when something does not come back.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    await parts.node.close()  # the node tells of nobody's end while it is off
    try:
        await machine.restart()
        answered = clock() - began
    finally:
        await parts.node.begin()
    kept = await _back(parts.pods, held)
    return (
        f"the node was switched off and on, its API answered after {answered:.1f} s; after {clock() - began:.1f} s "
        f"no pod had the container of before, and {kept} of {len(held.containers)} pods had been kept"
    )


async def _back(pods: Pods, held: Held) -> int:
    """Wait until the API server tells of no container of before any more: kubelet tells it late. How many pods stayed.

    Raises HarnessTrouble with whose container is still told of.
    """
    pods.forget_addresses()  # they are given out anew
    if old := await pods.without(held.containers.values(), limit=_PODS_LIMIT):
        raise HarnessTrouble(f"within {_PODS_LIMIT:g} s after its node was switched on {old[0].name} did not come back")
    return len({pod.uid for pod in pods.there} & held.containers.keys())


async def in_touch(parts: ClusterParts, held: Held) -> None:
    """Have relay and edges again, with what the edges held. Raises RelayError and HarnessTrouble."""
    await parts.relay.reconnect(limit=_RELAY_LIMIT)
    if parts.edges is None or not held.edges:
        return
    deadline = asyncio.get_running_loop().time() + _EDGES_LIMIT
    while True:
        try:
            await parts.edges.restore(held.edges)
        except HarnessTrouble:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(_PAUSE)  # nothing announces that they answer; bounded by the limit
        else:
            return
