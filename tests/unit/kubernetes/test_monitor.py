"""EMCO's own monitor on an edge: what helm is asked, and that there is never more than one who reports."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.edge_emulator import EdgeEmulator
from harness.platforms.edges.access import Access
from harness.platforms.edges.client import ApiClient
from harness.platforms.images.named import ServiceImage
from harness.platforms.kind import monitor as module
from harness.platforms.kind.clusters import Cluster
from harness.platforms.kind.monitor import Monitor, check_monitor, monitor_values, no_monitor
from harness.platforms.kubernetes.needs import needed_of_chart
from harness.platforms.kubernetes.patches import read_patches
from tests.unit.kubernetes.test_splice import INSTALLED, deployment, make

Json = dict[str, Any]
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
IMAGE = ServiceImage("r/e/emco-monitor:22.09", "sha256:0")


def test_its_chart_is_told_the_image() -> None:
    assert monitor_values("h:5000/e/emco-monitor:22.09") == {
        "repository": "h:5000/e/",
        "image": "emco-monitor",
        "emcoTag": "22.09",
    }


@pytest.mark.parametrize("image", ["r/emco-monitor", "r/emco-monitor@sha256:00", ""])
def test_an_image_without_a_tag_is_refused(image: str) -> None:
    with pytest.raises(HarnessTrouble, match="has no name and tag"):
        monitor_values(image)


def test_a_folder_without_a_chart_is_refused(helm: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--monitor-chart .*: there is no Chart\.yaml"):
        check_monitor(tmp_path)


def test_without_helm_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="helm is not on PATH; --monitor-chart needs it"):
        check_monitor(tmp_path)


@pytest.fixture
def helm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A helm on PATH that notes what it is asked."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "helm").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    (tmp_path / "bin" / "helm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}/bin{os.pathsep}/usr/bin")
    return tmp_path / "asked"


def on_edge(work: Callable[[ApiClient], Awaitable[None]]) -> None:
    async def scenario() -> None:
        emulator = EdgeEmulator("p1+c1")
        await emulator.start("127.0.0.1", 0)
        api = ApiClient("p1+c1", Access(emulator.address, None))
        try:
            await make(api, INSTALLED[0])
            await work(api)
        finally:
            await api.close()
            await emulator.stop()

    asyncio.run(scenario())


class Edge:
    """An edge's API as far as it is asked: a definition of reports, and the monitor, ready once helm has been asked."""

    def __init__(self, *, helms: bool) -> None:
        self.name = "p1+c1"
        self.deleted: list[str] = []
        labels = {"app.kubernetes.io/managed-by": "Helm"} if helms else {}
        self._definition: Json = {"kind": "CustomResourceDefinition", "metadata": {"labels": labels}}

    async def ask(self, method: str, path: str, *, accept: tuple[int, ...] = ()) -> Json:
        if method == "DELETE":
            self.deleted.append(path)
            self._definition = {"kind": "Status"}
        if path == f"{DEFINITIONS}/resourcebundlestates.k8splugin.io":
            return self._definition
        assert path == "/apis/apps/v1/namespaces/emco/deployments/monitor-monitor"
        status = {"observedGeneration": 1, "updatedReplicas": 1, "readyReplicas": 1, "replicas": 1}
        return {"kind": "Deployment", "metadata": {"generation": 1}, "spec": {"replicas": 1}, "status": status}


@pytest.mark.parametrize("helms", [True, False])
def test_it_comes_with_the_definition_of_its_reports_and_ours_makes_room(
    helm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, helms: bool
) -> None:
    loaded: list[str] = []

    async def load_services(cluster: str, images: tuple[ServiceImage, ...]) -> None:
        loaded.extend(f"{cluster} {one.name}" for one in images)

    monkeypatch.setattr(module, "load_services", load_services)
    chart = tmp_path / "charts" / "monitor"
    chart.mkdir(parents=True)
    (chart / "Chart.yaml").touch()
    edge = Edge(helms=helms)
    cluster = Cluster("x-edge-1", tmp_path / "k")
    asyncio.run(Monitor(chart, IMAGE, tmp_path / "run").install(cluster, cast("ApiClient", edge)))
    assert edge.deleted == ([] if helms else [f"{DEFINITIONS}/resourcebundlestates.k8splugin.io"])
    asked = helm.read_text()
    assert asked.startswith(f"upgrade --install monitor {tmp_path}/run/x-edge-1/charts/monitor --namespace emco ")
    assert "--create-namespace" in asked
    assert f"--kubeconfig {tmp_path}/k --kube-context kind-x-edge-1" in asked
    assert loaded == ["x-edge-1 r/e/emco-monitor:22.09"]
    values = tmp_path / "run" / "x-edge-1" / "monitor.values.yaml"
    assert yaml.safe_load(values.read_text()) == monitor_values(IMAGE.name)


def test_the_stand_in_does_not_report_beside_it() -> None:
    async def work(api: ApiClient) -> None:
        await make(api, deployment("monitor", name="monitor-monitor"))
        with pytest.raises(UsageError, match=r"EMCO's monitor runs on the edge p1\+c1: two would report there"):
            await no_monitor("p1+c1", api)

    on_edge(work)


def test_where_there_is_none_the_stand_in_reports() -> None:
    async def work(api: ApiClient) -> None:
        await no_monitor("p1+c1", api)

    on_edge(work)


def test_the_node_has_its_image_whatever_the_chart_says() -> None:
    pod = {"containers": [{"name": "monitor", "image": "i", "imagePullPolicy": "Always"}]}
    chart: Json = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "m"}}
    chart["spec"] = {"template": {"metadata": {}, "spec": pod}}
    (made,) = read_patches(module.PATCHES).applied([chart], needed_of_chart)
    assert made["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"
