"""The lab in a cluster: services in pods, stores behind Services, a relay in a pod between them."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.crashpoints.lab import Call as AnyCall
from harness.crashpoints.lab import Limits
from harness.crashpoints.model import Told
from harness.emco.endpoints import Endpoints
from harness.faults.victim import Death, HarnessTrouble, ServiceDown, Victim
from harness.platforms.edges.edge import Edge
from harness.platforms.kind.machine import Machine
from harness.platforms.kind.node import Exit
from harness.platforms.kubernetes.edges import EdgeGroup
from harness.platforms.kubernetes.evidence import ClusterEvidence
from harness.platforms.kubernetes.exits import Exits
from harness.platforms.kubernetes.instances import Instance, Start
from harness.platforms.kubernetes.nodes import NodeAccess
from harness.platforms.kubernetes.pod_logs import PodLogs
from harness.platforms.kubernetes.pods import Pod, Pods
from harness.platforms.kubernetes.streams import Streams
from harness.platforms.kubernetes.undo import DisruptionUndo
from harness.platforms.kubernetes.wiring import EMCO_NAMESPACE, Wiring
from harness.platforms.process.lab import EdgeName
from harness.platforms.process.programs import check_schema_known, is_done_with_schema
from harness.platforms.rest import RestClient
from harness.platforms.settings import Settings
from harness.platforms.together import all_of
from harness.stores.etcd import Etcd
from harness.stores.mongo import Mongo
from harness.stores.snapshot import Snapshot
from harness.wire.bell import Bell
from harness.wire.conditions import Healthy, Refuse
from harness.wire.links import Address, RelayError
from harness.wire.remote import RemoteRelay

_START_LIMIT = 90.0
_SCHEMA_LIMIT = 30.0  # from the moment it answers: a service looks for it once a second
_CONTAINER_LIMIT = 30.0
_KNOWN_LIMIT = 5.0  # until the API server tells where a pod is that is at work already
_LOG_PAUSE = 0.1
_LOOK_AGAIN = 1.0


@dataclass(frozen=True, slots=True)
class ClusterParts:
    """What an environment in a cluster is made of.

    doors: where the harness reaches the services' APIs;  logs: folder for the logs of the pods
    kubeconfig: file and context of the cluster
    machines: of the edges that are clusters;  hub: of EMCO's own cluster, where it may be switched off
    why_not_ready: what the cluster says of a service's pods
    """

    wiring: Wiring
    pods: Pods
    streams: Streams
    node: NodeAccess
    mongo: Mongo
    etcd: Etcd
    edges: EdgeGroup | None
    relay: RemoteRelay
    doors: Mapping[str, Address]
    endpoints: Endpoints
    logs: Path
    kubeconfig: tuple[Path, str]
    evidence: ClusterEvidence | None
    machines: Mapping[str, Machine]
    why_not_ready: Callable[[str], Awaitable[str]]
    undo: DisruptionUndo
    hub: Machine | None = None


class KubernetesLab:
    """Implements the Lab protocol.

    A service's pod is never started twice: whoever ends is replaced, since kubelet starts a container that ended again
    later and later. Its Deployment keeps a second pod beside the one at work. That one waits at the relay, where its
    first connection is held, until the lab lets it in: so it has seen nothing of what was before, and a start does not
    wait for a pod to be made.
    """

    def __init__(self, settings: Settings, limits: Limits, parts: ClusterParts) -> None:
        self.settings = settings
        self.services = parts.wiring.services
        self.mongo = parts.mongo
        self.etcd = parts.etcd
        self.folder = parts.logs
        self.clean_slates = 0
        self._of_schema: dict[str, bytes] = {}  # what each had said when it was done with the schema
        self._parts = parts
        self._limits = limits
        self._exits = Exits()
        self._news = Bell()
        self._missed = ""
        # whoever was let in before, by somebody else, counts as running: it must not go on with what it knows
        self._instances = {
            name: Instance(address, self._exits.now) for name, address in parts.relay.instances.items() if address
        }
        self._running = {name for name in self.services if name in self._instances}
        self._edges_refused = False
        self._logs = PodLogs(parts.pods, parts.streams, parts.logs)
        self._older: dict[str, Instance] = {}
        self._rest = RestClient(self.http, parts.endpoints, limit=limits.answer)
        parts.pods.follow(self._look)

    @property
    def environment(self) -> str:
        edges = "".join(f"-{edge.identity}" for edge in self.edges.values() if edge.identity)
        return f"kubernetes/{EMCO_NAMESPACE}{edges}"

    @property
    def relay(self) -> RemoteRelay:
        return self._parts.relay

    @property
    def running(self) -> frozenset[str]:
        return frozenset(self._running)

    @property
    def connectivity_retries(self) -> int:
        return self._rest.retries

    @property
    def edges(self) -> Mapping[EdgeName, Edge]:
        """The clusters that EMCO deploys to."""
        group = self._parts.edges
        if group is None:
            return {}
        return {EdgeName(*name.split("+", 1)): group.edge(name) for name in self._parts.wiring.edges}

    def http(self, service: str) -> Address:
        """Where the harness reaches a service's API."""
        return self._parts.doors[service]

    def at(self, name: str) -> str:
        """Address of a service's pod at work; empty for whatever has but one pod."""
        return self._instances[name].address if name in self._instances else ""

    def edges_refuse(self, *, refuse: bool) -> None:
        if refuse is self._edges_refused:
            return  # what somebody else does to a link stays
        self._edges_refused = refuse
        for link in self.relay.links():
            if link.target in self._parts.wiring.edges:
                self.relay.set_condition(link, Refuse() if refuse else Healthy())

    def victim(self, service: str) -> Victim:
        if service not in self.services:
            raise HarnessTrouble(f"{service} is not among the services of this environment: {', '.join(self.services)}")
        return _Victim(service, self)

    def log_tail(self, service: str) -> str:
        return self._logs.tail(service)

    async def clean_slate(self, snapshot: Snapshot, *, only: frozenset[str] | None = None) -> None:
        if snapshot.environment != self.environment:
            raise HarnessTrouble(
                f"the snapshot is of {snapshot.environment}, this is {self.environment}: it holds other addresses"
            )
        self.edges_refuse(refuse=False)
        await self.kill_services()
        await asyncio.gather(
            self.mongo.restore(snapshot.mongo), self.etcd.restore(snapshot.etcd), self._restore_edges(snapshot)
        )
        await self.start_services(empty=not snapshot.mongo, only=None if self.settings.all_services else only)
        for name in self.running:
            check_schema_known(name, self._of_schema.pop(name, b""))
        self.clean_slates += 1

    async def kill_services(self) -> None:
        """Cut all off from everything, and replace their pods; the processes may live a little longer, but alone.

        Also those that count as ended or never came up: whoever was let in has a memory, whatever became of it since.
        """
        await self.relay.synced()
        killed = [name for name in self.services if self._was_let_in(name)]
        for name in killed:
            self._part_with(name)
        self._missed = ""
        await self.relay.synced()
        await all_of(self._replace(name) for name in killed)

    def _was_let_in(self, service: str) -> bool:
        """Whether an instance of it was, that has not been replaced since."""
        return service in self._instances or service in self._older or bool(self.relay.instances.get(service))

    def _part_with(self, service: str) -> None:
        """Its instance, if there is one, talks no more; its pod is still to be replaced."""
        self._running.discard(service)
        address = self.relay.instances.get(service)
        if address and self.at(service) != address:
            self._instances[service] = Instance(address, self._exits.now)
        self.relay.drop(service)

    async def _replace(self, service: str) -> None:
        """Delete the pod that was let in, of two both; one that is gone already is fine."""
        for known in (self._older, self._instances):
            one = known.get(service)
            if one is None:
                continue
            pod = one.pod or await self._parts.pods.at(service, one.address, limit=_KNOWN_LIMIT)
            if pod is not None:
                await self._parts.pods.delete(pod)
            del known[service]

    async def start_services(self, *, empty: bool = False, only: frozenset[str] | None = None) -> None:
        """Let all in together; on empty stores the orchestrator first: the others wait for the schema it stores.

        Raises as let_in does, when nothing of it goes on any more.
        """
        names = [name for name in self.services if name not in self._running and (only is None or name in only)]
        if empty and "orchestrator" in self.services and "orchestrator" not in self._running:
            await self.let_in("orchestrator")
        await all_of(self.let_in(name) for name in names if name not in self._running)

    async def let_in(self, service: str) -> None:
        """Let a pod that waits go on, and return when it answers.

        Raises ServiceDown with its log, and HarnessTrouble where the cluster brought no program of it to run.
        """
        if service not in self._running and self._was_let_in(service):
            self._part_with(service)
            await self._replace(service)
        start = Start(self._exits.now)
        self.relay.want(service)
        await self._comes(service, start)
        if service not in self._running:
            self._instances[service] = Instance(self.relay.instances[service], start.since)
            self._running.add(service)
            self._logs.follow(service, self._instances[service], known=self._look)
        if service != "rsync":
            await self._done_with_schema(service)

    async def _comes(self, service: str, start: Start) -> None:
        """Wait until the instance that was asked for answers. Raises as let_in does."""
        renewing = asyncio.ensure_future(self._renew(service, start))
        try:
            why = await self.relay.answers(service, self._parts.wiring.ports(service), limit=_START_LIMIT)
        finally:
            renewing.cancel()
            (trouble,) = await asyncio.gather(renewing, return_exceptions=True)
        if not why and not self.relay.instances.get(service):
            why = "it answered and ended"
        if why and isinstance(trouble, Exception):
            self._part_with(service)
            raise HarnessTrouble(f"{service}: {why}; its pods could not be looked after: {trouble}") from trouble
        if why:
            raise await self._not_up(service, why, start)

    async def begin_overlap(self, service: str) -> str:
        """Let a second instance in beside the one at work, and return when it answers; which two, in words.

        Raises as let_in does: then neither is at work any more.
        """
        if service not in self._running:
            raise HarnessTrouble(f"{service} does not run: there is nothing that another one could run beside")
        if service in self._older:
            raise HarnessTrouble(f"two instances of {service} are at work already")
        if missing := self._parts.node.missing:
            raise HarnessTrouble(f"the death of one of two instances of {service} could not be proven: {missing}")
        start, older = Start(self._exits.now), self._instances[service]
        self._older[service] = older
        self.relay.beside(service)
        await self._comes(service, start)
        newer = self._instances[service] = Instance(self.relay.instances[service], start.since)
        self._logs.follow(service, newer, known=self._look)
        if service != "rsync":
            await self._done_with_schema(service)
        return f"two instances of {service} are at work, at {older.address} and {newer.address}"

    async def end_overlap(self, service: str) -> Death:
        """SIGKILL the older of two on its node; the newer one goes on."""
        older = self._older.get(service)
        if older is None:
            raise HarnessTrouble(f"there is no older instance of {service} to be killed")
        death = await self._kill(service, await self._pod_at(service, older.address))
        self.relay.retire_older(service)
        del self._older[service]
        return death

    @property
    def overlapping(self) -> tuple[str, ...]:
        """Services of which two are at work."""
        return tuple(self._older)

    async def _renew(self, service: str, start: Start) -> None:
        """Delete pods whose container ended, since nobody knows when kubelet starts it again: those that waited too
        long and gave up, and one that was let in and gave up; the next one is let in in its place."""
        pods = self._parts.pods
        while True:
            if pods.is_gone(self.relay.instances.get(service, "")):  # somebody else has deleted it meanwhile
                self._part_with(service)
                del self._instances[service]
                self.relay.want(service)
            for pod in pods.of(service):
                start.has_run = start.has_run or pod.has_run
                ended = self._exits.came(*(one for one in (pod.container, pod.ended) if one), since=start.since)
                if not pod.is_stale and not ended:
                    continue
                if pod.is_stale and pod.address:  # it may be back this very moment, and must not be let in any more
                    self.relay.ban(pod.address)
                await self.relay.synced()
                if pod.address and pod.address == self.relay.instances.get(service):
                    start.log = await self._logs.words(pod)
                    self._part_with(service)
                    self.relay.want(service)
                elif not pod.is_stale:  # it waits again, and has seen nothing
                    self._exits.forget(pod.container, pod.ended)
                    continue
                await pods.delete(pod)
                if self.at(service) == pod.address:
                    del self._instances[service]
            await self._news.wait(_LOOK_AGAIN)  # no bell is rung when the relay lets somebody in

    async def _not_up(self, service: str, why: str, start: Start) -> ServiceDown | HarnessTrouble:
        """Why a start failed, with what the service said; and whose fault it is. Its instance is let in no more."""
        await self.relay.synced()
        pods, address = self._parts.pods.of(service), self.relay.instances.get(service) or "?"
        newest = sorted(
            (pod for pod in pods if pod.has_run or pod.address == address),
            key=lambda pod: (pod.address == address, pod.made),
        )
        log = (await self._logs.words(newest[-1]) if newest else "") or start.log
        self._logs.add(service, log)
        self._part_with(service)
        said = await self._parts.why_not_ready(service)
        sentence = f"did not answer within {_START_LIMIT:g} s of its start: {why}; the cluster says: {said}"
        if not start.has_run and not newest:
            return HarnessTrouble(f"{service} {sentence}; no program of it was started, so it is not to blame")
        return ServiceDown(service, sentence, log)

    async def _done_with_schema(self, service: str) -> None:
        """Wait until a service says in its log that it knows the referential schema: before that it refuses every
        create."""
        deadline = asyncio.get_running_loop().time() + _SCHEMA_LIMIT
        while True:
            pod = await self._parts.pods.running(service, address=self.at(service) or "?", limit=_KNOWN_LIMIT)
            self._of_schema[service] = await self._parts.streams.log(pod.path) if pod is not None else b""
            if is_done_with_schema(self._of_schema[service]):
                return
            if asyncio.get_running_loop().time() > deadline:
                raise ServiceDown(
                    service, f"did not load the schema within {_SCHEMA_LIMIT:g} s", self.log_tail(service)
                )
            await asyncio.sleep(_LOG_PAUSE)  # the log is all that tells; bounded by the limit

    def all_ended(self) -> None:
        """Everything has ended at once, as on a machine that is switched off: nothing of it has to be replaced."""
        self._running.clear()
        self._instances.clear()
        self._older.clear()

    def all_seen(self) -> None:
        """Whatever was missed was of those that have ended: who runs from now on is let in from now on."""
        if self._running:
            raise HarnessTrouble(f"{', '.join(sorted(self._running))} ran already while ends may have been missed")
        self._missed = ""

    def ended(self, one: Exit) -> None:
        """A container's process ended, and the lab did not kill it: as a service it counts as ended by itself.

        Which pod the container is of may be known only later.
        """
        self._exits.add(one.container)
        self._look()

    def missed(self, why: str) -> None:
        """What happens on the node was not seen for a while: what runs now may not be what was started."""
        self._missed = why

    def _look(self) -> None:
        """Whether one of those that run has ended meanwhile."""
        for name in tuple(self._running):
            one = self._instances[name]
            if self._exits.came(*one.containers(self._parts.pods.of(name)), since=one.since):
                self._running.discard(name)
                with contextlib.suppress(RelayError):  # whoever asks the relay next is told that it is lost
                    self.relay.drop(name)  # kubelet starts it again; that instance must not go on in its place
        self._news.ring()

    async def crash(self, service: str) -> Death:
        """SIGKILL on the node, or what comes next to it; the pod is replaced, since a container that ended is started
        later and later.

        Where that fails halfway the next start, or clean slate, begins with the replacement.
        """
        if service not in self._running:
            raise HarnessTrouble(f"{service} was to be killed, but it does not run: {self.log_tail(service)[-400:]}")
        pod = await self._pod_at(service, self.at(service))
        self._running.discard(service)
        death = await self._kill(service, pod)
        del self._instances[service]
        return death

    async def _pod_at(self, service: str, address: str) -> Pod:
        """The pod that is to be killed."""
        await self.relay.synced()
        pod = await self._parts.pods.running(service, address=address, limit=_CONTAINER_LIMIT)
        if pod is None:
            raise HarnessTrouble(f"{service} was to be killed, but its pod at {address} is not known")
        return pod

    async def _kill(self, service: str, pod: Pod) -> Death:
        ended = await self._parts.node.kill(pod.container)
        told = await self._parts.pods.delete(pod)
        check_exit(service, pod, ended, told)
        return ended.death(service)

    async def snapshot(self) -> Snapshot:
        """Raises HarnessTrouble when it is not certain that the same processes run that were started."""
        if self._missed:
            raise HarnessTrouble(self._missed)
        mongo, etcd, edges = await asyncio.gather(self.mongo.snapshot(), self.etcd.snapshot(), self.edge_objects())
        return Snapshot(self.environment, mongo, etcd, edges)

    async def keep_evidence(self, about: str) -> str:
        """Keep what the cluster says of its pods; where, empty where that was done often enough or nowhere is named."""
        return await self._parts.evidence.keep(about) if self._parts.evidence is not None else ""

    async def edge_objects(self) -> Mapping[str, tuple[dict[str, Any], ...]]:
        """What EMCO's edges hold, by their names."""
        return await self._parts.edges.objects() if self._parts.edges is not None else {}

    async def _restore_edges(self, snapshot: Snapshot) -> None:
        if self._parts.edges is not None:
            await self._parts.edges.restore(snapshot.edges)

    def begin(self, call: AnyCall) -> "asyncio.Task[Told]":
        return asyncio.ensure_future(self._begin(call))

    async def _begin(self, call: AnyCall) -> Told:
        await self.relay.synced()  # what was ordered before, a trigger for one, holds for this call
        try:
            return await self._rest.send_once(call)
        except asyncio.CancelledError:  # the client has hung up when the service can know of it, not before
            await self.relay.hung_up(call.service, limit=self._limits.ended)
            raise

    async def send(self, call: AnyCall) -> Told:
        await self.relay.synced()
        return await self._rest.send(call)

    async def ask(self, service: str, path: str) -> Any:
        return await self._rest.ask(service, path)

    async def close(self) -> None:
        """Let go of it; what was installed stays for whoever owns the cluster."""
        self._parts.pods.unfollow(self._look)
        await self._logs.close()
        await self._rest.close()


def check_exit(name: str, pod: Pod, ended: Exit, told: Mapping[str, int]) -> None:
    """Raises HarnessTrouble where the cluster says otherwise of the container that was killed than its node.

    told: exit codes by container; mostly the pod is gone before the cluster knows any
    """
    if (status := told.get(pod.container, ended.status)) != ended.status:
        raise HarnessTrouble(
            f"the death of {name} is not proven: its node says that container {pod.container[:12]} ended with "
            f"{ended.status}, the cluster with {status}"
        )


class _Victim:
    """A service in its pod as a victim."""

    def __init__(self, name: str, lab: KubernetesLab) -> None:
        self.name = name
        self._lab = lab

    async def crash(self) -> Death:
        return await self._lab.crash(self.name)

    async def start(self) -> None:
        await self._lab.let_in(self.name)
