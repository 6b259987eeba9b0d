"""Puts the reference EMCO, its stores, its relay and emulated edges into a cluster, from small manifests."""

import asyncio
import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any, Protocol

import yaml

from harness.emco.services import SCHEMA_LOOKS, SERVICES
from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.client import ApiClient, base_path, gone
from harness.platforms.edges.running import ALLOWED
from harness.platforms.images.contents import PLACE
from harness.platforms.kubernetes.bundle import relay_bundle
from harness.platforms.kubernetes.charts import check_services
from harness.platforms.kubernetes.needs import needed_of_manifest
from harness.platforms.kubernetes.patches import NONE, Patches
from harness.platforms.kubernetes.store_charts import check_makers
from harness.platforms.kubernetes.wiring import EMCO_NAMESPACE, HARNESS_NAMESPACE, HEALTH_PORT, RELAY, Wiring

Json = dict[str, Any]
MANIFESTS = Path(__file__).parent / "manifests"
_APPLY, _FIELDS = "application/apply-patch+yaml", "fieldManager=emco-chaos&force=true"
_PLURALS = {
    "Namespace": "namespaces",
    "Secret": "secrets",
    "ConfigMap": "configmaps",
    "Service": "services",
    "Deployment": "deployments",
    "StatefulSet": "statefulsets",
    "PersistentVolume": "persistentvolumes",
}
_PAUSE = 0.2
_UPDATE_LIMIT = 120.0
_GONE_LIMIT = 180.0


@dataclass(frozen=True, slots=True)
class Release:
    """What is installed.

    image: of the reference EMCO, stores and edges;  python_image: of the relay
    images: of real EMCO's services; without any the reference runs, which has `defects`
    services: who puts the services there, where it is not done by the manifests
    stores: who puts the stores there, where it is not done by the manifests
    is_foreign: EMCO's namespace and the stores are somebody else's: nothing is made there, nothing removed
    edge_files: for TLS between the relay and edges that are clusters, as harness.wire.served_config.LinkSpec has it
    store_classes: storage classes of the stores' volumes, by store; the cluster's default where there is none
    patches: the user's, for all of this
    """

    wiring: Wiring
    image: str
    python_image: str
    defects: str
    max_retries: str = ""
    cleanup_delay: str = ""
    images: Mapping[str, str] = field(default_factory=dict)
    services: "Services | None" = None
    stores: "Stores | None" = None
    is_foreign: bool = False
    edge_files: Mapping[str, bytes] = field(default_factory=dict)
    store_classes: Mapping[str, str] = field(default_factory=dict)
    patches: Patches = NONE

    def deployment(self, service: str) -> str:
        """Name of a service's Deployment."""
        return service if self.services is None else self.services.deployment(service)

    @property
    def store_workloads(self) -> tuple[str, ...]:
        """Names of the StatefulSets of both stores."""
        return ("mongo", "etcd") if self.stores is None else self.stores.workloads

    @property
    def stores_of_others(self) -> str:
        """Whose the stores are where they are not the harness's to be stopped or removed; else empty."""
        if self.is_foreign:
            return "a store of the installed EMCO, somebody else's"
        return "" if self.stores is None else "a store that EMCO's own chart has made"


class Stores(Protocol):
    """Who else puts EMCO's stores into its namespace, behind the Services that EMCO knows."""

    @property
    def workloads(self) -> tuple[str, ...]:
        """Names of their StatefulSets."""

    async def put(self, api: ApiClient) -> None:
        """Make them be there. Raises HarnessTrouble."""


class Services(Protocol):
    """Who else puts EMCO's services into its namespace, wired to the relay."""

    def deployment(self, service: str) -> str:
        """Name of a service's Deployment, once it is there."""

    async def put(self, api: ApiClient, relay: str) -> None:
        """Make them be there. relay: another one needs other pods. Raises HarnessTrouble."""

    async def take_back(self, api: ApiClient) -> None:
        """Wire them as they were without the harness. Raises HarnessTrouble."""


