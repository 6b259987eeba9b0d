"""Brings an environment up, in the order in which its parts need each other, and takes it down again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness.crashpoints.lab import Limits
from harness.emco.endpoints import Endpoints
from harness.emco.services import SERVICES
from harness.faults.journal import UNDOERS, Journal
from harness.faults.victim import UsageError
from harness.platforms.edges.edge import Edge
from harness.platforms.edges.running import CLUSTER_UNDOERS
from harness.platforms.linux import become_subreaper, enter_network_namespace, own_mounts
from harness.platforms.process.at_work import AtWork, Placed
from harness.platforms.process.edges import Site, open_edges
from harness.platforms.process.lab import EdgeName, Parts, ProcessLab
from harness.platforms.process.layout import (
    ETCD_PORT,
    MONGO_PORT,
    Address,
    Block,
    Layout,
    SocketOwners,
    isolated_layout,
)
from harness.platforms.process.programs import (
    Binary,
    etcd_spec,
    find_binaries,
    mongo_spec,
    reachable,
    service_spec,
)
from harness.platforms.settings import Settings
from harness.platforms.supervisor import ForkServer, Supervised
from harness.stores.claim import claim_both
from harness.stores.etcd import Etcd
from harness.stores.mongo import Mongo, StoreError
from harness.wire.links import Link
from harness.wire.relay import Relay

_STREAMS = frozenset({"/readyNotify/Alert", "/statusnotify/StatusRegister"})  # answered when there is news


@contextlib.asynccontextmanager
async def open_lab(
    settings: Settings,
    limits: Limits,
    *,
    services: tuple[str, ...],
    edges: tuple[EdgeName, ...],
    folder: Path,
    undo: Path,
) -> AsyncIterator[ProcessLab]:
    """Bring an environment up: namespace, stores, relays, edges; services are started by the first clean slate.

    services: names of the services to run;  edges: clusters to emulate;  folder: for logs and data;  undo: the journal.
    Raises UsageError and StoreError with a sentence when something is missing or not what it says.
    """
    binaries = find_binaries(settings.emco_bin, services) if settings.emco_bin else {}
    become_subreaper()
    async with contextlib.AsyncExitStack() as stack:
        journal = Journal(undo, undoers={**UNDOERS, **CLUSTER_UNDOERS})
        stack.callback(journal.close)
        layout = _layout(settings, stack)
        launcher = ForkServer()
        stack.callback(launcher.close)
        reference = launcher if settings.emco_bin else ForkServer("reference.service")
        if reference is not launcher:
            stack.callback(reference.close)
        site = Site(settings, layout, folder, journal, launcher, reference)
        stores, mongo, etcd = await _stores(site, stack)
        relay, owners = Relay(), SocketOwners()
        clusters = await open_edges(site, edges, stack)
        make = _Services(site, services, binaries)
        stack.callback(make.close)
        for index, service in enumerate(services):
            await _own_links(site, service, index, relay)
        first = {service: make.usual(service) for service in services}
        at_work = AtWork(first, beside=make.beside, owners=owners)
        endpoints = await _links(layout, at_work, clusters, relay, owners)
        parts = Parts(layout, folder, at_work, stores, mongo, etcd, clusters, relay, endpoints)
        lab = ProcessLab(settings, limits, parts)
        stack.push_async_callback(lab.close)
        yield lab


def _layout(settings: Settings, stack: contextlib.AsyncExitStack) -> Layout:
    external = settings.mongo_uri or settings.etcd_endpoint or settings.edge_kubeconfigs
    if settings.isolate and not external and enter_network_namespace():
        own_mounts()  # for small volumes; where it is refused those say so
        return isolated_layout()
    block = Block()
    stack.callback(block.close)
    return block.layout


async def _stores(site: Site, stack: contextlib.AsyncExitStack) -> tuple[Mapping[str, Supervised], Mongo, Etcd]:
    """Start both stores, or connect to the named ones, and make sure that they may be used."""
    settings, layout = site.settings, site.layout
    starting = []
    if not settings.mongo_uri:
        starting.append(mongo_spec(layout, site.folder, _listens(layout.store(MONGO_PORT))))
    if not settings.etcd_endpoint:
        starting.append(etcd_spec(layout, site.folder, _listens(layout.store(ETCD_PORT))))
    processes = [Supervised(spec, site.launcher, site.journal) for spec in starting]
    for process in processes:
        process.launch()
        stack.push_async_callback(process.stop)
    await asyncio.gather(*(process.answering() for process in processes))
    mongo_address = settings.store_address("mongo") or layout.store(MONGO_PORT)
    etcd = Etcd(*(settings.store_address("etcd") or layout.store(ETCD_PORT)))
    stack.push_async_callback(etcd.close)
    try:
        mongo = await stack.enter_async_context(Mongo(*mongo_address, uri=settings.mongo_uri))
        await claim_both(mongo, etcd)
    except StoreError as error:
        raise UsageError(str(error)) from error
    return {process.name: process for process in processes}, mongo, etcd


def _listens(address: Address) -> Callable[[int], Awaitable[None]]:
    async def ready(_: int) -> None:
        await reachable(address)

    return ready


async def _own_links(site: Site, service: str, index: int, relay: Relay) -> None:
    """A service's own relay addresses for both stores."""
    settings, layout = site.settings, site.layout
    mongo = settings.store_address("mongo") or layout.store(MONGO_PORT)
    etcd = settings.store_address("etcd") or layout.store(ETCD_PORT)
    await relay.open(Link(service, "mongo", "mongo", layout.store_relay(index, MONGO_PORT), mongo))
    await relay.open(Link(service, "etcd", "etcd", layout.store_relay(index, ETCD_PORT), etcd))
    if service == "rsync":
        await relay.open(Link(service, "git", "tcp", layout.git_relay, layout.git))


