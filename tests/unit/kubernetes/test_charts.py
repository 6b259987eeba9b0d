"""EMCO's charts: what is refused beforehand, and what helm is asked."""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.edges.client import ApiClient
from harness.platforms.kubernetes.charts import MADE_OF, ChartServices, check_charts, check_services, values_of
from harness.platforms.kubernetes.helm import Charts
from harness.platforms.kubernetes.splice import Splice, Where


@pytest.fixture
def helm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A helm on PATH that notes what it is asked, and is refused charts named `broken`."""
    folder, asked = tmp_path / "bin", tmp_path / "asked"
    folder.mkdir()
    script = f'#!/bin/sh\necho "$@" >> {asked}\ncase "$*" in *broken*) echo no template >&2; exit 1;; esac\n'
    (folder / "helm").write_text(script)
    (folder / "helm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/bin{os.pathsep}/usr/bin")
    return asked


@pytest.fixture
def charts(tmp_path: Path) -> Charts:
    for name in ("common", "clm", "broken"):
        (tmp_path / "charts" / name).mkdir(parents=True)
        (tmp_path / "charts" / name / "Chart.yaml").touch()
    own = {"dependencies": [{"name": "common", "repository": "file://../common"}]}
    (tmp_path / "charts" / "clm" / "Chart.yaml").write_text(yaml.safe_dump(own))
    return Charts(tmp_path / "charts")


def test_a_chart_that_is_missing_is_named(helm: Path, charts: Charts) -> None:
    check_charts(charts, ["clm"])
    with pytest.raises(UsageError, match=r"there is no rsync/Chart\.yaml"):
        check_charts(charts, ["clm", "rsync"])


def test_without_helm_nothing_is_begun(charts: Charts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="helm is not on PATH; --charts needs it"):
        check_charts(charts, ["clm"])


def test_values_that_are_not_there_are_named(helm: Path, charts: Charts, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--chart-values .*none: no such file"):
        check_charts(Charts(charts.place, (tmp_path / "none",)), ["clm"])


def test_values_name_the_image_as_emcos_charts_do_and_start_nothing() -> None:
    values = values_of("host:5000/a/b/emco-clm:22.09")
    assert (values["image"], values["replicaCount"]) == ("emco-clm", 0)
    assert values["global"]["repository"] + values["image"] + ":" + values["global"]["emcoTag"] == (
        "host:5000/a/b/emco-clm:22.09"
    )


@pytest.mark.parametrize("image", ["emco-clm", "a/emco-clm@sha256:00", ""])
def test_an_image_without_a_tag_is_refused(image: str) -> None:
    with pytest.raises(HarnessTrouble, match="has no name and tag"):
        values_of(image)


class Cluster:
    """Holds Deployments of Helm's, and takes what the splice would do."""

    def __init__(self, helm: Path) -> None:
        self.helm = helm
        self.made_of: dict[str, str] = {}
        self.put_for: list[str] = []

    async def ask(self, method: str, path: str, body: Any = None, *, query: str = "", content: str = "") -> Any:
        if method == "PATCH":
            self.made_of[path.rpartition("/")[2].rpartition("-")[2]] = body["metadata"]["annotations"][MADE_OF]
        apps = {"clm"} if self.helm.exists() else ()
        labels: list[dict[str, Any]] = [{"name": f"emco-{app}-{app}", "labels": {"app": app}} for app in apps]
        for one in labels:
            one["annotations"] = {MADE_OF: self.made_of.get(one["labels"]["app"], "")}
        return {"items": [{"metadata": one} for one in labels]}

    async def put(self, api: ApiClient, relay: str) -> None:
        self.put_for.append(relay)


def install(cluster: Cluster, charts: Charts, folder: Path, service: str = "clm", tag: str = "22.09") -> None:
    where = Where(folder / "kubeconfig", "kind-x")
    splice = cast("Splice", cluster)
    services = ChartServices(charts, {service: f"r/emco-{service}:{tag}"}, where, splice, folder)
    asyncio.run(services.put(cast("ApiClient", cluster), "relay-1"))


