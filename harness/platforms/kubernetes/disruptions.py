"""Disruptions in a cluster: implements harness.platforms.disruptions.Disruptable over a KubernetesLab."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import aiohttp

from harness.emco.services import SERVICES
from harness.faults.victim import Death, HarnessTrouble, ServiceDown
from harness.platforms.disruptions import Partition, Volume
from harness.platforms.edges.client import ApiClient, gone
from harness.platforms.edges.edge import let_all_run
from harness.platforms.flapping import Flapping
from harness.platforms.kind.machine import Machine
from harness.platforms.kubernetes.hub_machine import Held, held_now, in_touch, switch_off_and_on
from harness.platforms.kubernetes.install import Release, has_a_ready_pod, install_emco, rolled_out
from harness.platforms.kubernetes.lab import ClusterParts, KubernetesLab, check_exit
from harness.platforms.kubernetes.pods import Pod
from harness.platforms.kubernetes.policies import Policies
from harness.platforms.kubernetes.undo import scale
from harness.platforms.kubernetes.volumes import RETAINED, RetainedVolumes, remove_stores
from harness.platforms.kubernetes.wiring import EMCO_NAMESPACE
from harness.stores.mongo import StoreError
from harness.wire.conditions import Cut, Healthy
from harness.wire.links import Link, RelayError

STORES = ("mongo", "etcd")
_GONE_LIMIT = 180.0
_START_LIMIT = 120.0
_STALE_LIMIT = 15.0  # until a store counts as not coming up whose volume still belongs to a claim that is gone
_PAUSE = 0.2
_NAMESPACE = f"/api/v1/namespaces/{EMCO_NAMESPACE}"
_CONTAINER_LIMIT = 30.0


class KubernetesDisruptions:
    """What can be done to the EMCO of one lab. All methods are called in the lab's event loop."""

    def __init__(self, lab: KubernetesLab, parts: ClusterParts, api: ApiClient, release: Release, token: str) -> None:
        self._lab = lab
        self._parts = parts
        self._api = api
        self._release = release
        self._token = token
        self._undo = parts.undo
        self._paused: dict[str, tuple[str, int]] = {}  # name: container, number of the undo
        self._down: dict[str, int | None] = {}  # stores, with the number of the undo where there is one
        self._flapping = Flapping(lab.relay)
        self._volumes = RetainedVolumes(api, parts.node.remove)
        self._hub_away: tuple[Held, frozenset[str]] | None = None  # and the services that ran
        self.policies = Policies(api, parts.wiring, parts.undo, parts.streams.log, release.python_image)

    @property
    def services(self) -> tuple[str, ...]:
        return self._lab.services

    @property
    def stores(self) -> tuple[str, ...]:
        return STORES

    @property
    def edges(self) -> tuple[str, ...]:
        return self._parts.wiring.edges

    @property
    def data_key(self) -> str:
        return ""

    def set_data_key(self, key: str) -> None:
        if key:
            raise HarnessTrouble("services in pods are not given another EMCO_DATA_KEY by the harness")

    async def crash(self, name: str, *, volume: Volume = "kept") -> Death:
        if name in STORES:
            return await self._crash_store(name, volume)
        self._known(name)
        if volume == "lost":
            raise HarnessTrouble(f"{name} has no volume to lose; mongo and etcd have")
        death = await self._lab.crash(name)
        self._lab.relay.drop(name)
        return death

    async def _crash_store(self, name: str, volume: Volume) -> Death:
        """SIGKILL; its StatefulSet is told to have no pod, so that it stays down."""
        self._own(name, "killed")
        if name in self._down:
            raise HarnessTrouble(f"{name} was to be killed, but it does not run")
        pod = await self._pod(name)
        if self._paused.get(name, ("", 0))[0] != pod.container:
            # Frozen it cannot end by itself when the cluster, which is to have no pod of it, asks it to.
            await self._freeze(name, pod.container)
        self._down[name] = self._undo.stopped(name)
        await scale(self._api, name, 0)
        ended = await self._parts.node.kill(pod.container)
        self._undo.done(self._paused.pop(name)[1])  # it is gone, with what was frozen
        check_exit(name, pod, ended, await self._parts.pods.delete(pod))
        if volume == "lost":
            await self._remove_claim(name)
        return ended.death(name)

    async def start(self, name: str) -> None:
        if name in STORES:
            self._own(name, "started")
            await self._start_stores((name,))
        else:
            self._known(name)
            if name in self._lab.running:
                raise HarnessTrouble(f"{name} was to be started, but it runs already")
            await self._lab.let_in(name)

    async def silent(self, name: str, *, limit: float) -> str:
        self._known(name)
        if name not in self._lab.running:
            return f"{name} does not run"
        path = SERVICES[name].alive
        if not path:
            grpc = SERVICES[name].grpc_port
            pinged, ports = ((), self._parts.wiring.ports(name)) if grpc is None else ((grpc,), ())
            return await self._lab.relay.answers(name, ports, pinged=pinged, limit=limit)
        host, port = self._lab.http(name)
        try:
            async with (
                asyncio.timeout(limit),
                aiohttp.request("GET", f"http://{host}:{port}{path}") as answer,
            ):
                return "" if answer.status < 400 else f"{name} answers GET {path} with {answer.status}"
        except TimeoutError:
            return f"{name} does not answer within {limit:g} s"
        except (aiohttp.ClientError, OSError) as error:
            return f"{name} does not answer GET {path}: {error}"

    async def down(self) -> tuple[str, ...]:
        services = (name for name in self._lab.services if name not in self._lab.running)
        return (*sorted(self._down), *services)

    async def pause(self, name: str) -> None:
        self._own(name, "paused")
        if name in self._paused:
            raise HarnessTrouble(f"{name} is paused already")
        await self._freeze(name, (await self._pod(name)).container)

    async def _freeze(self, name: str, container: str) -> None:
        """Known as paused before it is, so that whatever becomes of this, it is resumed at the end."""
        self._paused[name] = container, self._undo.paused(container)
        await self._parts.node.pause(container)

    async def resume(self, name: str) -> None:
        container, number = self._paused.pop(name, ("", 0))
        if not container:
            raise HarnessTrouble(f"{name} is not paused")
        await self._parts.node.resume(container)
        self._undo.done(number)

    async def begin_overlap(self, service: str) -> str:
        if service in STORES:
            raise HarnessTrouble(f"{service} is a store: a second instance of it would be another store")
        self._known(service)
        return await self._lab.begin_overlap(service)

    async def end_overlap(self, service: str) -> Death:
        self._known(service)
        return await self._lab.end_overlap(service)

    async def shrink(self, store: str, megabytes: int) -> None:  # noqa: ARG002  as the Protocol has it
        raise HarnessTrouble(f"{store} has a volume of the cluster's StorageClass, which is not made smaller")

    async def fill(self, store: str) -> int:
        raise HarnessTrouble(f"{store} has no small volume")

    async def free(self, store: str) -> int:
        raise HarnessTrouble(f"{store} has no small volume")

    async def make_whole(self, name: str = "*", *, services: bool = True) -> tuple[str, ...]:
        paused = sorted(one for one in self._paused if fnmatchcase(one, name))
        for one in paused:
            await self.resume(one)
        told = [f"{one} runs again" for one in paused]
        for service in self._lab.overlapping:
            if fnmatchcase(service, name):
                await self._lab.end_overlap(service)
                told.append(f"the older {service} is ended")
        if name == "*" and self._hub_away is not None:
            await self._hub_is_back()
            told.append("the hub is reached again")
        for edge, machine in self._parts.machines.items():
            if name in ("*", edge) and machine.is_off:
                await self.reconnect(edge)
                told.append(f"{edge} is on the network again")
        for edge in self.policies.denied:
            if name in ("*", edge):
                await self.policies.allow(edge)
                told.append(f"{edge} is denied no more")
        if links := await self._heal([one for one in self._lab.relay.links() if name in ("*", one.source, one.target)]):
            told.append(f"{links} links are healthy again")
        told += await let_all_run(self._lab.edges.values(), name)
        if name == "*" and self._release.store_classes:
            await self._lab.kill_services()
            self._release = replace(self._release, store_classes={})
            await self._volumes.remove()
            self._down = dict.fromkeys(STORES) | self._down
            told.append("the stores have volumes of the cluster's own again")
        down = [one for one in await self.down() if fnmatchcase(one, name) and (services or one in STORES)]
        if down:
            await self._start_again(down)
            told.append(f"started: {', '.join(down)}")
        return tuple(told)

    async def _start_again(self, down: Collection[str]) -> None:
        await self._start_stores(tuple(one for one in down if one in STORES))
        if ended := frozenset(down) - frozenset(STORES):
            await self._lab.start_services(empty=not (await self._lab.mongo.snapshot()), only=ended)

    async def partition(self, source: str, target: str, how: Partition) -> int:
        links = self._links(source, target)
        if broken := [link for link in links if self._is_broken(link)]:
            raise HarnessTrouble(f"the link {broken[0].describe()} is broken already; heal it first")
        if how.kind in ("refused", "flapping"):
            await self._count(links)
        for link in links:
            self._lab.relay.set_condition(link, how.condition())
            if how.kind == "flapping":
                self._flapping.begin(link, how.seconds)
        if how.kind == "black-hole":
            await self._count(links)  # after the relay itself has connected, which is what makes it a black hole
        await self._lab.relay.synced()
        return len(links)

    async def cut(self, source: str, target: str, sent: bytes, *, times: int = 1, then: Partition | None = None) -> int:
        links = self._links(source, target)
        if broken := [link for link in links if self._is_broken(link)]:
            raise HarnessTrouble(f"the link {broken[0].describe()} is broken already; heal it first")
        if then is not None and then.kind in ("refused", "flapping"):
            raise HarnessTrouble(f"what a cut link is afterwards cannot be {then.kind}: nobody could count its tries")
        for link in links:
            self._lab.relay.set_condition(link, Cut(sent, times, then.condition() if then else Healthy()))
        await self._lab.relay.synced()
        return len(links)

    async def heal(self, source: str, target: str) -> int:
        return await self._heal(self._links(source, target))

    async def _heal(self, links: Sequence[Link]) -> int:
        broken = [link for link in links if self._is_broken(link)]
        for link in broken:
            await self._flapping.end(link)
            self._lab.relay.heal(link)
        await self._lab.relay.count_unaccepted(broken, counted=False)
        return len(broken)

    async def wipe(self) -> tuple[str, ...]:
        """Delete EMCO's namespace and wait until it is gone, with its volumes."""
        if whose := self._release.stores_of_others:
            raise HarnessTrouble(f"the namespace {EMCO_NAMESPACE} is not deleted: in it is {whose}")
        running = sorted(self._lab.running)
        await self._lab.kill_services()
        claimed = await self._claimed()
        await self._api.ask("DELETE", _NAMESPACE)
        await gone(self._api, _NAMESPACE, limit=_GONE_LIMIT)
        deadline = asyncio.get_running_loop().time() + _GONE_LIMIT
        while left := set(await self._claimed()) - set(await self._volumes.stale()):
            if asyncio.get_running_loop().time() > deadline:
                raise HarnessTrouble(f"the volume {min(left)} is not gone within {_GONE_LIMIT:g} s")
            await asyncio.sleep(_PAUSE)  # only the API server knows; bounded by the limit
        self._down = dict.fromkeys(STORES) | self._down
        kept = await self._volumes.stale()
        lost = sorted(claim for name, claim in claimed.items() if name not in kept)
        return (
            f"the namespace {EMCO_NAMESPACE}",
            f"{len(running)} services ({', '.join(running)})",
            *((f"{len(lost)} volumes ({', '.join(lost)})",) if lost else ()),
            *((f"{len(kept)} volumes are kept, for claims that are gone ({', '.join(kept)})",) if kept else ()),
        )

    @property
    def kubeconfig(self) -> tuple[Path, str]:
        return self._parts.kubeconfig

    @property
    def namespace(self) -> str:
        return EMCO_NAMESPACE

    async def disconnect(self, edge: str) -> str:
        return await self._machine(edge).disconnect()

    async def reconnect(self, edge: str) -> None:
        await self._machine(edge).connect()
        self._recovered(edge)

    async def restart_node(self, edge: str) -> None:
        await self._machine(edge).restart()
        self._recovered(edge)

    async def restart_hub(self) -> str:
        machine = self._parts.hub
        if machine is None:
            raise HarnessTrouble(
                "the hub's node is not switched off: that takes --platform kind, whose clusters are the harness's, and "
                "--node-access auto"
            )
        broken = [link.describe() for link in self._lab.relay.links() if self._is_broken(link)]
        if amiss := [*self._paused, *self._down, *broken]:
            raise HarnessTrouble(f"{amiss[0]} is paused, down or broken: make it whole before the node is switched off")
        held = await held_now(self._parts)
        self._hub_away = held, self._lab.running
        self._lab.all_ended()
        told = await switch_off_and_on(machine, self._parts, held)
        await self._hub_is_back()
        return told

    async def _hub_is_back(self) -> None:
        """Relay, edges and stores are reached again, and the services that ran are let in."""
        assert self._hub_away is not None, "only what went away comes back"
        held, ran = self._hub_away
        await in_touch(self._parts, held)
        for store in STORES:
            await self._claim(store)
        self._lab.all_seen()
        self._hub_away = None
        await self._lab.start_services(only=ran)

    def _recovered(self, edge: str) -> None:
        if self._parts.edges is not None:
            self._parts.edges.recovered(edge)

    def _machine(self, edge: str) -> Machine:
        if edge not in self._parts.machines:
            known = ", ".join(self._parts.machines) or "none; --edges kind makes clusters"
            raise HarnessTrouble(f"{edge} is no edge with a machine of its own; there are {known}")
        return self._parts.machines[edge]

    def pods(self, name: str) -> tuple[str, ...]:
        if name not in STORES:
            self._known(name)
        return tuple(f"{pod.name} {pod.uid}" for pod in self._parts.pods.of(name))

    def selector(self, name: str) -> tuple[str, str]:
        if name not in STORES:
            self._known(name)
        self._own(name, "given to whoever deletes pods")
        return EMCO_NAMESPACE, f"app={name}"

    async def retain_volumes(self) -> tuple[str, ...]:
        if whose := self._release.stores_of_others:
            raise HarnessTrouble(f"each store is {whose}: it keeps the volume that it has")
        if self._parts.node.missing:
            raise HarnessTrouble(f"volumes that are kept could not be removed at the end: {self._parts.node.missing}")
        await self._lab.kill_services()
        await remove_stores(self._api)
        await self._volumes.make()
        self._release = replace(self._release, store_classes=RETAINED)
        self._down = dict.fromkeys(STORES) | self._down
        await self.bring_up()
        return tuple(RETAINED.values())

    async def stale_volumes(self) -> tuple[str, ...]:
        return await self._volumes.stale()

    async def reclaim_volumes(self) -> tuple[str, ...]:
        return await self._volumes.reclaim()

    async def bring_up(self, *, services: bool = True) -> None:
        await self._start_stores(tuple(sorted(self._down)))
        if services:
            await self._lab.start_services(empty=not (await self._lab.mongo.snapshot()))

    async def probed(self) -> None:
        """Wait until every service that runs is ready by its readiness probe. Raises HarnessTrouble."""
        names = [("deployments", self._release.deployment(name)) for name in sorted(self._lab.running)]
        await rolled_out(self._api, EMCO_NAMESPACE, names, limit=_START_LIMIT, enough=has_a_ready_pod)

    async def close(self) -> None:
        await self._flapping.close()
        off = [machine for machine in self._parts.machines.values() if machine.is_off]
        for done in await asyncio.gather(*(one.rejoin() for one in off), return_exceptions=True):
            if isinstance(done, BaseException):
                raise done

    async def leave(self) -> None:
        """Nothing: pods go on."""

    # -- inside -----------------------------------------------------------------------------------------------------

    def _known(self, name: str) -> None:
        if name not in self._lab.services:
            known = ", ".join((*self._lab.services, *STORES))
            raise HarnessTrouble(f"{name!r} is neither a service nor a store here; there are {known}")

    async def _pod(self, name: str) -> Pod:
        pod = await self._parts.pods.running(name, address=self._lab.at(name), limit=_CONTAINER_LIMIT)
        if pod is None:
            raise HarnessTrouble(f"{name} does not run: no pod of it is there with a running container")
        return pod

    def _own(self, name: str, what: str) -> None:
        """Refuse what would be done to a store of somebody else's."""
        if name in STORES and (whose := self._release.stores_of_others):
            raise HarnessTrouble(
                f"{name} is {whose}: it is not {what}. Break the links to it instead (partition), or take --platform "
                "kind without --store-charts, where the stores are the harness's"
            )

    async def _start_stores(self, names: tuple[str, ...]) -> None:
        if not names:
            return
        await install_emco(self._api, self._release, self._token)  # what a wipe took; what is there stays as it is
        for name in names:
            await scale(self._api, name, 1)
        stale = await self._volumes.stale()
        for name in names:
            try:
                limit = _STALE_LIMIT if stale else _START_LIMIT
                await rolled_out(self._api, EMCO_NAMESPACE, [("statefulsets", name)], limit=limit)
            except HarnessTrouble as error:
                raise ServiceDown(name, str(error), "") from error
        for name in names:
            if (number := self._down.pop(name, None)) is not None:
                self._undo.done(number)
            await self._claim(name)

    async def _claim(self, store: str) -> None:
        """Mark a store that came up empty as the harness's again."""
        deadline = asyncio.get_running_loop().time() + _START_LIMIT
        while True:
            try:
                await (self._lab.mongo.claim() if store == "mongo" else self._lab.etcd.claim())
            except StoreError as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise HarnessTrouble(f"{store} does not answer after its start: {error}") from error
                await asyncio.sleep(_PAUSE)  # its Service leads to it a moment later; bounded by the limit
            else:
                return

    async def _claimed(self) -> dict[str, str]:
        """The volumes that are, or were, claimed from EMCO's namespace, with the names of their claims."""
        listed = await self._api.ask("GET", "/api/v1/persistentvolumes")
        return {
            one["metadata"]["name"]: one["spec"]["claimRef"]["name"]
            for one in listed.get("items") or ()
            if (one["spec"].get("claimRef") or {}).get("namespace") == EMCO_NAMESPACE
        }

    async def _remove_claim(self, store: str) -> None:
        path = f"{_NAMESPACE}/persistentvolumeclaims/data-{store}-0"
        await self._api.ask("DELETE", path)
        await gone(self._api, path, limit=_GONE_LIMIT)

    def _links(self, source: str, target: str) -> tuple[Link, ...]:
        links = self._lab.relay.links()
        found = tuple(one for one in links if fnmatchcase(one.source, source) and fnmatchcase(one.target, target))
        if not found:
            known = ", ".join(sorted({link.describe() for link in links}))
            raise HarnessTrouble(f"no link goes from {source!r} to {target!r}; there are {known}")
        return found

    def _is_broken(self, link: Link) -> bool:
        return link in self._flapping or not isinstance(self._lab.relay.condition(link), Healthy)

    async def _count(self, links: Sequence[Link]) -> None:
        """Let tries count that nobody accepts."""
        try:
            await self._lab.relay.count_unaccepted(links, counted=True)
        except RelayError as error:
            raise HarnessTrouble(str(error)) from error
