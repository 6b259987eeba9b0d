"""EMCO's stores by its own chart emco-db: mongo and etcd as EMCO's users have them, with passwords and kept volumes."""

import base64
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.edges.client import ApiClient
from harness.platforms.kubernetes.helm import Charts, Helm
from harness.platforms.kubernetes.splice import Where
from harness.platforms.kubernetes.wiring import EMCO_NAMESPACE

Json = dict[str, Any]
CHART = "emco-db"
"""The chart, and its release: the paths of volumes on nodes are named after it."""
_SERVICES: Mapping[str, int] = {"emco-mongo": 27017, "emco-etcd": 2379}
_NO_SHELL = 6  # from this release on mongo's images have no shell of this name
_NAMESPACE = f"/api/v1/namespaces/{EMCO_NAMESPACE}"


@dataclass(frozen=True, slots=True)
class Pinned:
    """Passwords that outlive an upgrade: the charts make new ones each time that none are given, and the stores, which
    have the old ones on their volumes, then refuse everybody."""

    root: str
    emco: str
    etcd: str

    @classmethod
    def new(cls) -> "Pinned":
        """Ones that nobody has."""
        return cls(*(secrets.token_hex(12) for _ in range(3)))


@dataclass(frozen=True, slots=True)
class StorePlan:
    """What the chart makes of the stores. workloads: names of StatefulSets;  images: all that their pods need"""

    workloads: tuple[str, ...]
    images: tuple[str, ...]


def store_values(pinned: Pinned) -> Json:
    """Ours, which the user's win over: passwords pinned, volumes, images of the nodes where these have them."""
    return {
        "global": {
            "pullPolicy": "IfNotPresent",
            "db": {"rootPassword": pinned.root, "emcoPassword": pinned.emco},
            "contextdb": {"rootPassword": pinned.etcd},
        },
        "mongo": {"persistence": {"enabled": True}},
        "etcd": {
            # "-": no class. Without that word the claim asks for the cluster's default class, where there is one, and
            # the volume that the chart makes, the one that is kept, stays unused.
            "persistence": {"enabled": True, "storageClass": "-"},
            "volumePermissions": {"image": {"pullPolicy": "IfNotPresent"}},
            "readinessProbe": {"initialDelaySeconds": 5, "periodSeconds": 2},  # instead of a minute
        },
    }


async def plan_stores(charts: Charts, folder: Path) -> StorePlan:
    """What would be made, with the user's values. Raises HarnessTrouble for what the harness could not use."""
    return plan_of(await rendered_stores(charts, folder))


async def rendered_stores(charts: Charts, folder: Path) -> list[Json]:
    """What the chart would make, without any patches. Raises HarnessTrouble with what helm says."""
    values = store_values(Pinned.new())
    return await Helm(charts, folder).rendered(CHART, CHART, values, namespace=EMCO_NAMESPACE)


def plan_of(objects: list[Json]) -> StorePlan:
    """What is in what the chart makes. Raises HarnessTrouble where a store is missing, or not alone and kept."""
    for name, port in _SERVICES.items():
        ports = [one["port"] for thing in objects if _is(thing, "Service", name) for one in thing["spec"]["ports"]]
        if port not in ports:
            raise HarnessTrouble(
                f"the chart {CHART} makes no Service {name} with the port {port}: EMCO would not find it"
            )
    sets = [thing for thing in objects if thing["kind"] == "StatefulSet"]
    for one in sets:
        name, replicas = one["metadata"]["name"], one["spec"].get("replicas", 1)
        if replicas != 1:
            raise HarnessTrouble(
                f"the chart {CHART} makes {name} with {replicas} replicas: one is expected, clients of several go "
                "round the relay"
            )
        _check_shell(one)
        if not _claims(one):
            raise HarnessTrouble(
                f"the chart {CHART} makes {name} without a volume: it would lose everything with its pod; leave "
                "persistence.enabled as it is"
            )
    if len(sets) != len(_SERVICES):
        names = ", ".join(one["metadata"]["name"] for one in sets) or "none"
        raise HarnessTrouble(
            f"the chart {CHART} makes the StatefulSets {names}: one for mongo and one for etcd are expected"
        )
    images = {str(box["image"]) for one in sets for box in _containers(one)}
    return StorePlan(tuple(one["metadata"]["name"] for one in sets), tuple(sorted(images)))


def _check_shell(one: Json) -> None:
    """Raises HarnessTrouble for a mongo that kubelet would kill again and again, for want of a shell."""
    for box in one["spec"]["template"]["spec"]["containers"]:
        asked = ((box.get("livenessProbe") or {}).get("exec") or {}).get("command") or [""]
        version = re.search(r":v?(\d+)", str(box["image"]).rpartition("/")[2])
        if asked[0] == "mongo" and version is not None and int(version[1]) >= _NO_SHELL:
            name = one["metadata"]["name"]
            raise HarnessTrouble(
                f"the chart {CHART} asks by the shell `mongo` whether {name} lives, and {box['image']} has none: take "
                f"an image before {_NO_SHELL}, or set mongo.liveness.enabled to false"
            )


def _is(thing: Json, kind: str, name: str) -> bool:
    return bool(thing["kind"] == kind and thing["metadata"]["name"] == name)


def _claims(one: Json) -> bool:
    volumes = one["spec"]["template"]["spec"].get("volumes") or ()
    return bool(one["spec"].get("volumeClaimTemplates")) or any("persistentVolumeClaim" in volume for volume in volumes)


def _containers(one: Json) -> list[Json]:
    pod = one["spec"]["template"]["spec"]
    return [*(pod.get("initContainers") or ()), *pod["containers"]]


class ChartStores:
    """Implements harness.platforms.kubernetes.install.Stores. plan: what the chart makes"""

    def __init__(self, charts: Charts, plan: StorePlan, where: Where, folder: Path) -> None:
        self._helm = Helm(charts, folder)
        self._where = where
        self._plan = plan

    @property
    def workloads(self) -> tuple[str, ...]:
        return self._plan.workloads

    async def put(self, api: ApiClient) -> None:
        """Raises HarnessTrouble with what helm says."""
        pinned = await pinned_passwords(api)
        cluster = self._where.kubeconfig, self._where.context
        await self._helm.install(CHART, CHART, store_values(pinned), namespace=EMCO_NAMESPACE, cluster=cluster)


async def pinned_passwords(api: ApiClient) -> Pinned:
    """Those that the stores have had from the beginning, or new ones."""
    new = Pinned.new()

    async def of(secret: str, key: str, otherwise: str) -> str:
        found = await api.ask("GET", f"{_NAMESPACE}/secrets/{secret}", accept=(404,))
        return base64.b64decode((found.get("data") or {}).get(key, "")).decode() or otherwise

    return Pinned(
        await of("emco-mongo", "rootPassword", new.root),
        await of("emco-mongo", "userPassword", new.emco),
        await of("emco-etcd", "etcd-root-password", new.etcd),
    )


async def check_makers(api: ApiClient, *, charts: bool) -> None:
    """Raises UsageError where the stores that are there were made in the other way: both have the same names.

    charts: whether charts are to make them now
    """
    found = await api.ask("GET", f"{_NAMESPACE}/services/emco-mongo", accept=(404,))
    if found.get("kind") != "Service":
        return
    labels = found["metadata"].get("labels") or {}
    if (labels.get("heritage") == "Helm") is not charts:
        made, wanted = ("with", "without") if not charts else ("without", "with")
        raise UsageError(
            f"the stores in {api.name} were made {made} --store-charts, and are wanted {wanted} now: say the same, or "
            "take other clusters by --cluster NAME"
        )