def render(name: str, values: Mapping[str, object]) -> list[Json]:
    """The objects of a manifest, its ${...} replaced. Raises HarnessTrouble for one that does not fit the manifest."""
    text = (MANIFESTS / f"{name}.yaml").read_text(encoding="utf-8")
    try:
        filled = Template(text).substitute({key: json.dumps(value) for key, value in values.items()})
        return [document for document in yaml.safe_load_all(filled) if document]
    except (KeyError, ValueError, yaml.YAMLError) as error:
        raise HarnessTrouble(f"the manifest {name}.yaml cannot be filled in: {error!r}") from error


def emco_objects(release: Release, token: str) -> list[Json]:
    """EMCO with its stores, the namespace first.

    Its pods are replaced together with the relay: one that was at work through another relay must not pass for new.
    """
    relay = _relay_content(release, token)
    classes = {f"{store}_class": release.store_classes.get(store) for store in ("mongo", "etcd")}
    made = render("namespace", {"namespace": EMCO_NAMESPACE})
    if release.stores is None:
        made += render("stores", {"image": release.image, **classes})
    if release.services is None:
        made += release.wiring.emco_services()
        for service in release.wiring.services:
            made += _service(release, service, relay)
    return release.patches.applied(_placed(made, EMCO_NAMESPACE), needed_of_manifest)


def harness_objects(release: Release, token: str) -> list[Json]:
    """The relay and emulated edges, the namespace first."""
    wiring = release.wiring
    code, config = _relay_files(release)
    settings = {
        "python_image": release.python_image,
        "probe_port": HEALTH_PORT,
        "token": token,
        "content": _relay_content(release, token),
    }
    content = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "relay"},
        "data": {"relay.json": config},
        "binaryData": {"relay.pyz": code},
    }
    files = {name: base64.b64encode(data).decode() for name, data in release.edge_files.items()}
    keys = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "relay-edges"}, "data": files}
    made = [*render("namespace", {"namespace": HARNESS_NAMESPACE}), content, keys, *render("relay", settings)]
    made += wiring.harness_services()
    if wiring.emulated:
        made += render("edges", {"image": release.image, "names": list(wiring.emulated)})
    return release.patches.applied(_placed(made, HARNESS_NAMESPACE), needed_of_manifest)


def _relay_files(release: Release) -> tuple[str, str]:
    """The relay's code, in base64, and its configuration."""
    return base64.b64encode(relay_bundle()).decode(), release.wiring.relay_config().to_json()


def _relay_content(release: Release, token: str) -> str:
    edges = [f"{name} {hashlib.sha256(data).hexdigest()}" for name, data in sorted(release.edge_files.items())]
    patches = (release.patches.digest,) if release.patches.digest else ()
    return _digest(*_relay_files(release), release.python_image, token, *edges, *patches)


def _placed(made: list[Json], namespace: str) -> list[Json]:
    for one in made[1:]:
        one["metadata"]["namespace"] = namespace
    return made


def _service(release: Release, service: str, relay: str) -> list[Json]:
    wiring = release.wiring
    host = wiring.stores_host(service)
    settings = {
        "database-type": "mongo",
        "database-ip": host,
        "etcd-ip": host,
        "service-port": str(wiring.http_port(service)),
        "log-level": "info",
        **SCHEMA_LOOKS,
    }
    if service == "rsync" and release.max_retries:
        settings["max-retries"] = release.max_retries
    config = json.dumps(settings, indent=1)
    values = {
        "service": service,
        "config": config,
        "content": _digest(config, relay),
        "probe_port": wiring.ports(service)[-1],
    }
    return render("service", {**values, **_program(release, service)})


def _program(release: Release, service: str) -> Mapping[str, object]:
    """Image, command, working directory, in which config.json is, and environment of a service."""
    environment = {"EMCO_METRICS_POLLING_INTERVAL_SECS": "-1"}  # else every service reads all of mongo every 15 s
    if image := release.images.get(service):
        folder, command = f"{PLACE}/{service}", [f"./{SERVICES[service].binary}"]
    else:
        image, folder, command = release.image, "/etc/emco", ["python", "-m", "reference", service]
        environment |= {"REFERENCE_EMCO_LISTEN": "0.0.0.0", "REFERENCE_EMCO_DEFECTS": release.defects}  # noqa: S104  the pod's
        environment |= {"REFERENCE_EMCO_CLEANUP_SECONDS": release.cleanup_delay} if release.cleanup_delay else {}
    listed = [{"name": name, "value": value} for name, value in environment.items()]
    return {
        "image": image,
        "command": command,
        "folder": folder,
        "config_file": f"{folder}/config.json",
        "environment": listed,
    }


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


