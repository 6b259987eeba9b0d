"""An installed EMCO: what is asked before anything is changed, and what is taken back."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harness.faults.journal import Journal, rollback
from harness.faults.victim import UsageError
from harness.platforms.edge_emulator import EdgeEmulator
from harness.platforms.edges.access import Access
from harness.platforms.edges.client import ApiClient
from harness.platforms.edges.running import ALLOWED
from harness.platforms.kubernetes.installed import (
    INSTALLED_UNDOERS,
    UNDO,
    KindNodes,
    Passwords,
    check_installed,
    kind_nodes,
    pulled_image,
    read_passwords,
)
from harness.platforms.kubernetes.wiring import Wiring
from harness.platforms.settings import Settings
from tests.unit.kubernetes.test_splice import INSTALLED, config_map, deployment, make, namespace

Json = dict[str, Any]
SERVICES = ("clm", "rsync")
PLACES = {
    "Node": "/api/v1/nodes",
    "Service": "/api/v1/namespaces/emco/services",
    "Secret": "/api/v1/namespaces/emco/secrets",
}


def node(provider: str) -> Json:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "spec": {"providerID": provider}}


def service(name: str, port: int) -> Json:
    metadata = {"name": name, "namespace": "emco"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": port}]}}


STORES = (service("emco-mongo", 27017), service("emco-etcd", 2379))
NODE = node("kind://docker/hub/hub-control-plane")


async def put(api: ApiClient, *things: Json) -> None:
    for one in things:
        if one["kind"] in PLACES:
            await api.ask("POST", PLACES[one["kind"]], one)
        else:
            await make(api, one)


class Clusters:
    """Runs something while a cluster with these things in it answers."""

    def __init__(self, folder: Path, workload: Path) -> None:
        self.kubeconfig = folder / "kubeconfig"
        self._workload = workload

    def settings(self, **given: Any) -> Settings:
        named = {"platform": "kubernetes", "kubeconfig": self.kubeconfig, "context": "hub", **given}
        return Settings(self._workload, **named)

    def run(self, things: tuple[Json, ...], work: Callable[[ApiClient], Awaitable[None]]) -> None:
        async def scenario() -> None:
            emulator = EdgeEmulator("hub")
            await emulator.start("127.0.0.1", 0)
            api = ApiClient("hub", Access(emulator.address, None))
            self.kubeconfig.write_text(emulator.kubeconfig("http://{}:{}".format(*emulator.address)))
            try:
                await put(api, *things)
                await work(api)
            finally:
                await api.close()
                await emulator.stop()

        asyncio.run(scenario())


@pytest.fixture
def clusters(tmp_path: Path) -> Clusters:
    workload = tmp_path / "workload.yaml"
    workload.touch()
    (tmp_path / "kubeconfig").touch()
    return Clusters(tmp_path, workload)


def checked(clusters: Clusters, things: tuple[Json, ...]) -> dict[str, str]:
    images: dict[str, str] = {}

    async def work(api: ApiClient) -> None:
        found = await asyncio.to_thread(check_installed, clusters.settings(), SERVICES)
        images.update({name: one.name for name, one in found.items()})

    clusters.run(things, work)
    return images


def test_an_emco_that_is_open_to_the_harness_is_known_by_its_images(clusters: Clusters) -> None:
    images = checked(clusters, (*INSTALLED, *STORES, NODE))
    assert images == {"clm": "r/emco-clm:22.09", "rsync": "r/emco-rsync:22.09"}


def reference(service: str) -> Json:
    made = deployment(service)
    made["spec"]["template"]["spec"]["containers"][0]["image"] = "emco-chaos/reference:1"
    return made


@pytest.mark.parametrize(
    "things,said",
    [
        ((namespace(), *INSTALLED[1:], *STORES, NODE), "namespace emco of hub is not open to the harness"),
        ((INSTALLED[0], *STORES, NODE), "one Deployment with the label app=clm, it has none"),
        ((*INSTALLED, STORES[0], NODE), "no Service emco-etcd with the port 2379"),
        ((*INSTALLED, service("emco-mongo", 27018), STORES[1], NODE), "no Service emco-mongo with the port 27017"),
        (
            (INSTALLED[0], *map(config_map, SERVICES), *map(reference, SERVICES), *STORES, NODE),
            "is the reference EMCO of the harness; use --platform kind",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_changed(
    clusters: Clusters, things: tuple[Json, ...], said: str
) -> None:
    with pytest.raises(UsageError) as refused:
        checked(clusters, things)
    assert said in str(refused.value)
    assert str(refused.value).startswith("--context hub: ")


def test_a_context_that_is_not_in_the_file_is_refused(clusters: Clusters) -> None:
    async def work(api: ApiClient) -> None:
        with pytest.raises(UsageError, match="there is no context 'other'"):
            await asyncio.to_thread(check_installed, clusters.settings(context="other"), SERVICES)

    clusters.run((), work)


@pytest.mark.parametrize(
    "given,said",
    [
        ({"context": ""}, "--platform kubernetes needs the cluster: --kubeconfig FILE and --context NAME"),
        ({"kubeconfig": None}, "--platform kubernetes needs the cluster"),
        ({"kubeconfig": Path("/no/file")}, "--kubeconfig /no/file: no such file"),
        ({"emco_version": "22.09"}, "takes the EMCO that is there"),
        ({"reference": "fixed"}, "has no meaning with --emco-bin or --emco"),
        ({"platform": "kind"}, "--kubeconfig and --context are for --platform kubernetes"),
        ({"workers": 2}, "in a cluster there is one worker"),
    ],
)
def test_settings_that_make_no_sense_are_refused(clusters: Clusters, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        clusters.settings(**given)
    assert said in str(refused.value)


async def of_hub(_: str) -> str:
    return "hub"


async def of_none(_: str) -> str:
    return ""


def test_the_node_of_a_kind_cluster_is_within_reach_when_there_is_but_one(clusters: Clusters) -> None:
    async def work(api: ApiClient) -> None:
        found = await kind_nodes(api, of_hub)
        assert found == KindNodes("hub", ("hub-control-plane",))
        assert (found.within_reach("auto"), found.within_reach("none")) == ("hub-control-plane", "")
        await put(api, {**node("kind://docker/hub/hub-worker"), "metadata": {"name": "n2"}})
        found = await kind_nodes(api, of_hub)
        assert (found.cluster, sorted(found.names)) == ("hub", ["hub-control-plane", "hub-worker"])
        assert found.within_reach("auto") == ""

    clusters.run((NODE,), work)


@pytest.mark.parametrize(
    "things,cluster_of",
    [
        ((), of_hub),
        ((node("aws:///i-1"),), of_hub),
        ((NODE, {**node("aws:///i-1"), "metadata": {"name": "n2"}}), of_hub),
        ((NODE,), of_none),  # of the same name, on another machine
        ((node("kind://docker/other/hub-control-plane"),), of_hub),
    ],
)
def test_nodes_of_any_other_cluster_are_out_of_reach(
    clusters: Clusters, things: tuple[Json, ...], cluster_of: Callable[[str], Awaitable[str]]
) -> None:
    async def work(api: ApiClient) -> None:
        found = await kind_nodes(api, cluster_of)
        assert (found, found.within_reach("auto")) == (KindNodes(), "")

    clusters.run(things, work)


def test_an_emco_is_accepted_whoever_made_its_cluster(clusters: Clusters) -> None:
    assert set(checked(clusters, (*INSTALLED, *STORES, node("aws:///i-1")))) == set(SERVICES)


def test_where_images_cannot_be_loaded_that_of_emulated_edges_has_to_be_named(clusters: Clusters) -> None:
    with pytest.raises(UsageError, match=r"\(p1\+c1\).*push emco-chaos/reference:.*EMCO_CHAOS_EDGES_IMAGE"):
        pulled_image(clusters.settings(), Wiring(SERVICES, ("p1+c1",)))
    assert pulled_image(clusters.settings(edges_image="r/edges:1"), Wiring(SERVICES, ("p1+c1",))) == "r/edges:1"
    assert pulled_image(clusters.settings(), Wiring(SERVICES, ())) == ""


def test_passwords_are_those_of_the_store_charts_secrets(clusters: Clusters) -> None:
    async def work(api: ApiClient) -> None:
        assert await read_passwords(api) == Passwords()
        metadata = {"name": "emco-mongo", "namespace": "emco"}
        data = {"rootPassword": "cC9A"}
        await put(api, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
        found = await read_passwords(api)
        assert found == Passwords(mongo="p/@")
        assert found.mongo_uri("h", 1) == "mongodb://root:p%2F%40@h:1/?directConnection=true&authSource=admin"

    clusters.run((INSTALLED[0],), work)


def test_passwords_are_shown_to_nobody() -> None:
    assert "secret" not in repr(Passwords("secret", "secret"))


def own(**labels: str) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "emco-chaos", "labels": labels}}


@pytest.mark.parametrize(
    "things,told,left",
    [
        ((own(**{ALLOWED: "true"}),), "is removed", False),
        ((), "is removed", False),
        ((own(),), "could not be removed: the namespace emco-chaos of hub is not open", True),
    ],
)
def test_rollback_removes_the_relays_namespace_where_it_is_the_harnesss(
    clusters: Clusters, tmp_path: Path, things: tuple[Json, ...], told: str, left: bool
) -> None:
    async def work(api: ApiClient) -> None:
        journal = Journal(tmp_path / "1-1.undo", undoers=INSTALLED_UNDOERS)
        journal.record(UNDO, file=str(clusters.kubeconfig), context="hub")
        (sentence,) = await asyncio.to_thread(rollback, tmp_path / "1-1.undo", undoers=INSTALLED_UNDOERS)
        journal.close()
        assert told in sentence
        found = await api.ask("GET", "/api/v1/namespaces/emco-chaos", accept=(404,))
        assert (found.get("kind") == "Namespace") is left

    clusters.run(things, work)