def test_helm_is_told_cluster_namespace_and_values_and_the_users_come_last(
    helm: Path, charts: Charts, tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").touch()
    folder = tmp_path / "run"
    folder.mkdir()
    cluster = Cluster(helm)
    install(cluster, Charts(charts.place, (tmp_path / "own.yaml",)), folder)
    update, upgrade = helm.read_text().splitlines()
    assert update == f"dependency update {folder}/charts/clm"
    assert upgrade == (
        f"upgrade --install emco-clm {folder}/charts/clm --namespace emco --kubeconfig {folder}/kubeconfig "
        f"--kube-context kind-x --values {folder}/emco-clm.values.yaml --values {tmp_path}/own.yaml"
    )
    assert yaml.safe_load((folder / "emco-clm.values.yaml").read_text())["global"]["disableDbAuth"] is True
    assert cluster.put_for == ["relay-1"]
    assert not (charts.place / "clm" / "charts").exists()


def upgrades(helm: Path) -> int:
    return sum(line.startswith("upgrade") for line in helm.read_text().splitlines())


def test_what_is_installed_already_is_left_unless_it_was_made_of_something_else(
    helm: Path, charts: Charts, tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text("a: 2\n")
    own, cluster = replace(charts, values=(tmp_path / "own.yaml",)), Cluster(helm)
    first, second, third, fourth = (charts, "22.09", 1), (own, "22.09", 2), (charts, "22.09", 3), (charts, "22.06", 4)
    for number, (what, tag, asked) in enumerate([first, first, second, second, third, fourth, fourth]):
        folder = tmp_path / f"run-{number}"
        folder.mkdir()
        install(cluster, what, folder, tag=tag)
        assert upgrades(helm) == asked
    (charts.place / "common" / "values.yaml").write_text("a: 1\n")
    (tmp_path / "last").mkdir()
    install(cluster, charts, tmp_path / "last", tag="22.06")
    assert upgrades(helm) == 5
    assert len(cluster.put_for) == 8


@pytest.mark.parametrize("charts_made_it", [True, False])
def test_services_that_were_installed_in_the_other_way_are_said(charts_made_it: bool) -> None:
    name, labels = ("emco-clm-clm", {"heritage": "Helm", "app": "clm"}) if charts_made_it else ("clm", {"app": "clm"})

    class There:
        name = "kind-x"

        async def ask(self, *_: Any, **__: Any) -> Any:
            return {"items": [{"metadata": {"name": name, "labels": labels}}, {"metadata": {"name": "somebody"}}]}

    api = cast("ApiClient", There())
    asyncio.run(check_services(api, charts=charts_made_it))
    with pytest.raises(UsageError, match="say the same, or take other clusters by --cluster NAME"):
        asyncio.run(check_services(api, charts=not charts_made_it))


def test_a_chart_that_cannot_be_installed_is_said_with_helms_words(helm: Path, charts: Charts, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(HarnessTrouble, match=r"the chart broken cannot be installed: .*no template"):
        install(Cluster(helm), charts, folder, "broken")


@pytest.mark.parametrize("place", ["", "charts", "emco-services/charts", "charts/emco-services/charts"])
def test_charts_are_found_in_the_source_and_in_what_was_pulled(tmp_path: Path, place: str) -> None:
    (tmp_path / place / "clm").mkdir(parents=True)
    (tmp_path / place / "clm" / "Chart.yaml").touch()
    assert Charts(tmp_path).folder("clm") == tmp_path / place / "clm"


def test_what_a_pulled_chart_depends_on_is_in_it_already(helm: Path, charts: Charts, tmp_path: Path) -> None:
    (charts.place / "clm" / "charts" / "common").mkdir(parents=True)
    folder = tmp_path / "run"
    folder.mkdir()
    install(Cluster(helm), charts, folder)
    assert [line.split()[0] for line in helm.read_text().splitlines()] == ["upgrade"]


def test_patches_go_through_helms_post_renderer(helm: Path, charts: Charts, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "mine").mkdir()
    patch = {"target": {"kind": "Deployment"}, "patch": "[]"}
    (tmp_path / "mine" / "kustomization.yaml").write_text(yaml.safe_dump({"patches": [patch]}))
    install(Cluster(helm), replace(charts, patches=tmp_path / "mine"), folder)
    asked = helm.read_text().splitlines()[-1]
    given = f"-m --post-renderer-args harness.platforms.kubernetes.patches --post-renderer-args {tmp_path}/mine"
    assert asked.endswith(f"--post-renderer {sys.executable} --post-renderer-args {given}")
