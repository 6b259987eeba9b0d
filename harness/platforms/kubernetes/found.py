"""An EMCO that is in a cluster already, by its charts: found by labels, as EMCO's charts set them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.client import ApiClient

Json = dict[str, Any]
CONFIG_FILE = "config.json"


@dataclass(frozen=True, slots=True)
class Found:
    """One service. release: Helm's, empty for what Helm did not make;  deployment, config_map: whole objects"""

    service: str
    release: str
    deployment: Json
    config_map: Json

    @property
    def name(self) -> str:
        """Of the Deployment."""
        return str(self.deployment["metadata"]["name"])

    @property
    def config(self) -> Json:
        """What the service reads at its start."""
        return dict(json.loads(self.config_map["data"][CONFIG_FILE]))


async def find_emco(api: ApiClient, namespace: str, services: Sequence[str]) -> Mapping[str, Found]:
    """The services of an EMCO. Raises HarnessTrouble for one that is not there, or twice, or not as charts have it."""
    wanted = f"labelSelector=app%20in%20({','.join(services)})"
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    listed = (await api.ask("GET", path, query=wanted)).get("items") or []
    found = {}
    await _check_pods(api, namespace, wanted)
    for service in services:
        mine = [one for one in listed if one["metadata"]["labels"]["app"] == service]
        if len(mine) != 1:
            names = ", ".join(one["metadata"]["name"] for one in mine) or "none"
            raise HarnessTrouble(
                f"the namespace {namespace} was to hold one Deployment with the label app={service}, it has {names}"
            )
        found[service] = await _found(api, namespace, service, mine[0])
    return found


async def _check_pods(api: ApiClient, namespace: str, wanted: str) -> None:
    """Raises HarnessTrouble for a pod into which somebody puts more containers than its Deployment has."""
    for pod in (await api.ask("GET", f"/api/v1/namespaces/{namespace}/pods", query=wanted)).get("items") or ():
        _check_alone(f"the pod {pod['metadata']['name']}", pod["spec"])


def _check_alone(what: str, spec: Json) -> None:
    lasting = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
    names = [str(one["name"]) for one in (*spec["containers"], *lasting)]
    if len(names) > 1:
        raise HarnessTrouble(
            f"{what} has {len(names)} containers ({', '.join(names)}): which of them holds a connection nobody can "
            "tell, so that no death could be proven. A service has to be alone in its pods: keep proxies out of them"
        )


async def _found(api: ApiClient, namespace: str, service: str, deployment: Json) -> Found:
    _check_alone(f"the Deployment {deployment['metadata']['name']}", deployment["spec"]["template"]["spec"])
    name = config_map_of(deployment)
    if not name:
        raise HarnessTrouble(
            f"the Deployment {deployment['metadata']['name']} mounts no ConfigMap as {CONFIG_FILE}: "
            "it is not as EMCO's charts have it, and cannot be led to the relay"
        )
    config_map = await api.ask("GET", f"/api/v1/namespaces/{namespace}/configmaps/{name}")
    labels = deployment["metadata"].get("labels") or {}
    release = str(labels.get("release", "")) if labels.get("heritage") == "Helm" else ""
    one = Found(service, release, deployment, config_map)
    try:
        missing = {"database-ip", "etcd-ip"} - set(one.config)
    except (KeyError, ValueError, TypeError) as error:
        raise HarnessTrouble(f"the ConfigMap {name} holds no {CONFIG_FILE} that can be read: {error!r}") from error
    if missing:
        raise HarnessTrouble(f"the {CONFIG_FILE} in the ConfigMap {name} does not say {min(missing)}")
    return one


def config_map_of(deployment: Json) -> str:
    """Name of the ConfigMap that is mounted as config.json; empty where none is."""
    pod = deployment["spec"]["template"]["spec"]
    maps = {one["name"]: one["configMap"]["name"] for one in pod.get("volumes") or () if "configMap" in one}
    for mount in pod["containers"][0].get("volumeMounts") or ():
        if mount.get("subPath") == CONFIG_FILE and mount["name"] in maps:
            return str(maps[mount["name"]])
    return ""
