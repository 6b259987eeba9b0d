"""Brings an environment up on kind: clusters, images, EMCO in pods, the relay; and takes it down again."""

import asyncio
import contextlib
import itertools
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import harness
from harness.crashpoints.lab import Limits
from harness.emco.endpoints import Endpoints
from harness.evidence.redaction import redactor
from harness.faults.journal import UNDOERS, Journal
from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.access import Access, read_kubeconfig
from harness.platforms.edges.authority import Authority, open_authority
from harness.platforms.edges.client import ApiClient
from harness.platforms.kind.clusters import (
    KIND_UNDOERS,
    Cluster,
    ClusterSet,
    Sets,
    available_mib,
    check_docker,
    check_kind,
    export_logs,
    versions,
)
from harness.platforms.kind.edges import machines, open_kind_edges, relay_files, upstreams
from harness.platforms.kind.images import load, reference_image
from harness.platforms.kind.machine import MACHINE_UNDOERS
from harness.platforms.kind.node import Exit, KindNode, remove_on_node
from harness.platforms.kubernetes.disruptions import KubernetesDisruptions
from harness.platforms.kubernetes.edges import EdgeGroup, EdgesPod
from harness.platforms.kubernetes.edges_pod import ADMIN_PORT
from harness.platforms.kubernetes.evidence import ClusterEvidence
from harness.platforms.kubernetes.install import Release, install, rolled_out
from harness.platforms.kubernetes.lab import ClusterParts, KubernetesLab
from harness.platforms.kubernetes.pods import Pods
from harness.platforms.kubernetes.streams import Streams
from harness.platforms.kubernetes.volumes import RetainedVolumes
from harness.platforms.kubernetes.wiring import (
    ASKS_PORT,
    CONTROL_PORT,
    EMCO_NAMESPACE,
    ETCD_DOOR,
    HARNESS_NAMESPACE,
    MONGO_DOOR,
    Wiring,
)
from harness.platforms.process.lab import EdgeName
from harness.platforms.settings import KIND_EDGES, Settings
from harness.stores.etcd import Etcd
from harness.stores.mongo import Mongo, StoreError
from harness.stores.snapshot import Snapshot
from harness.wire.links import Link
from harness.wire.remote import RemoteRelay
from harness.wire.served import LinkSpec

ROOT = Path(harness.__file__).parent.parent
CONFIG = ROOT / "fixtures" / "kind"
_ROLLOUT_LIMIT = 120.0
_STORE_LIMIT = 30.0
KIND_LIMITS = Limits(
    quiet=0.05, quiet_async=0.2, at_rest=5.0, moment=0.4, hit=60.0, ended=15.0, reaction=1.0, answer=60.0
)
"""Everything takes longer where packets go through an API server and processes share the machine with a cluster."""


@contextlib.asynccontextmanager
async def open_clusters(settings: Settings, undo: Path) -> AsyncIterator[tuple[ClusterSet, Journal]]:
    """The clusters that the settings ask for: made and removed at the end, or kept. Raises UsageError.

    With the journal in which the undo of what is done to them is written.
    """
    kind, sets = settings.kind, Sets(settings.state_folder)
    check_kind(kind, available_mib=available_mib())
    with (
        sets.locked(kind.name),
        contextlib.closing(Journal(undo, undoers={**UNDOERS, **KIND_UNDOERS, **MACHINE_UNDOERS})) as journal,
    ):
        await check_docker(kind)
        if kind.reuse:
            yield await sets.reuse(kind), journal
            return
        made, undos = await sets.create(kind, journal, config_folder=CONFIG)
        keep = kind.keep
        try:
            yield made, journal
        except Exception:  # whoever ends a run early, by cancelling it, still may want what is there
            keep = False
            raise
        finally:
            if keep:
                sets.keep(made, journal, undos)
            else:
                await sets.delete(made, journal, undos)


@dataclass(frozen=True, slots=True)
class Hub:
    """The cluster that EMCO runs in, with EMCO installed. token: of the relay."""

    access: Access
    api: ApiClient
    release: Release
    token: str
    evidence: ClusterEvidence | None


