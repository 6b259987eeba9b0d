"""Brings an environment up on kind: clusters, images, EMCO in pods, the relay; and takes it down again."""

import asyncio
import contextlib
import itertools
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import harness
from harness.crashpoints.lab import Limits
from harness.emco.endpoints import Endpoints
from harness.evidence.redaction import redactor
from harness.faults.journal import UNDOERS, Journal
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.edges.access import Access, read_kubeconfig
from harness.platforms.edges.authority import Authority, open_authority
from harness.platforms.edges.client import ApiClient
from harness.platforms.images.named import ServiceImage, image_called, pulled_image, service_images
from harness.platforms.kind.clusters import (
    KIND_UNDOERS,
    Cluster,
    ClusterSet,
    Sets,
    available_mib,
    check_docker,
    check_kind,
    export_logs,
    to_the_end,
    versions,
)
from harness.platforms.kind.edges import machines, open_kind_edges, relay_files, upstreams
from harness.platforms.kind.images import load, load_services, reference_image
from harness.platforms.kind.machine import MACHINE_UNDOERS, Machine
from harness.platforms.kind.monitor import IMAGE as MONITOR_IMAGE
from harness.platforms.kind.monitor import Monitor
from harness.platforms.kind.node import Exit, KindNode, remove_on_node
from harness.platforms.kubernetes.charts import ChartServices
from harness.platforms.kubernetes.disruptions import KubernetesDisruptions
from harness.platforms.kubernetes.edges import EdgeGroup, EdgesPod
from harness.platforms.kubernetes.edges_pod import ADMIN_PORT
from harness.platforms.kubernetes.evidence import ClusterEvidence, kept_on_failure
from harness.platforms.kubernetes.helm import Charts
from harness.platforms.kubernetes.install import Release, install, install_emco, rolled_out, why_not_ready
from harness.platforms.kubernetes.lab import ClusterParts, KubernetesLab
from harness.platforms.kubernetes.nodes import NoNode
from harness.platforms.kubernetes.patches import read_patches
from harness.platforms.kubernetes.pods import Pods, replace_older
from harness.platforms.kubernetes.splice import INSTANCES, WIRING_UNDOERS, Splice, Where
from harness.platforms.kubernetes.store_charts import ChartStores, plan_stores
from harness.platforms.kubernetes.stores import KeptStores, read_passwords
from harness.platforms.kubernetes.streams import Streams
from harness.platforms.kubernetes.undo import DISRUPTION_UNDOERS, DisruptionUndo
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
from harness.wire.served_config import LinkSpec

ROOT = Path(harness.__file__).parent.parent
CONFIG = ROOT / "fixtures" / "kind"
_ROLLOUT_LIMIT = 120.0
_STORE_LIMIT = 30.0
KIND_LIMITS = Limits(
    quiet=0.05, quiet_async=0.2, at_rest=5.0, resumes=3.0, moment=0.4, hit=60.0, ended=15.0, reaction=1.0, answer=60.0
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
        contextlib.closing(
            Journal(undo, undoers={**UNDOERS, **KIND_UNDOERS, **MACHINE_UNDOERS, **DISRUPTION_UNDOERS})
        ) as journal,
    ):
        await check_docker(kind)
        if kind.reuse:
            yield await sets.reuse(kind), journal
            return
        made, undos = await sets.create(kind, journal, config_folder=CONFIG)
        try:
            yield made, journal
        except Exception as error:
            await sets.take_back(made, journal, undos, error)
            raise
        except BaseException:  # whoever ends a run early, by cancelling it, still may want what is there
            await _over(sets, made, (journal, undos), keep=kind.keep)
            raise
        await _over(sets, made, (journal, undos), keep=kind.keep)


async def _over(sets: Sets, made: ClusterSet, undo: tuple[Journal, tuple[int, ...]], *, keep: bool) -> None:
    if keep:
        sets.keep(made, *undo)
    else:
        await to_the_end(sets.delete(made, *undo))


@dataclass(frozen=True, slots=True)
class Hub:
    """The cluster that EMCO runs in, with EMCO installed.

    token: of the relay;  mongo_uri, etcd_password: of stores that ask for a password, for their administrator `root`
    journal: for the undo of what disruptions do
    kept: of an installed EMCO, what is owed to its stores
    clusters, machines: where it is one of the harness's own, and of those edges that are clusters
    machine: its own node, where it may be switched off
    """

    access: Access
    api: ApiClient
    release: Release
    token: str
    journal: Journal
    mongo_uri: Callable[[str, int], str] = lambda _, __: ""
    etcd_password: str = field(default="", repr=False)
    evidence: ClusterEvidence | None = None
    kept: KeptStores | None = None
    clusters: ClusterSet | None = None
    machines: Mapping[str, Machine] = field(default_factory=dict)
    machine: Machine | None = None


