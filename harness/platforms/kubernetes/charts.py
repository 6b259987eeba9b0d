"""EMCO's services by its own Helm charts. helm is a program of its own, and touches no file of the user's."""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.commands import CommandFails, command, need
from harness.platforms.edges.client import ApiClient
from harness.platforms.kubernetes.splice import Splice, Where
from harness.platforms.kubernetes.wiring import EMCO_NAMESPACE

_LIMIT = 120.0
_CHART, _COMMON = "Chart.yaml", "common"
_IMAGE = re.compile(r"(?P<repository>.*/)?(?P<name>[^/:@]+):(?P<tag>[^/:@]+)")


@dataclass(frozen=True, slots=True)
class Charts:
    """place: a folder with EMCO's charts, one for each service;  values: the user's, which win over ours"""

    place: Path
    values: tuple[Path, ...] = ()


def check_charts(charts: Charts, services: Sequence[str]) -> None:
    """Whether there is a chart for every service, and helm. Raises UsageError; installs nothing."""
    need("helm", "--charts")
    missing = [name for name in (_COMMON, *services) if not (charts.place / name / _CHART).is_file()]
    if missing:
        raise UsageError(
            f"--charts {charts.place}: there is no {missing[0]}/{_CHART}; a folder as deployments/helm/emcoBase of "
            "EMCO's source, or emco-services/charts of a chart that was pulled, is expected"
        )
    for path in charts.values:
        if not path.is_file():
            raise UsageError(f"--chart-values {path}: no such file")


class ChartServices:
    """Implements harness.platforms.kubernetes.install.Services: a Helm release for each service, led to the relay."""

    def __init__(self, charts: Charts, images: Mapping[str, str], where: Where, splice: Splice, folder: Path) -> None:
        self._charts = charts
        self._images = images
        self._where = where
        self._splice = splice
        self._folder = folder

    def deployment(self, service: str) -> str:
        return self._splice.deployment(service)

    async def put(self, api: ApiClient, relay: str) -> None:
        """Raises HarnessTrouble with what helm says."""
        there = await self._installed(api)
        for service, image in self._images.items():
            if there.get(service) != image or self._charts.values:
                self._copied()
                await self._install(service)
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

    def _copied(self) -> None:
        """The charts where their dependencies can be put beside them."""
        if not self._home().exists():
            shutil.copytree(self._charts.place, self._home(), symlinks=True)

    def _home(self) -> Path:
        return self._folder / "charts"

    async def _install(self, service: str) -> None:
        chart = self._home() / service
        own = self._folder / f"{service}.values.yaml"
        own.write_text(yaml.safe_dump(values_of(self._images[service])), encoding="utf-8")
        values = [text for path in (own, *self._charts.values) for text in ("--values", str(path))]
        try:
            await self._helm("dependency", "update", str(chart))
            await self._helm(
                "upgrade", "--install", f"emco-{service}", str(chart), "--namespace", EMCO_NAMESPACE,
                "--kubeconfig", str(self._where.kubeconfig), "--kube-context", self._where.context, *values,
            )  # fmt: skip
        except CommandFails as error:
            raise HarnessTrouble(f"the chart of {service} cannot be installed: {error}") from error

    async def _helm(self, *arguments: str) -> None:
        homes = {f"HELM_{name}_HOME": str(self._folder / "helm" / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        await command("helm", *arguments, limit=_LIMIT, environment=homes)


def values_of(image: str) -> dict[str, Any]:
    """Values for one service's chart. Its stores are the harness's, without passwords; no pod is made until the relay
    is between (replicaCount). Raises HarnessTrouble for an image name that no chart could say."""
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
            "disableDbAuth": True,
            "loglevel": "info",
            "metricsPollingIntervalSecs": -1,
        },
    }