async def install_on(clusters: ClusterSet, settings: Settings, wiring: Wiring, image: str) -> Hub:
    """Images into the hub, EMCO and the relay into its namespaces. Raises HarnessTrouble with what the cluster says."""
    hub = clusters.hub
    await load(hub.name, image, settings.kind.python_image)
    access = read_kubeconfig(hub.kubeconfig, hub.context)
    api = ApiClient(hub.name, access)
    evidence = _evidence(api, hub, settings)
    try:
        release = Release(
            wiring,
            image,
            settings.kind.python_image,
            settings.reference,
            settings.max_retries,
            relay_files(clusters, wiring, _authority(settings)) if wiring.clusters else {},
        )
        await RetainedVolumes(api, partial(remove_on_node, hub.node)).remove()  # of a run that was killed
        token = await install(api, release)
        await rolled_out(
            api, EMCO_NAMESPACE, [("statefulsets", "mongo"), ("statefulsets", "etcd")], limit=_ROLLOUT_LIMIT
        )
        own = [("deployments", "relay"), *([("deployments", "edges")] if wiring.emulated else [])]
        await rolled_out(api, HARNESS_NAMESPACE, own, limit=_ROLLOUT_LIMIT)
    except HarnessTrouble as trouble:
        place = await evidence.keep("install") if evidence is not None else ""
        await api.close()
        raise HarnessTrouble(f"{trouble}{f'; evidence: {place}' if place else ''}") from trouble
    except BaseException:
        await api.close()
        raise
    return Hub(access, api, release, token, evidence)


def _evidence(api: ApiClient, hub: Cluster, settings: Settings) -> ClusterEvidence | None:
    if settings.evidence_folder is None:
        return None
    return ClusterEvidence(
        api,
        (EMCO_NAMESPACE, HARNESS_NAMESPACE),
        settings.evidence_folder,
        redactor(salt=secrets.token_bytes(16), environment=os.environ),
        export=partial(export_logs, hub),
        versions=versions,
    )


@contextlib.asynccontextmanager
async def open_kind_lab(
    settings: Settings,
    limits: Limits,
    *,
    services: tuple[str, ...],
    edges: tuple[EdgeName, ...],
    folder: Path,
    undo: Path,
) -> AsyncIterator[tuple[KubernetesLab, KubernetesDisruptions]]:
    """As harness.platforms.process.environment.open_lab, on kind, with what disrupts it."""
    names = tuple(map(str, edges))
    if settings.edges == KIND_EDGES:
        settings = replace(settings, kind=replace(settings.kind, edges=len(names)))
    async with contextlib.AsyncExitStack() as stack:
        # Both take their time, and mostly wait: the image is there when the cluster is.
        image = asyncio.ensure_future(reference_image(ROOT, base=settings.kind.python_image, folder=folder))
        stack.push_async_callback(_ended, image)
        clusters, journal = await stack.enter_async_context(open_clusters(settings, undo))
        real = upstreams(clusters, names) if settings.edges == KIND_EDGES else {}
        hub = await install_on(clusters, settings, Wiring(services, names, real), await image)
        stack.push_async_callback(hub.api.close)
        lab, disruptions = await _lab(settings, limits, (clusters, journal), hub, folder, stack)
        yield lab, disruptions


