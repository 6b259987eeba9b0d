"""EMCO's services by its own Helm charts, a release for each, led to the relay."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.emco.services import SERVICES
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.commands import need
from harness.platforms.edges.client import MERGE_PATCH, ApiClient
from harness.platforms.kubernetes.helm import Charts, Helm
from harness.platforms.kubernetes.patches import read_patches
from harness.platforms.kubernetes.splice import Splice, Where
from harness.platforms.kubernetes.wiring import EMCO_NAMESPACE

Json = dict[str, Any]
MADE_OF = "emco-chaos/made-of"
"""Annotation of a service's Deployment: a digest of the image, chart, values and patches that it was made of."""

_DEPLOYMENTS = f"/apis/apps/v1/namespaces/{EMCO_NAMESPACE}/deployments"
_IMAGE = re.compile(r"(?P<repository>.*/)?(?P<name>[^/:@]+):(?P<tag>[^/:@]+)")


def check_charts(charts: Charts, names: Sequence[str]) -> None:
    """Whether these charts are there, and helm. Raises UsageError; installs nothing."""
    need("helm", "--charts")
    for name in names:
        charts.folder(name)
    for path in charts.values:
        if not path.is_file():
            raise UsageError(f"--chart-values {path}: no such file")


async def check_services(api: ApiClient, *, charts: bool) -> None:
    """Raises UsageError where services that are there were made in the other way: those would stay beside the new ones,
    without the relay. charts: whether charts are to make them now"""
    listed = await api.ask("GET", _DEPLOYMENTS, accept=(404,))
    for one in listed.get("items") or ():
        labels = one["metadata"].get("labels") or {}
        by_chart = labels.get("heritage") == "Helm"
        if (one["metadata"]["name"] in SERVICES or labels.get("app") in SERVICES) and by_chart is not charts:
            made, wanted = ("without", "with") if charts else ("with", "without")
            raise UsageError(
                f"EMCO in {api.name} was installed {made} --charts, and is wanted {wanted} now: say the same, or take "
                "other clusters by --cluster NAME"
            )


class ChartServices:
    """Implements harness.platforms.kubernetes.install.Services: a Helm release for each service, led to the relay.

    auth: whether the stores ask for the passwords that EMCO's store charts keep
    """

    def __init__(
        self,
        charts: Charts,
        images: Mapping[str, str],
        where: Where,
        splice: Splice,
        folder: Path,
        *,
        auth: bool = False,
    ) -> None:
        self._charts = charts
        self._images = images
        self._where = where
        self._splice = splice
        self._helm = Helm(charts, folder)
        self._auth = auth

    def deployment(self, service: str) -> str:
        return self._splice.deployment(service)

    async def put(self, api: ApiClient, relay: str) -> None:
        """Raises HarnessTrouble with what helm says."""
        there = await self._installed(api)
        cluster = self._where.kubeconfig, self._where.context
        wanted = {service: self._made_of(service, image) for service, image in self._images.items()}
        others = [service for service, digest in wanted.items() if there.get(service, ("", ""))[1] != digest]
        for service in others:
            values = values_of(self._images[service], auth=self._auth)
            await self._helm.install(release_of(service), service, values, namespace=EMCO_NAMESPACE, cluster=cluster)
        names = await self._installed(api) if others else {}
        for service in others:
            if service in names:  # else the splice says what is missing
                note = {"metadata": {"annotations": {MADE_OF: wanted[service]}}}
                await api.ask("PATCH", f"{_DEPLOYMENTS}/{names[service][0]}", note, content=MERGE_PATCH)
        await self._splice.put(api, relay)

    def _made_of(self, service: str, image: str) -> str:
        place = self._charts.folder(service)
        folders = (place, place.parent / "common")  # on which each of EMCO's charts depends
        files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
        told = f"{image} {self._auth} {read_patches(self._charts.patches).digest}"
        digest = hashlib.sha256(told.encode())
        for path in (*files, *self._charts.values):
            digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
        return digest.hexdigest()[:16]

    async def take_back(self, api: ApiClient) -> None:
        await self._splice.take_back(api)

    async def _installed(self, api: ApiClient) -> Mapping[str, tuple[str, str]]:
        """The Deployments of the services that charts have put there: name, and what it was made of."""
        listed = await api.ask("GET", _DEPLOYMENTS, query="labelSelector=heritage%3DHelm")
        found = [one["metadata"] for one in listed.get("items") or ()]
        return {
            str(one["labels"].get("app")): (str(one["name"]), str((one.get("annotations") or {}).get(MADE_OF, "")))
            for one in found
        }


async def rendered_services(charts: Charts, images: Mapping[str, str], folder: Path) -> list[Json]:
    """What the charts of the services would make, without any patches. Raises HarnessTrouble with what helm says."""
    helm, made = Helm(charts, folder), []
    for service, image in images.items():
        made += await helm.rendered(release_of(service), service, values_of(image), namespace=EMCO_NAMESPACE)
    return made


def release_of(service: str) -> str:
    """Name of a service's Helm release."""
    return f"emco-{service}"


def values_of(image: str, *, auth: bool = False) -> Json:
    """Values for one service's chart; no pod is made until the relay is between (replicaCount).

    auth: whether its stores ask for passwords. Raises HarnessTrouble for an image name that no chart could say.
    """
    named = _IMAGE.fullmatch(image)
    if named is None:
        raise HarnessTrouble(f"the image {image} has no name and tag as EMCO's charts have it")
    return {
        "image": named["name"],
        "replicaCount": 0,
        "global": {
            "repository": named["repository"] or "",
            "emcoTag": named["tag"],
            "pullPolicy": "IfNotPresent",
            **({} if auth else {"disableDbAuth": True}),
            "loglevel": "info",
            "metricsPollingIntervalSecs": -1,
        },
    }
