"""EMCO's own monitor on edges that are clusters, by its Helm chart: it reports there, and no stand-in does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.commands import need
from harness.platforms.edge_emulator.kinds import CRD_GROUP, CRD_PLURAL
from harness.platforms.edge_emulator.monitor import GROUP, PLURAL
from harness.platforms.edges.client import ApiClient, gone
from harness.platforms.images.named import ServiceImage
from harness.platforms.kind.clusters import Cluster
from harness.platforms.kind.images import load_services
from harness.platforms.kubernetes.helm import Charts, Helm
from harness.platforms.kubernetes.install import MANIFESTS, rolled_out
from harness.platforms.kubernetes.wiring import EMCO_NAMESPACE

Json = dict[str, Any]
IMAGE = "emco-monitor"
OPTION = "--monitor-chart"
_RELEASE = "monitor"
_DEPLOYMENT = f"{_RELEASE}-monitor"
_DEPLOYMENTS = f"/apis/apps/v1/namespaces/{EMCO_NAMESPACE}/deployments"
_DEFINITION = f"/apis/{CRD_GROUP}/v1/{CRD_PLURAL}/{PLURAL}.{GROUP}"
_MANAGER = "app.kubernetes.io/managed-by"
_LIMIT = 120.0
PATCHES = MANIFESTS / "monitor.patches.yaml"


@dataclass(frozen=True, slots=True)
class Monitor:
    """chart: the folder of EMCO's chart `monitor`;  image: its own;  folder: for what helm needs"""

    chart: Path
    image: ServiceImage
    folder: Path

    async def install(self, cluster: Cluster, api: ApiClient) -> None:
        """Have it run on an edge, with the definition of what it reports in. Raises HarnessTrouble."""
        await load_services(cluster.name, (self.image,))
        await self._no_definition_of_ours(api)
        charts = Charts(self.chart.resolve().parent, patches=PATCHES)
        helm = Helm(charts, self.folder / cluster.name)
        await helm.install(
            _RELEASE,
            self.chart.resolve().name,
            monitor_values(self.image.name),
            namespace=EMCO_NAMESPACE,
            cluster=(cluster.kubeconfig, cluster.context),
            make_namespace=True,
        )
        await rolled_out(api, EMCO_NAMESPACE, [("deployments", _DEPLOYMENT)], limit=_LIMIT, app="monitor")

    async def _no_definition_of_ours(self, api: ApiClient) -> None:
        """helm makes nothing that is there already, and is not its own."""
        found = await api.ask("GET", _DEFINITION, accept=(404,))
        labels = (found.get("metadata") or {}).get("labels") or {}
        if found.get("kind") == "CustomResourceDefinition" and labels.get(_MANAGER) != "Helm":
            await api.ask("DELETE", _DEFINITION)
            await gone(api, _DEFINITION, limit=_LIMIT)


def monitor_values(image: str) -> Json:
    """Values for its chart. Raises HarnessTrouble for an image name that the chart could not say."""
    repository, slash, rest = image.rpartition("/")
    name, colon, tag = rest.partition(":")
    if not (name and colon and tag) or "@" in rest:
        raise HarnessTrouble(f"the image {image} has no name and tag as EMCO's charts have it")
    return {"repository": f"{repository}{slash}", "image": name, "emcoTag": tag}


def check_monitor(chart: Path) -> None:
    """Whether there is such a chart, and helm. Raises UsageError; installs nothing."""
    need("helm", OPTION)
    if not (chart / "Chart.yaml").is_file():
        raise UsageError(
            f"{OPTION} {chart}: there is no Chart.yaml; a folder as deployments/helm/monitor of EMCO's source, or as "
            "`helm pull monitor --untar` leaves it, is expected"
        )


async def no_monitor(name: str, api: ApiClient) -> None:
    """Raises UsageError where EMCO's monitor runs on an edge on which the stand-in is to report."""
    found = await api.ask("GET", f"{_DEPLOYMENTS}/{_DEPLOYMENT}", accept=(404,))
    if found.get("kind") == "Deployment":
        raise UsageError(
            f"EMCO's monitor runs on the edge {name}: two would report there; say {OPTION} again, or take other "
            "clusters by --cluster NAME"
        )