class _Services:
    """Makes the processes of services."""

    def __init__(self, site: Site, services: tuple[str, ...], binaries: Mapping[str, Binary]) -> None:
        self._site = site
        self._services = services
        self._binaries = binaries
        self._block: Block | None = None
        self._beside: dict[str, Placed] = {}

    def usual(self, service: str) -> Placed:
        """The one that there is without an overlap."""
        return self._made(service, self._site.folder, self._site.layout)

    def beside(self, service: str) -> Placed:
        """Another one of it, the same each time, at ports of a block of its own."""
        if self._block is None:
            self._block = Block()
        if service not in self._beside:
            layout = replace(self._site.layout, shift=self._block.layout.shift)
            self._beside[service] = self._made(service, self._site.folder / "beside", layout)
        return self._beside[service]

    def _made(self, service: str, folder: Path, ports: Layout) -> Placed:
        site = self._site
        spec = service_spec(
            service,
            self._services.index(service),
            site.layout,
            folder,
            ports=ports,
            binary=self._binaries.get(service),
            settings=site.settings,
        )
        return Placed(Supervised(spec, site.reference, site.journal), ports)

    def close(self) -> None:
        """Give the ports back."""
        if self._block is not None:
            self._block.close()


async def _links(
    layout: Layout,
    at_work: AtWork,
    edges: Mapping[EdgeName, Edge],
    relay: Relay,
    owners: SocketOwners,
) -> Endpoints:
    """Relays before every service that others call by gRPC and before every edge; how workloads have to name them."""
    grpc = {}
    for service in at_work.processes:
        if SERVICES[service].grpc_port is not None:
            listen = layout.grpc_relay(service)
            who, where = partial(owners.of, local=listen), partial(at_work.grpc, service)
            usual = layout.grpc(service)
            await relay.open(Link("?", service, "grpc", listen, usual, streams=_STREAMS, identify=who, locate=where))
            grpc[service] = listen
    kubeconfigs = {}
    for index, (name, edge) in enumerate(edges.items()):
        listen = layout.edge_relay(index)
        await relay.open(Link("rsync", str(name), "http", listen, edge.upstream, tls=edge.tls(listen)))
        edge.follow(relay)
        kubeconfigs[name.provider, name.cluster] = edge.kubeconfig(listen)
    return Endpoints(grpc, kubeconfigs)