async def install_on(
    clusters: ClusterSet, settings: Settings, wiring: Wiring, image: str, place: tuple[Path, Journal]
) -> Hub:
    """Images into the hub, EMCO and the relay into its namespaces. Raises HarnessTrouble with what the cluster says.

    image: as `reference_image` names it;  place: a folder, and a journal for how EMCO's services were wired before
    """
    hub, (folder, journal) = clusters.hub, place
    await load(hub.name, image, settings.kind.python_image)
    real = real_images(settings, wiring.services)
    await load_services(hub.name, tuple(real.values()))
    access = read_kubeconfig(hub.kubeconfig, hub.context)
    api = ApiClient(hub.name, access)
    evidence = cluster_evidence(api, hub, settings)
    try:
        images = {service: one.name for service, one in real.items()}
        release = Release(
            wiring,
            image,
            settings.kind.python_image,
            settings.reference,
            settings.max_retries,
            settings.cleanup_delay,
            images,
            edge_files=relay_files(clusters, wiring, _authority(settings)) if wiring.clusters else {},
            patches=read_patches(settings.patches),
        )
        if settings.charts:
            where = Where(hub.kubeconfig, hub.context)
            splice = Splice(wiring, where, journal, replicas=1, max_retries=settings.max_retries)
            charts, stores = charts_of(settings), None
            if settings.store_charts:
                plan = await plan_stores(charts, folder / "plan")
                await load_services(hub.name, tuple(map(pulled_image, plan.images)))
                stores = ChartStores(charts, plan, where, folder / "stores")
            services = ChartServices(charts, images, where, splice, folder, auth=settings.store_charts)
            release = replace(release, services=services, stores=stores)
        async with kept_on_failure(evidence, "install"):
            await RetainedVolumes(api, partial(remove_on_node, hub.node)).remove()  # of a run that was killed
            token = await install(api, release)
            sets = [("statefulsets", name) for name in release.store_workloads]
            await rolled_out(api, EMCO_NAMESPACE, sets, limit=_ROLLOUT_LIMIT)
            passwords = await read_passwords(api)
            await relay_is_up(api, wiring)
    except BaseException:
        await api.close()
        raise
    if evidence is not None:
        evidence.knows(token, passwords.mongo, passwords.etcd)
    return Hub(access, api, release, token, journal, passwords.mongo_uri, passwords.etcd, evidence)


def monitor_of(settings: Settings, folder: Path) -> Monitor | None:
    """EMCO's own monitor, where it is to report on edges. Raises UsageError for an image that cannot be had."""
    if settings.monitor_chart is None:
        return None
    image = image_called(settings.emco_images, settings.emco_version, MONITOR_IMAGE)
    return Monitor(settings.monitor_chart, image, folder / "monitor")


def charts_of(settings: Settings) -> Charts:
    """The charts that the settings name."""
    assert settings.charts is not None, "asked for only where charts install"
    return Charts(settings.charts, settings.chart_values, settings.patches)


def cluster_evidence(api: ApiClient, cluster: Cluster | None, settings: Settings) -> ClusterEvidence | None:
    """What is kept of a cluster when something goes wrong in it; None where no place for it is named.

    cluster: where it is one that kind made here
    """
    if settings.evidence_folder is None:
        return None
    folders = ("state_folder", "cache_folder", "work_folder")
    places = {str(getattr(settings, name).absolute()): f"[{name}]/" for name in folders}
    places |= {str(Path.home()): "~/", str(ROOT): "", str(Path.cwd()): ""}
    return ClusterEvidence(
        api,
        (EMCO_NAMESPACE, HARNESS_NAMESPACE),
        settings.evidence_folder,
        redactor(salt=secrets.token_bytes(16), environment=os.environ, places=places),
        export=partial(export_logs, cluster) if cluster is not None else _nothing_exported,
        versions=versions if cluster is not None else _no_versions,
    )


async def _nothing_exported(_: Path) -> None:
    raise HarnessTrouble("no kind cluster of this machine: what its nodes alone have is out of reach")


async def _no_versions() -> Mapping[str, str]:
    return {}


async def _image(settings: Settings, folder: Path) -> str:
    turns = Sets(settings.state_folder).turns
    return await reference_image(ROOT, base=settings.kind.python_image, folder=folder, turns=turns)


async def prepare_image(cluster: str, nodes: Sequence[str], settings: Settings, folder: Path) -> str:
    """Bring what the harness runs in pods into the nodes of a kind cluster: the relay's image, and that of the edges,
    whose name is returned. Raises UsageError and CommandFails."""
    image = await _image(settings, folder)
    await load(cluster, image, settings.kind.python_image, nodes=nodes)
    return image


async def relay_is_up(api: ApiClient, wiring: Wiring, *, hint: str = "") -> None:
    """Wait until relay and edges are ready. Raises HarnessTrouble with what the cluster says, and the hint."""
    own = [("deployments", "relay"), *([("deployments", "edges")] if wiring.emulated else [])]
    try:
        await rolled_out(api, HARNESS_NAMESPACE, own, limit=_ROLLOUT_LIMIT)
    except HarnessTrouble as trouble:
        raise HarnessTrouble(f"{trouble}{f'; {hint}' if hint else ''}") from trouble


