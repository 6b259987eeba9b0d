"""kind clusters as edges: what EMCO applied there is read and put back, and how the relay reaches them."""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.faults.journal import Journal
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.edge_emulator import LoggedRequest
from harness.platforms.edge_emulator.storage import Key
from harness.platforms.edges.access import read_kubeconfig, write_client_files
from harness.platforms.edges.api_edge import ApiEdge, Ways
from harness.platforms.edges.authority import Authority
from harness.platforms.edges.client import ApiClient
from harness.platforms.edges.controllers import Controllers
from harness.platforms.edges.edge import Edge
from harness.platforms.kind.clusters import Cluster, ClusterSet
from harness.platforms.kind.machine import Machine
from harness.platforms.kind.monitor import Monitor, no_monitor
from harness.platforms.kubernetes.evidence import ClusterEvidence
from harness.platforms.kubernetes.wiring import RELAY_HOST, Wiring
from harness.platforms.together import all_of
from harness.wire.control import RelayControl

Json = dict[str, Any]
API_PORT = 6443
_NEVER = ("kube-", "local-path-storage")


def upstreams(clusters: ClusterSet, names: Sequence[str]) -> Mapping[str, tuple[str, int]]:
    """The edges of this set, with where pods of the hub reach them: by the name of the node, on kind's network."""
    return {name: (cluster.node, API_PORT) for name, cluster in _pairs(names, clusters)}


def machines(clusters: ClusterSet, names: Sequence[str], journal: Journal) -> Mapping[str, Machine]:
    """The nodes of these edges."""
    return {
        name: Machine(cluster.node, read_kubeconfig(cluster.kubeconfig, cluster.context), journal)
        for name, cluster in _pairs(names, clusters)
    }


def _pairs(names: Iterable[str], clusters: ClusterSet) -> list[tuple[str, Cluster]]:
    """Each edge with its cluster; a set that is used again may have more of them."""
    wanted = tuple(names)
    return list(zip(wanted, clusters.edges[: len(wanted)], strict=True))


def relay_files(clusters: ClusterSet, wiring: Wiring, authority: Authority) -> Mapping[str, bytes]:
    """What the relay needs for TLS with EMCO and with each edge; made once for a set, so that a relay stays as it is.

    Raises UsageError when a cluster's kubeconfig is not as kind makes it.
    """
    shown = clusters.folder / f"relay-{authority.identity}"
    if not shown.exists():
        made = shown.with_suffix(".new")
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority.write_server_files(RELAY_HOST, made)
        made.rename(shown)
    server = (shown / "server.pem").read_bytes() + b"\n" + (shown / "server.key").read_bytes()
    files: dict[str, bytes] = {}
    for name, cluster in _pairs(wiring.clusters, clusters):
        folder = clusters.folder / cluster.name
        folder.mkdir(mode=0o700, exist_ok=True)
        client = write_client_files(cluster.kubeconfig, cluster.context, folder)
        prefix = Path(wiring.edge_files(name)).name
        files[f"{prefix}.server.pem"] = server
        if client.authority is None or client.certificate is None or client.key is None:
            raise UsageError(f"{cluster.kubeconfig}: no client certificate or authority, which kind gives each")
        files[f"{prefix}.authority.pem"] = client.authority.read_bytes()
        files[f"{prefix}.client.pem"] = client.certificate.read_bytes() + b"\n" + client.key.read_bytes()
    return files


@dataclass(frozen=True, slots=True)
class _Own:
    """The guard of a cluster that was made for this: all of it may be touched but what the cluster itself lives on."""

    name: str

    def check(self, found: Iterable[tuple[Key, Json]]) -> None:
        """Raises HarnessTrouble for an object of EMCO's in a namespace of the cluster's own."""
        for key, _ in found:
            if key.namespace.startswith(_NEVER):
                raise HarnessTrouble(
                    f"edge {self.name}: EMCO applied {key.plural} {key.namespace}/{key.name}; the harness touches "
                    "nothing there"
                )

    async def leave(self) -> None:
        """What is on it goes with it, or with the next clean slate."""


class KindEdges:
    """The edges of one EMCO, each a cluster; implements EdgeGroup. Use open_kind_edges()."""

    def __init__(self, edges: Mapping[str, ApiEdge]) -> None:
        self._edges = dict(edges)

    def edge(self, name: str) -> Edge:
        return self._edges[name]

    def follow(self, relay: RelayControl) -> None:
        """Tell them of the relay: whatever EMCO writes passes there."""
        for edge in self._edges.values():
            edge.follow(relay)

    def recovered(self, name: str) -> None:
        """One of them was away on purpose, and is back."""
        self._edges[name].recovered()

    async def objects(self) -> Mapping[str, tuple[Json, ...]]:
        found = await asyncio.gather(*(edge.objects() for edge in self._edges.values()))
        return {name: tuple(things) for name, things in zip(self._edges, found, strict=True)}

    async def restore(self, wanted: Mapping[str, Sequence[Json]]) -> None:
        await asyncio.gather(*(edge.restore(wanted.get(name, ())) for name, edge in self._edges.items()))

    async def close(self) -> None:
        await asyncio.gather(*(edge.stop() for edge in self._edges.values()))


async def open_kind_edges(
    clusters: ClusterSet,
    wiring: Wiring,
    authority: Authority,
    stack: contextlib.AsyncExitStack,
    monitor: Monitor | None = None,
    evidence: ClusterEvidence | None = None,
) -> KindEdges:
    """The edges, empty of what an EMCO before this one applied. The stack lets go of them. Raises HarnessTrouble.

    monitor: EMCO's own, to report on each; a stand-in does where there is none;  evidence: gets what runs on them
    """
    edges: dict[str, ApiEdge] = {}
    pairs = _pairs(wiring.clusters, clusters)
    await all_of(_reporting(name, cluster, monitor) for name, cluster in pairs)
    for name, cluster in pairs:
        client = ApiClient(name, read_kubeconfig(cluster.kubeconfig, cluster.context))
        edges[name] = edge = _edge(name, cluster, client, authority, reports=monitor is None)
        if evidence is not None:
            evidence.beside(name, client)
        stack.push_async_callback(edge.stop)
    await asyncio.gather(*(_empty(edge) for edge in edges.values()))
    return KindEdges(edges)


async def _reporting(name: str, cluster: Cluster, monitor: Monitor | None) -> None:
    """See to it that one alone is there to report."""
    client = ApiClient(name, read_kubeconfig(cluster.kubeconfig, cluster.context))
    try:
        await (no_monitor(name, client) if monitor is None else monitor.install(cluster, client))
    finally:
        await client.close()


def _edge(name: str, cluster: Cluster, client: ApiClient, authority: Authority, *, reports: bool) -> ApiEdge:
    access = read_kubeconfig(cluster.kubeconfig, cluster.context)
    # By the node's name, as the relay finds it: what EMCO is told is the same for every set of clusters.
    ways = Ways(access, replace(access, address=(cluster.node, API_PORT), identity=""), authority)

    def no_log() -> tuple[LoggedRequest, ...]:
        raise HarnessTrouble(f"edge {name}: a kind cluster shows nobody what it was asked; use the emulator for that")

    controllers = Controllers(client, own=False, reports=reports, now=time.time)
    return ApiEdge(name, ways, client=client, controllers=controllers, guard=_Own(name), log=no_log)


async def _empty(edge: ApiEdge) -> None:
    await edge.install()
    await edge.clear()