async def _ended(task: "asyncio.Future[str]") -> None:
    """Leave nothing behind that goes on by itself."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _lab(
    settings: Settings,
    limits: Limits,
    opened: tuple[ClusterSet, Journal],
    hub: Hub,
    folder: Path,
    stack: contextlib.AsyncExitStack,
) -> tuple[KubernetesLab, KubernetesDisruptions]:
    clusters, journal = opened
    wiring = hub.release.wiring
    pods, own = Pods(hub.api, EMCO_NAMESPACE), Pods(hub.api, HARNESS_NAMESPACE)
    for one in (pods, own):
        await one.begin()
        stack.push_async_callback(one.close)
    streams = Streams(hub.access)
    stack.push_async_callback(streams.close)

    async def door(port: int, app: str = "relay") -> tuple[str, int]:
        return await streams.forward(lambda: own.only(app).path, port)

    relay = await RemoteRelay.connect(
        await door(CONTROL_PORT),
        await door(ASKS_PORT),
        token=hub.token,
        links=[_link(spec) for spec in wiring.relay_config().links],
    )
    stack.push_async_callback(relay.close)
    etcd = Etcd(*await door(ETCD_DOOR))
    stack.push_async_callback(etcd.close)
    mongo = await stack.enter_async_context(Mongo(*await door(MONGO_DOOR), limit=_STORE_LIMIT))
    await _claim(mongo, etcd)
    edges: EdgeGroup | None = None
    if wiring.clusters:
        edges = kind_edges = await open_kind_edges(clusters, wiring, _authority(settings), stack)
        kind_edges.follow(relay)
    elif wiring.edges:
        edges = EdgesPod(wiring.edges, await door(ADMIN_PORT, "edges"))
        stack.push_async_callback(edges.close)
    told: list[KubernetesLab] = []

    def ended(one: Exit) -> None:
        for lab in told:
            lab.ended(one)

    node = KindNode(clusters.hub.node, ended=ended)
    await node.begin()
    stack.push_async_callback(node.close)
    parts = ClusterParts(
        wiring=wiring,
        pods=pods,
        streams=streams,
        node=node,
        mongo=mongo,
        etcd=etcd,
        edges=edges,
        relay=relay,
        doors={service: await door(wiring.rest_door(service)) for service in wiring.services},
        endpoints=_endpoints(wiring, edges),
        logs=folder,
        evidence=hub.evidence,
        machines=machines(clusters, tuple(wiring.clusters), journal),
        kubeconfig=(clusters.hub.kubeconfig, clusters.hub.context),
    )
    if relay.let_nobody_in and own.only("relay").restarts:  # it has forgotten who was at work already
        for pod in (pod for service in wiring.services for pod in pods.of(service)):
            relay.ban(pod.address)
            await pods.delete(pod)
    lab = KubernetesLab(settings, limits, parts)
    told.append(lab)
    stack.push_async_callback(lab.close)
    return lab, KubernetesDisruptions(lab, parts, hub.api, hub.release, hub.token)


def _link(spec: LinkSpec) -> Link:
    return Link(spec.source, spec.target, spec.protocol, spec.listen, spec.upstream)


def _endpoints(wiring: Wiring, edges: EdgeGroup | None) -> Endpoints:
    kubeconfigs = {}
    if edges is not None:
        for name in wiring.edges:
            provider, _, cluster = name.partition("+")
            kubeconfigs[provider, cluster] = edges.edge(name).kubeconfig(wiring.edge_address(name))
    return Endpoints(wiring.controllers(), kubeconfigs)


def _authority(settings: Settings) -> Authority:
    """With what was learned, and as long: snapshots hold kubeconfigs that name it."""
    return open_authority(settings.cache_folder / "authority")


async def _claim(mongo: Mongo, etcd: Etcd) -> None:
    """Mark both stores as the harness's. Raises HarnessTrouble when they do not answer in time."""
    deadline = asyncio.get_running_loop().time() + _STORE_LIMIT
    while True:
        try:
            await mongo.check()
            await etcd.check()
            await mongo.claim()
            await etcd.claim()
        except StoreError as error:
            if asyncio.get_running_loop().time() > deadline:
                raise HarnessTrouble(f"a store in the cluster does not answer: {error}") from error
            await asyncio.sleep(0.2)  # a Service leads to its pod a moment after that is ready; bounded by the limit
        else:
            return


async def bring_up(
    settings: Settings, *, services: tuple[str, ...], edges: tuple[EdgeName, ...], folder: Path, undo: Path
) -> None:
    """Clusters with an EMCO in them that answers, by its probes and by its API, and holds nothing.

    Raises UsageError and HarnessTrouble; clusters that were made are removed then.
    """
    async with open_kind_lab(settings, KIND_LIMITS, services=services, edges=edges, folder=folder, undo=undo) as (
        lab,
        disruptions,
    ):
        await lab.clean_slate(Snapshot(lab.environment, {}, {}, {}))
        await disruptions.probed()


async def workloads(cluster: Cluster) -> Mapping[str, str]:
    """What runs in the harness's namespaces of a hub, and how many of its pods are ready. Raises HarnessTrouble."""
    api = ApiClient(cluster.name, read_kubeconfig(cluster.kubeconfig, cluster.context))
    found = {}
    try:
        places = itertools.product((HARNESS_NAMESPACE, EMCO_NAMESPACE), ("deployments", "statefulsets"))
        for namespace, plural in places:
            listed = await api.ask("GET", f"/apis/apps/v1/namespaces/{namespace}/{plural}")
            for one in listed.get("items") or ():
                ready, wanted = (one.get("status") or {}).get("readyReplicas", 0), one["spec"]["replicas"]
                found[f"{namespace}/{one['metadata']['name']}"] = f"{ready} of {wanted} pods ready"
    finally:
        await api.close()
    return found
