"""An EMCO that somebody installed in a cluster: found, led to a relay for as long as a run lasts, and let go of.

What the harness makes there is a namespace of its own, with the relay and emulated edges; in EMCO's it changes how the
services are wired, and what the stores hold, for which both have to be marked. All of it is taken back at the end.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.crashpoints.lab import Limits
from harness.faults.journal import Journal, UndoFails
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.commands import need
from harness.platforms.edges.access import read_hub
from harness.platforms.edges.client import ApiClient
from harness.platforms.edges.running import check_open
from harness.platforms.images.named import ServiceImage
from harness.platforms.kind.clusters import Cluster, Sets
from harness.platforms.kind.environment import Hub, cluster_evidence, open_lab_on, prepare_image, relay_is_up
from harness.platforms.kubernetes.disruptions import KubernetesDisruptions
from harness.platforms.kubernetes.evidence import kept_on_failure
from harness.platforms.kubernetes.found import find_emco
from harness.platforms.kubernetes.idle import IDLE_UNDOERS, Idle, not_needed
from harness.platforms.kubernetes.image import REPOSITORY
from harness.platforms.kubernetes.install import Release, check_ours, install_relay
from harness.platforms.kubernetes.lab import KubernetesLab
from harness.platforms.kubernetes.patches import read_patches
from harness.platforms.kubernetes.reach import PULLED, docker_cluster_of, kind_nodes, pulled_image
from harness.platforms.kubernetes.splice import WIRING_UNDOERS, Splice, Where
from harness.platforms.kubernetes.stores import STORE_UNDOERS, KeptStores, check_stores, read_passwords
from harness.platforms.kubernetes.undo import DISRUPTION_UNDOERS
from harness.platforms.kubernetes.wiring import EMCO_NAMESPACE, HARNESS_NAMESPACE, Wiring
from harness.platforms.process.lab import EdgeName
from harness.platforms.settings import Settings
from harness.platforms.together import apart

Json = dict[str, Any]
UNDO = "emco-relay"
_OWN = f"/api/v1/namespaces/{HARNESS_NAMESPACE}"
_GONE_LIMIT, _PAUSE = 120.0, 0.2


@dataclass(frozen=True, slots=True)
class Owed:
    """What a run owes to an installed EMCO: its wiring, the services that rest meanwhile, what its stores held."""

    splice: Splice
    idle: Idle
    kept: KeptStores


def check_installed(settings: Settings, services: Sequence[str]) -> Mapping[str, ServiceImage]:
    """The images of the services that are there. Raises UsageError for what can be told without changing anything."""
    return apart(lambda: _checked(settings, services))


def resting_services(settings: Settings, services: Sequence[str]) -> tuple[str, ...]:
    """Services of the installed EMCO that do not run while these are tested. Raises UsageError."""

    async def ask() -> tuple[str, ...]:
        where = where_of(settings)
        api = ApiClient(where.context, read_hub(where.kubeconfig, where.context))
        try:
            return tuple(sorted({service for service, _ in (await not_needed(api, services)).values()}))
        except HarnessTrouble as trouble:
            raise UsageError(f"--context {where.context}: {trouble}") from trouble
        finally:
            await api.close()

    return apart(ask)


async def _checked(settings: Settings, services: Sequence[str]) -> Mapping[str, ServiceImage]:
    where = where_of(settings)
    api = ApiClient(where.context, read_hub(where.kubeconfig, where.context))
    try:
        await check_open(api, EMCO_NAMESPACE)
        await check_ours(api, HARNESS_NAMESPACE)
        found = await find_emco(api, EMCO_NAMESPACE, services)
        await check_stores(api)
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


def _image(deployment: Json) -> str:
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


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
        access = read_hub(where.kubeconfig, where.context)
        api = ApiClient(where.context, access)
        stack.push_async_callback(api.close)
        await check_open(api, EMCO_NAMESPACE)
        nodes = await kind_nodes(api, docker_cluster_of)
        if nodes.cluster:
            need("kind", f"the cluster {nodes.cluster}, which kind made: images are loaded into its nodes, and that")
            image = await prepare_image(nodes.cluster, nodes.names, settings, folder)
        else:
            image = pulled_image(settings, wiring)
        known = Cluster(nodes.cluster, where.kubeconfig) if nodes.cluster else None
        evidence = cluster_evidence(api, known, settings)
        owed = Owed(
            Splice(wiring, where, journal, max_retries=settings.max_retries),
            Idle(services, where, journal),
            KeptStores(where, journal, undo.with_name(f"{undo.stem}.stores.backup")),
        )
        release = Release(
            wiring,
            image,
            settings.kind.python_image,
            settings.reference,
            services=owed.splice,
            is_foreign=True,
            patches=read_patches(settings.patches),
        )
        async with kept_on_failure(evidence, "opening"):
            token = await _lend(api, release, owed, where, journal, stack, hint="" if nodes.cluster else PULLED)
            passwords = await read_passwords(api)
            if evidence is not None:
                evidence.knows(token, passwords.mongo, passwords.etcd)
            hub = Hub(access, api, release, token, journal, passwords.mongo_uri, passwords.etcd, evidence, owed.kept)
            lab, disruptions = await open_lab_on(
                settings, limits, nodes.within_reach(settings.node_access), hub, folder, stack
            )
            await owed.idle.stop(api)
            await owed.kept.take(lab.mongo, lab.etcd)
        yield lab, disruptions


async def _lend(
    api: ApiClient,
    release: Release,
    owed: Owed,
    where: Where,
    journal: Journal,
    stack: contextlib.AsyncExitStack,
    *,
    hint: str = "",
) -> str:
    """The relay's token, once it is there, and on the stack all that is owed. Each of it is tried, whatever fails.

    Last in, first out: the stores are put back when nobody uses them any more, and before anybody can again.
    hint: what to know where the relay does not come up
    """
    await check_ours(api, HARNESS_NAMESPACE)  # before its removal is written down as an undo
    number = journal.record(UNDO, file=str(where.kubeconfig.resolve()), context=where.context)
    stack.push_async_callback(_let_go, api, journal, number)
    stack.push_async_callback(owed.kept.unmark)
    stack.push_async_callback(owed.splice.take_back, api)
    stack.push_async_callback(owed.idle.start, api)
    stack.push_async_callback(owed.kept.put_back)
    token = await install_relay(api, release)
    await relay_is_up(api, release.wiring, hint=hint)
    return token


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
        api = ApiClient(context, read_hub(Path(arguments["file"]), context))
        try:
            await _remove_relay(api)
        finally:
            await api.close()
    except (UsageError, HarnessTrouble) as error:
        raise UndoFails(f"the namespace {HARNESS_NAMESPACE} ({context}) could not be removed: {error}") from error
    return f"the namespace {HARNESS_NAMESPACE} ({context}) is removed"


INSTALLED_UNDOERS: Mapping[str, Callable[[Mapping[str, str]], str]] = MappingProxyType(
    {**WIRING_UNDOERS, **IDLE_UNDOERS, **STORE_UNDOERS, **DISRUPTION_UNDOERS, UNDO: _undo}
)
"""For journals that hold what was done to an installed EMCO: what plays its undo."""
