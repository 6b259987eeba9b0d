"""An EMCO that somebody installed in a cluster: found, led to a relay for as long as a run lasts, and let go of.

What the harness makes there is a namespace of its own, with the relay and emulated edges; in EMCO's it changes how the
services are wired, and what the stores hold, for which both have to be marked. All of it is taken back at the end.
"""

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from harness.crashpoints.lab import Limits
from harness.faults.journal import Journal
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.commands import CommandFails, command
from harness.platforms.edges.access import read_kubeconfig
from harness.platforms.edges.client import ApiClient
from harness.platforms.edges.running import check_open
from harness.platforms.images.named import ServiceImage
from harness.platforms.kind.clusters import Sets
from harness.platforms.kind.environment import ROOT, Hub, open_lab_on, prepare_image, relay_is_up
from harness.platforms.kubernetes.disruptions import KubernetesDisruptions
from harness.platforms.kubernetes.found import find_emco
from harness.platforms.kubernetes.image import REPOSITORY, image_name
from harness.platforms.kubernetes.install import Release, install_relay
from harness.platforms.kubernetes.lab import KubernetesLab
from harness.platforms.kubernetes.splice import WIRING_UNDOERS, Splice, Where
from harness.platforms.kubernetes.wiring import EMCO_NAMESPACE, HARNESS_NAMESPACE, Wiring
from harness.platforms.process.lab import EdgeName
from harness.platforms.settings import Settings

Json = dict[str, Any]
UNDO = "emco-relay"
_STORES = MappingProxyType({"emco-mongo": 27017, "emco-etcd": 2379})
_PROVIDER = "kind://docker/"
_LABEL = "io.x-k8s.kind.cluster"
_ASK_LIMIT = 30.0
_NAMESPACE = f"/api/v1/namespaces/{EMCO_NAMESPACE}"
_OWN = f"/api/v1/namespaces/{HARNESS_NAMESPACE}"
_GONE_LIMIT, _PAUSE = 120.0, 0.2
_PULLED = "the cluster pulls these images itself, as EMCO_CHAOS_PYTHON_IMAGE and EMCO_CHAOS_EDGES_IMAGE name them"


@dataclass(frozen=True, slots=True)
class KindNodes:
    """The nodes of a kind cluster of this machine's docker: images can be loaded into them.

    cluster: as kind names it, empty where the nodes are no such containers;  names: of the containers
    """

    cluster: str = ""
    names: tuple[str, ...] = ()

    def within_reach(self, access: str) -> str:
        """The container that is the only node, where processes are killed; empty where that cannot or shall not be.

        access: as --node-access has it
        """
        return self.names[0] if access == "auto" and len(self.names) == 1 else ""


@dataclass(frozen=True, slots=True)
class Passwords:
    """Of the stores' administrators, as EMCO's store charts keep them; empty where the stores ask for none."""

    mongo: str = field(default="", repr=False)
    etcd: str = field(default="", repr=False)

    def mongo_uri(self, host: str, port: int) -> str:
        """Empty where no password is asked for."""
        user = f"root:{quote(self.mongo, safe='')}"
        return f"mongodb://{user}@{host}:{port}/?directConnection=true&authSource=admin" if self.mongo else ""


def check_installed(settings: Settings, services: Sequence[str]) -> Mapping[str, ServiceImage]:
    """The images of the services that are there. Raises UsageError for what can be told without changing anything."""
    with ThreadPoolExecutor(1) as pool:  # whoever prepares a run may have an event loop that runs already
        return pool.submit(asyncio.run, _checked(settings, services)).result()


