"""The lab on OS processes: stores, services and edges of one environment, with a relay on every connection between them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp

from harness.crashpoints.lab import Call as AnyCall
from harness.crashpoints.lab import Limits
from harness.crashpoints.model import Told
from harness.emco.calls import Call, Endpoints, rewrite
from harness.emco.services import SERVICES
from harness.faults.journal import Journal
from harness.faults.victim import HarnessTrouble, UsageError, Victim
from harness.platforms.edge_emulator import EdgeEmulator
from harness.platforms.linux import become_subreaper, enter_network_namespace
from harness.platforms.process.layout import ETCD_PORT, MONGO_PORT, Block, Layout, SocketOwners, isolated_layout
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
from harness.stores.etcd import Etcd
from harness.stores.mongo import Mongo, StoreError
from harness.stores.snapshot import Snapshot
from harness.wire.relay import Link, Relay

_CONNECTIVITY = (
    "connection error", "connection refused", "transport: error while dialing", "rpc error: code = unavailable",
    "not defined in the referential schema", "server selection error", "connection is not ready", "is not in ready state",
)  # fmt: skip
_MOST_BODY = 600
_STREAMS = frozenset({"/readyNotify/Alert", "/statusnotify/StatusRegister"})  # answered when there is news
_OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class EdgeName:
    """A cluster as EMCO names it."""

    provider: str
    cluster: str

    def __str__(self) -> str:
        return f"{self.provider}+{self.cluster}"


class ProcessLab:
    """Implements the Lab protocol. Use open_lab()."""

    def __init__(
        self, settings: Settings, limits: Limits, layout: Layout, services: Mapping[str, Supervised],
        mongo: Mongo, etcd: Etcd, edges: Mapping[EdgeName, EdgeEmulator], relay: Relay, owners: SocketOwners, endpoints: Endpoints,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.layout = layout
        self.services = services
        self.mongo = mongo
        self.etcd = etcd
        self.edges = edges
        self.endpoints = endpoints
        self.connectivity_retries = 0
        self.clean_slates = 0
        self._limits = limits
        self._relay = relay
        self._owners = owners
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, limit=0),
            timeout=aiohttp.ClientTimeout(total=limits.answer),
        )

    @property
    def environment(self) -> str:
        return f"process/{self.layout.name}"

    @property
    def relay(self) -> Relay:
        return self._relay

    @property
    def running(self) -> frozenset[str]:
        return frozenset(name for name, service in self.services.items() if service.pid is not None)

    def victim(self, service: str) -> Victim:
        if service not in self.services:
            raise HarnessTrouble(f"{service} is not among the services of this environment: {', '.join(self.services)}")
        return _Victim(self.services[service], self)

    def log_tail(self, service: str) -> str:
        return self.services[service].log_tail() if service in self.services else ""

    async def clean_slate(self, snapshot: Snapshot, *, only: frozenset[str] | None = None) -> None:
        """Kill all services, make stores and edges exactly the snapshot, start the services together."""
        if snapshot.environment != self.environment:
            raise HarnessTrouble(
                f"the snapshot was taken in {snapshot.environment}, this is {self.environment}: it holds other addresses"
            )
        await self.kill_services()
        await asyncio.gather(self.mongo.restore(snapshot.mongo), self.etcd.restore(snapshot.etcd))
        for name, edge in self.edges.items():
            await edge.restore(list(snapshot.edges.get(str(name), ())))
        await self.start_services(empty=not snapshot.mongo, only=None if self.settings.all_services else only)
        self.clean_slates += 1

    async def kill_services(self) -> None:
        """SIGKILL to all; what they had sent is either with the store or gone."""
        for name in self.services:
            self._relay.freeze(name)
        await asyncio.gather(*(service.stop() for service in self.services.values()))
        for name in self.services:
            self._relay.drop(name)

    async def start_services(self, *, empty: bool = False, only: frozenset[str] | None = None) -> None:
        """Start all together. On empty stores the orchestrator goes first: it stores the schema that the others wait for."""
        waiting = []
        for name, service in self.services.items():
            if empty and name == "orchestrator":
                await service.start()
        for name, service in self.services.items():
            if service.pid is None and (only is None or name in only):
                service.launch()
                waiting.append(service.answering())
        self._owners.pids = {name: service.pid for name, service in self.services.items()}
        await asyncio.gather(*waiting)

    async def snapshot(self) -> Snapshot:
        mongo, etcd = await asyncio.gather(self.mongo.snapshot(), self.etcd.snapshot())
        edges = {str(name): tuple(edge.objects()) for name, edge in self.edges.items()}
        return Snapshot(self.environment, mongo, etcd, edges)

    def begin(self, call: AnyCall) -> "asyncio.Task[Told]":
        return asyncio.ensure_future(self._send_once(_own(call)))

    async def send(self, call: AnyCall) -> Told:
        deadline = asyncio.get_running_loop().time() + self._limits.answer
        while True:
            told = await self._send_once(_own(call))
            if not _only_connectivity(told) or asyncio.get_running_loop().time() > deadline:
                return told
            self.connectivity_retries += 1
            await asyncio.sleep(0.02)  # gRPC connections come back by themselves; bounded by the deadline

    async def _send_once(self, call: Call) -> Told:
        call = rewrite(call, self.endpoints)
        host, port = self.layout.http(call.service)
        url = f"http://{host}:{port}{call.path}"
        try:
            if call.multipart is not None:
                form = aiohttp.FormData()
                form.add_field("metadata", json.dumps(call.multipart.metadata), content_type="application/json")
                for part in call.multipart.files:
                    form.add_field(part.form_field, part.content, filename=part.filename, content_type=_OCTETS)
                request = self._http.request(call.method, url, data=form)
            else:
                body = json.dumps(call.json) if call.json is not None else None
                request = self._http.request(call.method, url, data=body, headers={"Content-Type": "application/json"})
            async with request as answer:
                return Told(answer.status, (await answer.text(errors="backslashreplace"))[:_MOST_BODY])
        except TimeoutError:
            return Told(None, f"no answer within {self._limits.answer:g} s")
        except aiohttp.ClientError as error:
            return Told(None, f"{type(error).__name__}: {error}")

    async def close(self) -> None:
        """End everything; nothing is left."""
        await self.kill_services()
        await self._http.close()
        await self._relay.close()
        for edge in self.edges.values():
            await edge.stop()


class _Victim:
    """A service as a victim: after a restart the relay knows its new pid."""

    def __init__(self, process: Supervised, lab: ProcessLab) -> None:
        self._process = process
        self._lab = lab
        self.name = process.name
        self.crash = process.crash

    async def start(self) -> None:
        self._process.launch()
        self._lab._owners.pids[self.name] = self._process.pid  # noqa: SLF001  same module
        await self._process.answering()


def _own(call: AnyCall) -> Call:
    if not isinstance(call, Call):
        raise HarnessTrouble(f"{call!r} is no EMCO call")
    return call


def _only_connectivity(told: Told) -> bool:
    """A refusal that says nothing but that services cannot reach each other (yet): CONNECTING counts as failure in EMCO."""
    body = told.body.lower()
    return told.kind == "refused" and any(text in body for text in _CONNECTIVITY)


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
        journal = Journal(undo)
        stack.callback(journal.close)
        layout = _layout(settings, stack)
        launcher = ForkServer()
        stack.callback(launcher.close)
        reference = launcher if settings.emco_bin else ForkServer("reference.service")
        if reference is not launcher:
            stack.callback(reference.close)
        mongo, etcd = await _stores(settings, layout, folder, launcher, journal, stack)
        owners = SocketOwners()
        relay = Relay()
        emulators = {name: EdgeEmulator(str(name)) for name in edges}
        supervised = {}
        for index, service in enumerate(services):
            supervised[service] = await _service(
                settings, layout, folder, service, index, binaries, relay, reference, journal, mongo, etcd
            )
        endpoints = await _links(layout, services, emulators, relay, owners)
        lab = ProcessLab(settings, limits, layout, supervised, mongo, etcd, emulators, relay, owners, endpoints)
        stack.push_async_callback(lab.close)
        yield lab


def _layout(settings: Settings, stack: contextlib.AsyncExitStack) -> Layout:
    external = settings.mongo_uri or settings.etcd_endpoint
    if settings.isolate and not external and enter_network_namespace():
        return isolated_layout()
    block = Block(settings.state_folder / "blocks")
    stack.callback(block.close)
    return block.layout


async def _stores(
    settings: Settings,
    layout: Layout,
    folder: Path,
    launcher: ForkServer,
    journal: Journal,
    stack: contextlib.AsyncExitStack,
) -> tuple[Mongo, Etcd]:
    """Start both stores, or connect to the named ones, and make sure that they may be used."""
    starting = []
    if not settings.mongo_uri:
        starting.append(Supervised(mongo_spec(layout, folder, _listens(layout.store(MONGO_PORT))), launcher, journal))
    if not settings.etcd_endpoint:
        starting.append(Supervised(etcd_spec(layout, folder, _listens(layout.store(ETCD_PORT))), launcher, journal))
    for process in starting:
        process.launch()
        stack.push_async_callback(process.stop)
    await asyncio.gather(*(process.answering() for process in starting))
    mongo_address = settings.store_address("mongo") or layout.store(MONGO_PORT)
    etcd = Etcd(*(settings.store_address("etcd") or layout.store(ETCD_PORT)))
    stack.push_async_callback(etcd.close)
    try:
        mongo = await stack.enter_async_context(Mongo(*mongo_address, uri=settings.mongo_uri))
        await mongo.check()
        await etcd.check()
        await mongo.claim()
        await etcd.claim()
    except StoreError as error:
        raise UsageError(str(error)) from error
    return mongo, etcd


def _listens(address: tuple[str, int]):  # type: ignore[no-untyped-def]  # a closure that ProcessSpec types
    async def ready(_: int) -> None:
        await reachable(address)

    return ready


async def _service(
    settings: Settings, layout: Layout, folder: Path, service: str, index: int, binaries: Mapping[str, Binary], relay: Relay,
    starter: ForkServer, journal: Journal, mongo: Mongo, etcd: Etcd,
) -> Supervised:  # fmt: skip
    """One service with its own relay addresses for both stores."""
    for target, port, protocol in (("mongo", MONGO_PORT, "mongo"), ("etcd", ETCD_PORT, "etcd")):
        upstream = settings.store_address(target) or layout.store(port)
        await relay.open(Link(service, target, protocol, layout.store_relay(index, port), upstream))  # type: ignore[arg-type]
    spec = service_spec(
        service,
        index,
        layout,
        folder,
        binary=binaries.get(service),
        defects=settings.reference,
        max_retries=settings.max_retries,
    )
    return Supervised(spec, starter, journal)


async def _links(
    layout: Layout,
    services: tuple[str, ...],
    edges: Mapping[EdgeName, EdgeEmulator],
    relay: Relay,
    owners: SocketOwners,
) -> Endpoints:
    """Relays before every service that others call by gRPC and before every edge; how workloads have to name them."""
    grpc = {}
    for service in services:
        if SERVICES[service].grpc_port is not None:
            listen = layout.grpc_relay(service)
            who = partial(owners.of, local=listen)
            await relay.open(Link("?", service, "grpc", listen, layout.grpc(service), streams=_STREAMS, identify=who))
            grpc[service] = listen
    kubeconfigs = {}
    for index, (name, edge) in enumerate(edges.items()):
        host, port = layout.edge(index)
        await edge.start(host, port)
        listen = layout.edge_relay(index)
        await relay.open(Link("rsync", str(name), "http", listen, (host, port)))
        kubeconfigs[name.provider, name.cluster] = edge.kubeconfig(f"http://{listen[0]}:{listen[1]}")
    return Endpoints(grpc, kubeconfigs)
