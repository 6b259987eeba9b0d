"""Brings up the edges of an environment: emulators, API servers of the run's own, or running clusters."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.faults.journal import Journal
from harness.faults.victim import UsageError
from harness.platforms.edge_emulator import EdgeEmulator
from harness.platforms.edges.access import read_kubeconfig
from harness.platforms.edges.api_server import (
    Place,
    check_assets,
    own_access,
    own_edge,
    server_spec,
    store_spec,
)
from harness.platforms.edges.audit import HARNESS
from harness.platforms.edges.authority import Authority, open_authority
from harness.platforms.edges.client import ApiClient
from harness.platforms.edges.edge import Edge, EmulatedEdge
from harness.platforms.edges.running import open_running
from harness.platforms.process.lab import EdgeName
from harness.platforms.process.layout import Layout
from harness.platforms.process.programs import reachable
from harness.platforms.settings import Settings
from harness.platforms.supervisor import ForkServer, Supervised


@dataclass(frozen=True, slots=True)
class Site:
    """Where an environment is built and with what: addresses, folder, journal, the starters of its processes."""

    settings: Settings
    layout: Layout
    folder: Path
    journal: Journal
    launcher: ForkServer
    reference: ForkServer


def check_edges(settings: Settings, names: tuple[EdgeName, ...]) -> None:
    """Whether the edges can be had as the settings say, as far as files tell. Raises UsageError; starts nothing."""
    for one in settings.edge_kubeconfigs:
        if EdgeName(one.provider, one.cluster) not in names:
            known = ", ".join(map(str, names)) or "none"
            raise UsageError(
                f"--edge-kubeconfig {one}: the workload registers no cluster {one.provider}+{one.cluster}; "
                f"it registers {known}"
            )
        read_kubeconfig(one.file, one.context)
    if settings.edges == "kube-apiserver" and len(settings.edge_kubeconfigs) < len(names):
        check_assets(settings.edge_assets)


async def open_edges(
    site: Site, names: tuple[EdgeName, ...], stack: contextlib.AsyncExitStack
) -> Mapping[EdgeName, Edge]:
    """Every edge, each of the kind that the settings have for it; the stack ends them. Raises UsageError."""
    settings = site.settings
    running = {EdgeName(one.provider, one.cluster): one for one in settings.edge_kubeconfigs}
    # With what was learned, and as long: snapshots hold kubeconfigs that name it.
    real = running or settings.edges == "kube-apiserver"
    authority = await asyncio.to_thread(open_authority, settings.cache_folder / "authority") if real else None
    edges: dict[EdgeName, Edge] = {}
    for index, name in enumerate(names):
        if name in running:
            assert authority is not None, "there is one where an edge needs it"
            one = running[name]
            edges[name] = await open_running(str(name), one.file, one.context, authority, site.journal)
        elif settings.edges == "kube-apiserver":
            assert authority is not None, "there is one where an edge needs it"
            edges[name] = await _own(site, name, index, authority, stack)
        else:
            emulator = EdgeEmulator(str(name))
            await emulator.start(*site.layout.edge(index))
            edges[name] = EmulatedEdge(emulator)
        stack.push_async_callback(edges[name].stop)
    return edges


async def _own(site: Site, name: EdgeName, index: int, authority: Authority, stack: contextlib.AsyncExitStack) -> Edge:
    """An API server of the run's own and its etcd, as any other process of the environment."""
    layout, assets = site.layout, check_assets(site.settings.edge_assets)
    folder = site.folder / f"edge-{index + 1}"
    place = Place(layout.edge(index), layout.edge_store(index), layout.edge_store_peer(index), folder)
    client = ApiClient(str(name), own_access(place, authority, HARNESS))
    started = False
    try:
        for spec in (
            store_spec(assets, place, str(name), lambda _: reachable(place.store)),
            server_spec(assets, place, str(name), authority, client),
        ):
            process = Supervised(spec, site.launcher, site.journal)
            stack.push_async_callback(process.stop)
            await process.start()
        edge = own_edge(str(name), place, authority, client)
        await edge.install()
        started = True
    finally:
        if not started:
            await client.close()
    return edge