async def _checked(settings: Settings, services: Sequence[str]) -> Mapping[str, ServiceImage]:
    where = where_of(settings)
    api = ApiClient(where.context, read_kubeconfig(where.kubeconfig, where.context))
    try:
        await check_open(api, EMCO_NAMESPACE)
        own = await api.ask("GET", _OWN, accept=(404,))
        if own.get("kind") == "Namespace":
            await check_open(api, HARNESS_NAMESPACE)
        found = await find_emco(api, EMCO_NAMESPACE, services)
        for name, port in _STORES.items():
            service = await api.ask("GET", f"{_NAMESPACE}/services/{name}", accept=(404,))
            if port not in [one.get("port") for one in (service.get("spec") or {}).get("ports") or ()]:
                raise HarnessTrouble(f"the namespace {EMCO_NAMESPACE} has no Service {name} with the port {port}")
    except HarnessTrouble as trouble:
        raise UsageError(f"--context {where.context}: {trouble}") from trouble
    finally:
        await api.close()
    images = {service: _image(one.deployment) for service, one in found.items()}
    if any(f"{REPOSITORY}:" in image for image in images.values()):
        raise UsageError(
            f"--context {where.context}: what runs there is the reference EMCO of the harness; use --platform kind"
        )
    return {service: ServiceImage(image, "") for service, image in images.items()}


def where_of(settings: Settings) -> Where:
    """The cluster that the settings name."""
    if settings.kubeconfig is None:  # refused by Settings
        raise UsageError("--platform kubernetes needs --kubeconfig and --context")
    return Where(settings.kubeconfig, settings.context)


async def kind_nodes(api: ApiClient, cluster_of: Callable[[str], Awaitable[str]]) -> KindNodes:
    """The nodes of a cluster that kind made on this machine; none of any other, or where nodes may not be looked at.

    cluster_of: of which kind cluster a container of this machine is a node, empty for none
    """
    nodes = (await api.ask("GET", "/api/v1/nodes", accept=(403,))).get("items") or []
    provided = [str((one.get("spec") or {}).get("providerID", "")) for one in nodes]
    if not provided or not all(one.startswith(_PROVIDER) for one in provided):
        return KindNodes()
    clusters, names = zip(*(one.removeprefix(_PROVIDER).split("/", 1) for one in provided), strict=True)
    here = await asyncio.gather(*map(cluster_of, names))
    return KindNodes(clusters[0], names) if set(here) == {clusters[0]} else KindNodes()


async def docker_cluster_of(container: str) -> str:
    """Of which kind cluster a container of docker here is a node; empty for none, or where there is no docker."""
    label = f'{{{{index .Config.Labels "{_LABEL}"}}}}'
    try:
        return (await command("docker", "container", "inspect", "--format", label, container, limit=_ASK_LIMIT)).strip()
    except CommandFails:  # a cluster of the same name elsewhere, for all that is known
        return ""


def pulled_image(settings: Settings, wiring: Wiring) -> str:
    """The image of emulated edges, where the cluster has to pull it. Raises UsageError where none is named."""
    if wiring.emulated and not settings.edges_image:
        name = image_name(ROOT, base=settings.kind.python_image)
        raise UsageError(
            f"--context {settings.context}: images cannot be loaded into this cluster's nodes, and its emulated edges "
            f"({', '.join(wiring.emulated)}) run from one of the harness: push {name}, which `emco-chaos image` "
            "builds, to where the cluster pulls from, and name it by EMCO_CHAOS_EDGES_IMAGE"
        )
    return settings.edges_image


def _image(deployment: Json) -> str:
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


async def read_passwords(api: ApiClient) -> Passwords:
    """As EMCO's store charts keep them in Secrets."""

    async def of(secret: str, key: str) -> str:
        found = await api.ask("GET", f"{_NAMESPACE}/secrets/{secret}", accept=(404,))
        return base64.b64decode((found.get("data") or {}).get(key, "")).decode()

    return Passwords(await of("emco-mongo", "rootPassword"), await of("emco-etcd", "etcd-root-password"))


