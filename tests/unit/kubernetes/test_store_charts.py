"""EMCO's chart of the stores: what is asked of it, what is refused, and that passwords outlive an upgrade."""

import asyncio
import base64
import copy
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.edge_emulator import EdgeEmulator
from harness.platforms.edges.access import Access
from harness.platforms.edges.client import ApiClient
from harness.platforms.kubernetes.helm import Charts
from harness.platforms.kubernetes.install import Release, emco_objects
from harness.platforms.kubernetes.splice import Where
from harness.platforms.kubernetes.store_charts import (
    ChartStores,
    Pinned,
    StorePlan,
    check_makers,
    pinned_passwords,
    plan_of,
    plan_stores,
    rendered_stores,
    store_values,
)
from harness.platforms.kubernetes.wiring import Wiring
from tests.unit.kubernetes.test_splice import INSTALLED, make

CHARTS = os.environ.get("EMCO_CHAOS_TEST_CHARTS", "")
Json = dict[str, Any]
_NAMESPACE = "/api/v1/namespaces/emco"


def service(name: str, port: int, **labels: str) -> Json:
    metadata = {"name": name, "namespace": "emco", "labels": labels}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": port}]}}


def stateful(name: str, *, claim: bool) -> Json:
    """The volume of one is claimed by a template, that of the other by name, as in EMCO's charts."""
    pod: Json = {
        "containers": [{"name": name, "image": f"r/{name}:1"}],
        "initContainers": [{"name": "i", "image": "r/i:1"}],
    }
    pod["volumes"] = [] if claim else [{"name": "d", "persistentVolumeClaim": {"claimName": "d"}}]
    spec: Json = {"replicas": 1, "template": {"spec": pod}}
    return {
        "kind": "StatefulSet",
        "metadata": {"name": name},
        "spec": spec | ({"volumeClaimTemplates": [{}]} if claim else {}),
    }


MADE = (service("emco-mongo", 27017), service("emco-etcd", 2379), stateful("m", claim=False), stateful("e", claim=True))


def made() -> list[Json]:
    return copy.deepcopy(list(MADE))


def test_a_plan_names_what_has_to_be_waited_for_and_every_image() -> None:
    assert plan_of(made()) == StorePlan(("m", "e"), ("r/e:1", "r/i:1", "r/m:1"))


def without_a_volume(objects: list[Json]) -> None:
    objects[2]["spec"]["template"]["spec"]["volumes"] = [{"name": "d", "emptyDir": {}}]


def three_members(objects: list[Json]) -> None:
    objects[3]["spec"]["replicas"] = 3


def another_name(objects: list[Json]) -> None:
    objects[0]["metadata"]["name"] = "mongo"


def one_store(objects: list[Json]) -> None:
    del objects[3]


def another_mongo(objects: list[Json]) -> None:
    (box,) = objects[2]["spec"]["template"]["spec"]["containers"]
    box |= {"image": "r:5000/mongo:7.0", "livenessProbe": {"exec": {"command": ["mongo", "--eval", "ping"]}}}


@pytest.mark.parametrize(
    "change, sentence",
    [
        (without_a_volume, "makes m without a volume: it would lose everything with its pod"),
        (another_mongo, "and r:5000/mongo:7.0 has none: take an image before 6, or set mongo.liveness.enabled"),
        (three_members, "makes e with 3 replicas"),
        (another_name, "makes no Service emco-mongo with the port 27017"),
        (one_store, "makes the StatefulSets m: one for mongo and one for etcd are expected"),
    ],
)
def test_what_the_harness_could_not_use_is_refused(change: Callable[[list[Json]], None], sentence: str) -> None:
    objects = made()
    change(objects)
    with pytest.raises(HarnessTrouble, match=sentence):
        plan_of(objects)


def in_cluster(things: list[Json], work: Callable[[ApiClient], Awaitable[None]]) -> None:
    async def scenario() -> None:
        emulator = EdgeEmulator("hub")
        await emulator.start("127.0.0.1", 0)
        api = ApiClient("hub", Access(emulator.address, None))
        try:
            await make(api, INSTALLED[0])
            for one in things:
                await api.ask("POST", f"{_NAMESPACE}/{one['kind'].lower()}s", one)
            await work(api)
        finally:
            await api.close()
            await emulator.stop()

    asyncio.run(scenario())


def secret(name: str, **values: str) -> Json:
    data = {key.replace("_", "-"): base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "emco"}, "data": data}


