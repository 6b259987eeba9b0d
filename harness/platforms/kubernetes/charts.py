"""EMCO's services by its own Helm charts, a release for each, led to the relay."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.commands import need
from harness.platforms.edges.client import ApiClient
from harness.platforms.kubernetes.helm import Charts, Helm
from harness.platforms.kubernetes.splice import Splice, Where
from harness.platforms.kubernetes.wiring import EMCO_NAMESPACE

Json = dict[str, Any]
_IMAGE = re.compile(r"(?P<repository>.*/)?(?P<name>[^/:@]+):(?P<tag>[^/:@]+)")


def check_charts(charts: Charts, names: Sequence[str]) -> None:
    """Whether these charts are there, and helm. Raises UsageError; installs nothing."""
    need("helm", "--charts")
    for name in names:
        charts.folder(name)
    for path in charts.values:
        if not path.is_file():
            raise UsageError(f"--chart-values {path}: no such file")


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
        for service, image in self._images.items():
            if there.get(service) != image or self._charts.values or self._charts.patches:
                values = values_of(image, auth=self._auth)
                await self._helm.install(
                    release_of(service), service, values, namespace=EMCO_NAMESPACE, cluster=cluster
                )
        await self._splice.put(api, relay)

    async def take_back(self, api: ApiClient) -> None:
        await self._splice.take_back(api)

    async def _installed(self, api: ApiClient) -> Mapping[str, str]:
        """Images of the services that charts have put there before."""
        path = f"/apis/apps/v1/namespaces/{EMCO_NAMESPACE}/deployments"
        listed = await api.ask("GET", path, query="labelSelector=heritage%3DHelm")
        return {
            str(one["metadata"]["labels"].get("app")): str(one["spec"]["template"]["spec"]["containers"][0]["image"])
            for one in listed.get("items") or ()
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