def real_images(settings: Settings, services: Sequence[str]) -> Mapping[str, ServiceImage]:
    """The images of EMCO's services, none for the reference EMCO. Raises UsageError for one that cannot be had."""
    if not settings.emco_version:
        return {}
    return service_images(settings.emco_images, settings.emco_version, services)


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
        image = asyncio.ensure_future(_image(settings, folder))
        stack.push_async_callback(_ended, image)
        clusters, journal = await stack.enter_async_context(open_clusters(settings, undo))
        real = upstreams(clusters, names) if settings.edges == KIND_EDGES else {}
        wired = undo.with_name(f"{undo.name.removesuffix('.undo')}.wiring.undo")
        wiring_journal = stack.enter_context(contextlib.closing(Journal(wired, undoers=WIRING_UNDOERS)))
        hub = await install_on(clusters, settings, Wiring(services, names, real), await image, (folder, wiring_journal))
        stack.push_async_callback(hub.api.close)
        if hub.release.services is not None:
            stack.push_async_callback(hub.release.services.take_back, hub.api)
        node = clusters.hub.node if settings.node_access == "auto" else ""
        hub = replace(
            hub,
            journal=journal,
            clusters=clusters,
            machines=machines(clusters, tuple(real), journal),
            machine=Machine(node, hub.access, journal) if node else None,
        )
        async with kept_on_failure(hub.evidence, "opening"):
            lab, disruptions = await open_lab_on(settings, limits, node, hub, folder, stack)
        yield lab, disruptions


async def _ended(task: "asyncio.Future[str]") -> None:
    """Leave nothing behind that goes on by itself."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def open_lab_on(
    settings: Settings,
    limits: Limits,
    node_name: str,
    hub: Hub,
    folder: Path,
    stack: contextlib.AsyncExitStack,
) -> tuple[KubernetesLab, KubernetesDisruptions]:
    """The lab in a cluster where the relay is up. node_name: the container that is its node; empty: out of reach."""
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
    user = "root" if hub.etcd_password else ""
    etcd = Etcd(*await door(ETCD_DOOR), user=user, password=hub.etcd_password)
    stack.push_async_callback(etcd.close)
    host, port = await door(MONGO_DOOR)
    mongo = await stack.enter_async_context(Mongo(host, port, uri=hub.mongo_uri(host, port), limit=_STORE_LIMIT))
    if hub.kept is not None:
        await _check_claim(mongo, etcd)
        await hub.kept.before_marks(mongo, etcd)
    await _claim(mongo, etcd)
    if hub.kept is not None:  # not before it is known that its stores may be used
        await install_emco(hub.api, hub.release, hub.token)
    edges: EdgeGroup | None = None
    if wiring.clusters and hub.clusters is not None:
        edges = kind_edges = await open_kind_edges(
            hub.clusters, wiring, _authority(settings), stack, monitor_of(settings, folder), hub.evidence
        )
        kind_edges.follow(relay)
    elif wiring.edges:
        edges = EdgesPod(wiring.edges, await door(ADMIN_PORT, "edges"))
        stack.push_async_callback(edges.close)
    told: list[KubernetesLab] = []

    def ended(one: Exit) -> None:
        for lab in told:
            lab.ended(one)

    def missed(why: str) -> None:
        for lab in told:
            lab.missed(why)

    node = KindNode(node_name, ended=ended, missed=missed) if node_name else NoNode(pods, relay, ended=ended)
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
        machines=hub.machines,
        hub=hub.machine,
        kubeconfig=_kubeconfig(settings, hub),
        why_not_ready=partial(why_not_ready, hub.api, EMCO_NAMESPACE),
        undo=DisruptionUndo(hub.journal, node_name, _kubeconfig(settings, hub)),
    )
    await replace_older(own.only("relay"), wiring.services, pods, relay)
    lab = KubernetesLab(settings, limits, parts)
    told.append(lab)
    stack.push_async_callback(lab.close)
    return lab, KubernetesDisruptions(lab, parts, hub.api, hub.release, hub.token)


def _kubeconfig(settings: Settings, hub: Hub) -> tuple[Path, str]:
    if hub.clusters is not None:
        return hub.clusters.hub.kubeconfig, hub.clusters.hub.context
    assert settings.kubeconfig is not None, "a cluster that was there before is named by one"
    return settings.kubeconfig, settings.context


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


async def _check_claim(mongo: Mongo, etcd: Etcd) -> None:
    """Whether stores of somebody else may be used. Raises UsageError; they are only read."""
    try:
        await mongo.check()
        await etcd.check()
        await mongo.check_claim()
        await etcd.check_claim()
    except StoreError as error:
        raise UsageError(f"the stores of the installed EMCO cannot be used: {error}") from error


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


_STANDBY = ("both wait at the relay for a run", "the other one waits to be next")


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
                waits = f"; {_STANDBY[ready]}" if wanted == INSTANCES and ready < INSTANCES else ""
                found[f"{namespace}/{one['metadata']['name']}"] = f"{ready} of {wanted} pods ready{waits}"
    finally:
        await api.close()
    return found