async def install(api: ApiClient, release: Release) -> str:
    """Make both namespaces hold the release, and return the relay's token.

    Raises HarnessTrouble when a namespace is somebody else's: it exists and lacks the label that allows it.
    """
    for namespace in (EMCO_NAMESPACE, HARNESS_NAMESPACE):
        await check_ours(api, namespace)
    await check_makers(api, charts=release.stores is not None)
    await check_services(api, charts=release.services is not None)
    await remove_others(api, release)
    token = await _token(api) or secrets.token_hex(16)
    await asyncio.gather(install_emco(api, release, token), _apply_all(api, harness_objects(release, token)))
    return token


async def check_ours(api: ApiClient, namespace: str) -> None:
    """Raises HarnessTrouble for a namespace that is somebody else's: it is there and lacks the label that allows it.

    Whatever makes objects in a namespace by force asks this first: its manifest would put the label on it, and what
    carries the label is removed at the end. One that a killed run was about to delete is waited for.
    """
    path = f"/api/v1/namespaces/{namespace}"
    found = await api.ask("GET", path, accept=(404,))
    if _is_ending(found):
        await gone(api, path, limit=_GONE_LIMIT)
        found = await api.ask("GET", path, accept=(404,))
    if found.get("kind") == "Namespace" and (found["metadata"].get("labels") or {}).get(ALLOWED) != "true":
        raise HarnessTrouble(
            f"the namespace {namespace} of {api.name} is there and lacks the label {ALLOWED}=true: it is somebody "
            "else's, and nothing is touched in it"
        )


async def remove_others(api: ApiClient, release: Release) -> None:
    """Remove services of a release before this one that had more of them, and their ways to the relay.

    These lead to ports that belong to other services now: the relay would take one for another.
    """
    own = release.wiring.services if release.services is None else ()
    deployments, ways = (
        f"/apis/apps/v1/namespaces/{EMCO_NAMESPACE}/deployments",
        f"/api/v1/namespaces/{HARNESS_NAMESPACE}",
    )
    there = {one["metadata"]["name"] for one in (await api.ask("GET", deployments)).get("items") or ()}
    for name in sorted(there & set(SERVICES) - set(own)):
        await api.ask("DELETE", f"{deployments}/{name}", {"propagationPolicy": "Foreground"}, accept=(404,))
        await gone(api, f"{deployments}/{name}", limit=_GONE_LIMIT)
    listed = (await api.ask("GET", f"{ways}/services")).get("items") or ()
    for name in sorted(one["metadata"]["name"] for one in listed):
        service = name.removeprefix(f"{RELAY}-")
        if service != name and service not in release.wiring.services:
            await api.ask("DELETE", f"{ways}/services/{name}", accept=(404,))


def _is_ending(found: Json) -> bool:
    return found.get("kind") == "Namespace" and "deletionTimestamp" in found["metadata"]


async def install_relay(api: ApiClient, release: Release) -> str:
    """The relay and emulated edges alone, and the relay's token. EMCO knows nothing of them yet.

    Raises HarnessTrouble when their namespace is somebody else's.
    """
    await check_ours(api, HARNESS_NAMESPACE)
    token = await _token(api) or secrets.token_hex(16)
    await _apply_all(api, harness_objects(release, token))
    return token


async def install_emco(api: ApiClient, release: Release, token: str) -> None:
    """Make EMCO's namespace hold it, with no pod of a service that is not of this release. token: of the relay."""
    if not release.is_foreign:
        await _apply_all(api, emco_objects(release, token))
    if release.stores is not None:
        await release.stores.put(api)
    if release.services is not None:
        await release.services.put(api, _relay_content(release, token))
    names = [("deployments", release.deployment(service)) for service in release.wiring.services]
    await rolled_out(api, EMCO_NAMESPACE, names, limit=_UPDATE_LIMIT, enough=_is_up_to_date)


