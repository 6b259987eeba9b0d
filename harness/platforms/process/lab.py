"""The lab on OS processes: stores, services, edges of one environment, a relay on every connection between them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.crashpoints.lab import Call as AnyCall
from harness.crashpoints.lab import Limits
from harness.crashpoints.model import Told
from harness.emco.endpoints import Endpoints
from harness.faults.victim import HarnessTrouble, Victim
from harness.platforms.edges.edge import Edge
from harness.platforms.process.at_work import AtWork
from harness.platforms.process.layout import Layout
from harness.platforms.process.programs import check_schema_known
from harness.platforms.rest import RestClient
from harness.platforms.settings import Settings
from harness.platforms.supervisor import Supervised
from harness.stores.etcd import Etcd
from harness.stores.mongo import Mongo
from harness.stores.snapshot import Snapshot
from harness.wire.conditions import Healthy, Refuse
from harness.wire.links import Address
from harness.wire.relay import Relay


@dataclass(frozen=True, slots=True)
class EdgeName:
    """A cluster as EMCO names it."""

    provider: str
    cluster: str

    def __str__(self) -> str:
        return f"{self.provider}+{self.cluster}"


@dataclass(frozen=True, slots=True)
class Parts:
    """What an environment is made of: its services, stores, edges, relay and addresses.

    folder: logs and data of the environment; it goes with it
    stores: the processes of the stores that were started here; those of the user's own are not among them
    """

    layout: Layout
    folder: Path
    at_work: AtWork
    stores: Mapping[str, Supervised]
    mongo: Mongo
    etcd: Etcd
    edges: Mapping[EdgeName, Edge]
    relay: Relay
    endpoints: Endpoints


class ProcessLab:
    """Implements the Lab protocol. Use open_lab()."""

    def __init__(self, settings: Settings, limits: Limits, parts: Parts) -> None:
        self.settings = settings
        self.layout = parts.layout
        self.folder = parts.folder
        self.at_work = parts.at_work
        self.stores = parts.stores
        self.mongo = parts.mongo
        self.etcd = parts.etcd
        self.edges = parts.edges
        self.endpoints = parts.endpoints
        self.clean_slates = 0
        self._edges_refused = False
        self._limits = limits
        self._relay = parts.relay
        self._rest = RestClient(self.http, parts.endpoints, limit=limits.answer)

    @property
    def environment(self) -> str:
        edges = "".join(f"-{edge.identity}" for edge in self.edges.values() if edge.identity)
        return f"process/{self.layout.name}{edges}"

    @property
    def connectivity_retries(self) -> int:
        return self._rest.retries

    def http(self, service: str) -> Address:
        """Where a service has its API."""
        return self.at_work.http(service)

    @property
    def services(self) -> Mapping[str, Supervised]:
        """The process of each service; of two that are at work side by side the newer one."""
        return self.at_work.processes

    @property
    def relay(self) -> Relay:
        return self._relay

    @property
    def running(self) -> frozenset[str]:
        return frozenset(name for name, service in self.services.items() if service.pid is not None)

    def edges_refuse(self, *, refuse: bool) -> None:
        if refuse is self._edges_refused:
            return  # what somebody else does to a link stays
        self._edges_refused = refuse
        names = {str(name) for name in self.edges}
        for link in self._relay.links():
            if link.target in names:
                self._relay.set_condition(link, Refuse() if refuse else Healthy())

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
                f"the snapshot is of {snapshot.environment}, this is {self.environment}: it holds other addresses"
            )
        await self.kill_services()
        self.edges_refuse(refuse=False)
        await asyncio.gather(self.mongo.restore(snapshot.mongo), self.etcd.restore(snapshot.etcd))
        await asyncio.gather(*(edge.restore(snapshot.edges.get(str(name), ())) for name, edge in self.edges.items()))
        await self.start_services(empty=not snapshot.mongo, only=None if self.settings.all_services else only)
        for name in self.running:
            check_schema_known(name, self.services[name].said())
        self.clean_slates += 1

    async def kill_services(self) -> None:
        """SIGKILL to all; what they had sent is either with the store or gone."""
        for name in self.services:
            self._relay.freeze(name)
        await self.at_work.stop()
        for name in self.services:
            self._relay.drop(name)

    async def start_services(self, *, empty: bool = False, only: frozenset[str] | None = None) -> None:
        """Start all together; on empty stores the orchestrator first: it stores the schema that the others wait for."""
        waiting = []
        for name, service in self.services.items():
            if empty and name == "orchestrator":
                await service.start()
        for name, service in self.services.items():
            if service.pid is None and (only is None or name in only):
                service.launch()
                waiting.append(service.answering())
        self.at_work.tell_owners()
        await asyncio.gather(*waiting)

    async def snapshot(self) -> Snapshot:
        mongo, etcd = await asyncio.gather(self.mongo.snapshot(), self.etcd.snapshot())
        return Snapshot(self.environment, mongo, etcd, await self.edge_objects())

    async def keep_evidence(self, about: str) -> str:  # noqa: ARG002  as the Protocol has it
        """Nothing surrounds processes: their logs are in the results."""
        return ""

    async def edge_objects(self) -> Mapping[str, tuple[dict[str, Any], ...]]:
        """What EMCO's edges hold, by their names."""
        objects = await asyncio.gather(*(edge.objects() for edge in self.edges.values()))
        return {str(name): tuple(found) for name, found in zip(self.edges, objects, strict=True)}

    def begin(self, call: AnyCall) -> "asyncio.Task[Told]":
        return asyncio.ensure_future(self._rest.send_once(call))

    async def send(self, call: AnyCall) -> Told:
        return await self._rest.send(call)

    async def ask(self, service: str, path: str) -> Any:
        return await self._rest.ask(service, path)

    async def close(self) -> None:
        """End the services and the relay; stores and edges are of whoever opened them."""
        await self.kill_services()
        await self._rest.close()
        await self._relay.close()


class _Victim:
    """A service as a victim: after a restart the relay knows its new pid."""

    def __init__(self, process: Supervised, lab: ProcessLab) -> None:
        self._process = process
        self._lab = lab
        self.name = process.name
        self.crash = process.crash

    async def start(self) -> None:
        self._process.launch()
        self._lab.at_work.tell_owners()
        await self._process.answering()