def test_passwords_are_those_that_the_stores_had_from_the_beginning() -> None:
    there = [secret("emco-mongo", rootPassword="r", userPassword="u"), secret("emco-etcd", etcd_root_password="e")]

    async def work(api: ApiClient) -> None:
        assert await pinned_passwords(api) == Pinned("r", "u", "e")

    in_cluster(there, work)


def test_where_there_are_none_new_ones_are_made() -> None:
    async def work(api: ApiClient) -> None:
        first, second = await pinned_passwords(api), await pinned_passwords(api)
        assert len({first.root, first.emco, first.etcd, second.root, second.emco, second.etcd}) == 6
        assert min(map(len, (first.root, first.emco, first.etcd))) >= 20

    in_cluster([], work)


@pytest.mark.parametrize("charts", [True, False])
def test_stores_that_were_made_in_the_other_way_are_left(charts: bool) -> None:
    labels = {} if charts else {"heritage": "Helm"}

    async def work(api: ApiClient) -> None:
        await check_makers(api, charts=not charts)
        with pytest.raises(UsageError, match="say the same, or take other clusters by --cluster NAME"):
            await check_makers(api, charts=charts)

    in_cluster([service("emco-mongo", 27017, **labels)], work)


def test_helm_gets_passwords_in_a_file_that_only_its_owner_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "emco-db").mkdir()
    (tmp_path / "emco-db" / "Chart.yaml").touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "helm").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    (tmp_path / "bin" / "helm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}/bin{os.pathsep}/usr/bin")
    run = tmp_path / "run"
    stores = ChartStores(Charts(tmp_path), StorePlan(("m", "e"), ()), Where(tmp_path / "k", "kind-x"), run)

    async def work(api: ApiClient) -> None:
        await stores.put(api)

    in_cluster([secret("emco-mongo", rootPassword="r-secret", userPassword="u-secret")], work)
    assert (
        (tmp_path / "asked").read_text().startswith(f"upgrade --install emco-db {run}/charts/emco-db --namespace emco ")
    )
    assert "secret" not in (tmp_path / "asked").read_text()
    values = run / "emco-db.values.yaml"
    assert values.stat().st_mode & 0o077 == 0
    assert yaml.safe_load(values.read_text())["global"]["db"] == {
        "rootPassword": "r-secret",
        "emcoPassword": "u-secret",
    }


def test_the_harness_makes_no_stores_beside_those_of_the_chart() -> None:
    release = Release(Wiring(("clm",), ()), "emco:1", "python:3.11-slim", "faithful")
    stores = ChartStores(Charts(Path()), StorePlan(("m", "e"), ()), Where(Path(), ""), Path())
    kinds = [one["kind"] for one in emco_objects(replace(release, stores=stores), "t")]
    assert "StatefulSet" not in kinds
    assert replace(release, stores=stores).store_workloads == ("m", "e")
    assert release.store_workloads == ("mongo", "etcd")


needs_charts = pytest.mark.skipif(
    not CHARTS or shutil.which("helm") is None,
    reason="needs EMCO's charts, EMCO_CHAOS_TEST_CHARTS, and helm on PATH",
)


@needs_charts
def test_emcos_own_chart_makes_stores_with_volumes_that_are_kept(tmp_path: Path) -> None:
    charts = Charts(Path(CHARTS))
    plan = asyncio.run(plan_stores(charts, tmp_path / "a"))
    assert plan.workloads == ("emco-etcd", "emco-db-emco-mongo")
    assert len(plan.images) == 3
    objects = asyncio.run(rendered_stores(charts, tmp_path / "b"))
    volumes = {one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == "PersistentVolume"}
    assert {one["persistentVolumeReclaimPolicy"] for one in volumes.values()} == {"Retain"}
    (claims,) = [
        one["spec"]["volumeClaimTemplates"]
        for one in objects
        if one["metadata"]["name"] == "emco-etcd" and one["kind"] == "StatefulSet"
    ]
    assert claims[0]["spec"]["storageClassName"] == volumes["data-emco-db-etcd-0"]["storageClassName"] == ""


@needs_charts
def test_a_value_of_the_users_that_takes_the_volume_away_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mongo: {persistence: {enabled: false}}\n")
    with pytest.raises(HarnessTrouble, match="without a volume"):
        asyncio.run(plan_stores(Charts(Path(CHARTS), (tmp_path / "mine.yaml",)), tmp_path / "run"))


def test_our_values_pin_all_three_passwords() -> None:
    values = store_values(Pinned("r", "u", "e"))["global"]
    assert (values["db"], values["contextdb"]) == ({"rootPassword": "r", "emcoPassword": "u"}, {"rootPassword": "e"})