async def _apply_all(api: ApiClient, wanted: list[Json]) -> None:
    await apply(api, wanted[:1])
    await apply(api, wanted[1:])


async def _token(api: ApiClient) -> str:
    found = await api.ask("GET", f"/api/v1/namespaces/{HARNESS_NAMESPACE}/secrets/relay", accept=(404,))
    return base64.b64decode((found.get("data") or {}).get("token", "")).decode()


async def apply(api: ApiClient, wanted: Sequence[Json]) -> None:
    """Make objects be as they are wanted, by server-side apply: what is so already stays untouched."""
    await asyncio.gather(*(api.ask("PATCH", _path(one), one, query=_FIELDS, content=_APPLY) for one in wanted))


def _path(one: Json) -> str:
    metadata = one["metadata"]
    within = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{base_path(one['apiVersion'])}{within}/{_PLURALS[one['kind']]}/{metadata['name']}"


async def rolled_out(
    api: ApiClient,
    namespace: str,
    names: Sequence[tuple[str, str]],
    *,
    limit: float,
    enough: Callable[[Json], bool] | None = None,
    app: str = "",
) -> None:
    """Wait until workloads (plural, name) run as they are wanted, by their readiness probes.

    enough: what else is wanted of one than that all its pods are ready
    app: label of their pods, where it is not the name. Raises HarnessTrouble with what the cluster
    says of them when they do not within `limit` seconds.
    """
    enough = enough or _is_rolled_out
    deadline = asyncio.get_running_loop().time() + limit
    for plural, name in names:
        path = f"/apis/apps/v1/namespaces/{namespace}/{plural}/{name}"
        while not enough(await api.ask("GET", path)):
            if asyncio.get_running_loop().time() > deadline:
                said = await why_not_ready(api, namespace, app or name)
                raise HarnessTrouble(f"{plural} {name} is not ready within {limit:g} s: {said}")
            await asyncio.sleep(_PAUSE)  # the API server's state, which only it can tell; bounded by the limit


def _is_rolled_out(workload: Json) -> bool:
    status, wanted = workload.get("status") or {}, workload["spec"]["replicas"]
    return bool(
        status.get("observedGeneration", 0) >= workload["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wanted
        and status.get("readyReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
    )


def _is_up_to_date(workload: Json) -> bool:
    """Whether all its pods are made from its present template, ready or not."""
    status, wanted = workload.get("status") or {}, workload["spec"]["replicas"]
    return bool(
        status.get("observedGeneration", 0) >= workload["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
    )


def has_a_ready_pod(workload: Json) -> bool:
    """Whether at least one pod of it is ready, by its readiness probe."""
    return int((workload.get("status") or {}).get("readyReplicas", 0)) > 0


async def why_not_ready(api: ApiClient, namespace: str, app: str) -> str:
    """What the pods' states and the latest warnings say."""
    pods = await api.ask("GET", f"/api/v1/namespaces/{namespace}/pods", query=f"labelSelector=app%3D{app}")
    said = [_pod_says(pod) for pod in pods.get("items") or ()]
    events = await api.ask("GET", f"/api/v1/namespaces/{namespace}/events", query="fieldSelector=type%3DWarning")
    warnings = [
        f"{event.get('reason')}: {event.get('message', '').strip()[:200]}"
        for event in sorted(events.get("items") or (), key=_when)
        if str(event.get("involvedObject", {}).get("name", "")).startswith(app)
    ]
    return "; ".join([*said, *warnings[-2:]]) or "there is no pod"


def _when(event: Json) -> str:
    """Of its latest occurrence; the API server lists events by their names."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def _pod_says(pod: Json) -> str:
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or ():
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            for name in ("waiting", "terminated"):
                if name in state:
                    why = state[name]
                    return f"pod {pod['metadata']['name']}: {why.get('reason', name)} {why.get('message', '')}".strip()
    unmet = [
        f"{one.get('reason')} {one.get('message', '')}"
        for one in status.get("conditions") or ()
        if one["status"] != "True"
    ]
    return f"pod {pod['metadata']['name']}: {status.get('phase')} {'; '.join(unmet)}".strip()