@contextlib.asynccontextmanager
async def open_installed_lab(
    settings: Settings,
    limits: Limits,
    *,
    services: tuple[str, ...],
    edges: tuple[EdgeName, ...],
    folder: Path,
    undo: Path,
) -> AsyncIterator[tuple[KubernetesLab, KubernetesDisruptions]]:
    """As harness.platforms.process.environment.open_lab, with the EMCO of a cluster. Raises UsageError.

    Stores are only read until it is known that they may be used; services are led to the relay after that.
    """
    where, wiring = where_of(settings), Wiring(services, tuple(map(str, edges)))
    async with contextlib.AsyncExitStack() as stack:
        name = hashlib.sha256(f"{where.kubeconfig.resolve()} {where.context}".encode()).hexdigest()[:12]
        stack.enter_context(Sets(settings.state_folder).locked(f"context-{name}"))
        journal = stack.enter_context(contextlib.closing(Journal(undo, undoers=INSTALLED_UNDOERS)))
        access = read_kubeconfig(where.kubeconfig, where.context)
        api = ApiClient(where.context, access)
        stack.push_async_callback(api.close)
        await check_open(api, EMCO_NAMESPACE)
        nodes = await kind_nodes(api, docker_cluster_of)
        if nodes.cluster:
            image, hint = await prepare_image(nodes.cluster, nodes.names, settings, folder), ""
        else:
            image, hint = pulled_image(settings, wiring), _PULLED
        splice = Splice(wiring, where, journal)
        release = Release(
            wiring, image, settings.kind.python_image, settings.reference, services=splice, is_foreign=True
        )
        number = journal.record(UNDO, file=str(where.kubeconfig), context=where.context)
        stack.push_async_callback(_let_go, api, journal, number)
        token = await install_relay(api, release)
        stack.push_async_callback(splice.take_back, api)
        await relay_is_up(api, wiring, hint=hint)
        passwords = await read_passwords(api)
        hub = Hub(access, api, release, token, passwords.mongo_uri, passwords.etcd)
        node = nodes.within_reach(settings.node_access)
        lab, disruptions = await open_lab_on(settings, limits, node, hub, folder, stack)
        before = await lab.snapshot()
        try:
            yield lab, disruptions
        finally:
            await lab.kill_services()
            await asyncio.gather(lab.mongo.restore(before.mongo), lab.etcd.restore(before.etcd))


async def _let_go(api: ApiClient, journal: Journal, number: int) -> None:
    await _remove_relay(api)
    journal.done(number)


async def _remove_relay(api: ApiClient) -> None:
    """Remove the harness's namespace with all that is in it. Raises HarnessTrouble."""
    found = await api.ask("GET", _OWN, accept=(404,))
    if found.get("kind") != "Namespace":
        return
    await check_open(api, HARNESS_NAMESPACE)
    await api.ask("DELETE", _OWN, accept=(404, 409))
    deadline = asyncio.get_running_loop().time() + _GONE_LIMIT
    while (await api.ask("GET", _OWN, accept=(404,))).get("kind") == "Namespace":
        if asyncio.get_running_loop().time() > deadline:
            raise HarnessTrouble(f"the namespace {HARNESS_NAMESPACE} is not gone within {_GONE_LIMIT:g} s")
        await asyncio.sleep(_PAUSE)  # only the API server knows; bounded by the limit


def _undo(arguments: Mapping[str, str]) -> str:
    """For `emco-chaos rollback`: a sentence."""
    return asyncio.run(_undone(arguments))


async def _undone(arguments: Mapping[str, str]) -> str:
    context = arguments["context"]
    try:
        api = ApiClient(context, read_kubeconfig(Path(arguments["file"]), context))
        try:
            await _remove_relay(api)
        finally:
            await api.close()
    except (UsageError, HarnessTrouble) as error:
        return f"the namespace {HARNESS_NAMESPACE} ({context}) could not be removed: {error}"
    return f"the namespace {HARNESS_NAMESPACE} ({context}) is removed"


INSTALLED_UNDOERS: Mapping[str, Callable[[Mapping[str, str]], str]] = MappingProxyType({**WIRING_UNDOERS, UNDO: _undo})
"""For journals that hold what was done to an installed EMCO: what plays its undo."""
