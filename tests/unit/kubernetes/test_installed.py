"""An installed EMCO: what is asked before anything is changed, and what is taken back."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harness.faults.journal import Journal, left, rollback
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.edge_emulator import EdgeEmulator
from harness.platforms.edges.access import Access
from harness.platforms.edges.client import ApiClient
from harness.platforms.edges.running import ALLOWED
from harness.platforms.kubernetes.idle import Idle
from harness.platforms.kubernetes.install import Release, install_relay
from harness.platforms.kubernetes.installed import (
    INSTALLED_UNDOERS,
    UNDO,
    Owed,
    _lend,
    check_installed,
    resting_services,
)
from harness.platforms.kubernetes.splice import Splice, Where
from harness.platforms.kubernetes.stores import KeptStores, Passwords, behind, cut_off, read_passwords
from harness.platforms.kubernetes.wiring import Wiring
from harness.platforms.settings import Settings
from tests.unit.kubernetes.test_splice import INSTALLED, config_map, deployment, make, namespace

Json = dict[str, Any]
SERVICES = ("clm", "rsync")
PLACES = {
    "Node": "/api/v1/nodes",
    "Service": "/api/v1/namespaces/emco/services",
    "Secret": "/api/v1/namespaces/emco/secrets",
    "Pod": "/api/v1/namespaces/emco/pods",
    "Endpoints": "/api/v1/namespaces/emco/endpoints",
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


def own(**labels: str) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "emco-chaos", "labels": labels}}


def beside(service: str) -> Json:
    """A pod as it is when a proxy is put into it."""
    containers = [{"name": "istio-proxy", "image": "proxy"}, {"name": service, "image": "r/emco-clm:22.09"}]
    metadata = {"name": f"{service}-1", "namespace": "emco", "labels": {"app": service}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}


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
        ((*INSTALLED, *STORES, NODE, own()), "the namespace emco-chaos of hub is there and lacks the label"),
        ((*INSTALLED, *STORES, NODE, beside("clm")), "the pod clm-1 has 2 containers (istio-proxy, clm)"),
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
        ({"context": ""}, "--platform kubernetes needs to be told which cluster: --context NAME"),
        ({"kubeconfig": None}, "needs to be told which cluster: --kubeconfig FILE"),
        ({"kubeconfig": Path("/no/file")}, "--kubeconfig /no/file: no such file"),
        ({"emco_version": "22.09"}, "takes the EMCO that is there"),
        ({"reference": "fixed"}, "has no meaning with --emco-bin or --emco"),
        ({"platform": "kind"}, "--kubeconfig and --context are for --platform kubernetes"),
        ({"workers": 2}, "an installed EMCO is one, so there is one worker"),
    ],
)
def test_settings_that_make_no_sense_are_refused(clusters: Clusters, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        clusters.settings(**given)
    assert said in str(refused.value)


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
        done = await asyncio.to_thread(rollback, tmp_path / "1-1.undo", undoers=INSTALLED_UNDOERS)
        journal.close()
        (sentence,) = (*done.told, *done.failed)
        assert told in sentence
        assert (done.failed != (), (tmp_path / "1-1.undo").exists()) == (left, left)
        found = await api.ask("GET", "/api/v1/namespaces/emco-chaos", accept=(404,))
        assert (found.get("kind") == "Namespace") is left

    clusters.run(things, work)


@pytest.mark.parametrize("things,told", [((own(),), False), ((), True)])
def test_an_undo_that_could_not_be_played_stays_to_be_played_again(
    clusters: Clusters, tmp_path: Path, things: tuple[Json, ...], told: bool
) -> None:
    async def work(api: ApiClient) -> None:
        path = tmp_path / "1-1.undo"
        with contextlib.closing(Journal(path, undoers=INSTALLED_UNDOERS)) as journal:
            journal.record(UNDO, file=str(clusters.kubeconfig), context="hub")
        await asyncio.to_thread(rollback, path, undoers=INSTALLED_UNDOERS)
        assert path.exists() is not told

    clusters.run(things, work)


EMPTY = Wiring(("clm",), ())


async def namespace_now(api: ApiClient) -> Json:
    return await api.ask("GET", "/api/v1/namespaces/emco-chaos", accept=(404,))


def test_a_namespace_of_somebody_else_is_neither_opened_nor_removed(clusters: Clusters, tmp_path: Path) -> None:
    """Its own label would open it, and what is open is removed at the end."""

    async def work(api: ApiClient) -> None:
        before = await namespace_now(api)
        where, path = Where(clusters.kubeconfig, "hub"), tmp_path / "1-1.undo"
        release = Release(EMPTY, "i", "p", "faithful", is_foreign=True)
        with pytest.raises(HarnessTrouble, match="somebody else's, and nothing is touched in it"):
            await install_relay(api, release)
        with contextlib.closing(Journal(path, undoers=INSTALLED_UNDOERS)) as journal:
            kept = KeptStores(where, journal, tmp_path / "stores")
            owed = Owed(Splice(EMPTY, where, journal), Idle(("clm",), where, journal), kept)
            with pytest.raises(HarnessTrouble, match="somebody else's"):
                async with contextlib.AsyncExitStack() as stack:
                    await _lend(api, release, owed, where, journal, stack)
            assert left(path) == ()
        assert await namespace_now(api) == before

    clusters.run((own(),), work)


NCM = {**deployment("ncm"), "spec": {**deployment("ncm")["spec"], "replicas": 3}}
GUI = deployment("emco-gui")
_DEPLOYMENTS = "/apis/apps/v1/namespaces/emco/deployments"


async def replicas(api: ApiClient) -> dict[str, int]:
    listed = (await api.ask("GET", _DEPLOYMENTS))["items"]
    return {one["metadata"]["name"]: one["spec"]["replicas"] for one in listed}


def test_services_that_the_workload_does_not_need_rest_until_the_end_of_the_run(
    clusters: Clusters, tmp_path: Path
) -> None:
    async def work(api: ApiClient) -> None:
        before, path = await replicas(api), tmp_path / "1-1.undo"
        assert await asyncio.to_thread(resting_services, clusters.settings(), SERVICES) == ("ncm",)
        with contextlib.closing(Journal(path, undoers=INSTALLED_UNDOERS)) as journal:
            idle = Idle(SERVICES, Where(clusters.kubeconfig, "hub"), journal)
            assert await idle.stop(api) == ("ncm",)
            assert await replicas(api) == {**before, "emco-ncm": 0}
            await idle.start(api)
            assert await replicas(api) == before
            assert left(path) == ()

    clusters.run((*INSTALLED, NCM, GUI), work)


def test_rollback_starts_services_again_that_a_killed_run_let_rest(clusters: Clusters, tmp_path: Path) -> None:
    async def work(api: ApiClient) -> None:
        before, path = await replicas(api), tmp_path / "1-1.undo"
        with contextlib.closing(Journal(path, undoers=INSTALLED_UNDOERS)) as journal:
            await Idle(SERVICES, Where(clusters.kubeconfig, "hub"), journal).stop(api)
        told = await asyncio.to_thread(rollback, path, undoers=INSTALLED_UNDOERS)
        assert told.told == ("emco-ncm (hub) runs again, with 3 pods",)
        assert await replicas(api) == before

    clusters.run((*INSTALLED, NCM), work)


def endpoints(pod: str, *ports: Json) -> Json:
    address = {"ip": "10.0.0.1", "targetRef": {"kind": "Pod", "name": pod}}
    metadata = {"name": "emco-mongo", "namespace": "emco"}
    subsets = [{"addresses": [address], "ports": list(ports)}]
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}


def test_a_store_is_found_at_the_pod_to_which_its_service_leads(clusters: Clusters) -> None:
    async def work(api: ApiClient) -> None:
        with pytest.raises(HarnessTrouble, match="emco-mongo leads to no pod that is ready within 0 s"):
            await behind(api, "emco-mongo", limit=0)
        await put(api, endpoints("m-0", {"port": 9216, "name": "metrics"}, {"port": 27018, "name": "db"}))
        assert await behind(api, "emco-mongo", limit=0) == ("/api/v1/namespaces/emco/pods/m-0", 27018)

    metrics = {"name": "metrics", "port": 9216}
    mongo = {**service("emco-mongo", 0), "spec": {"ports": [metrics, {"name": "db", "port": 27017}]}}
    clusters.run((INSTALLED[0], mongo), work)


def test_whoever_was_led_to_the_relay_is_cut_off_by_removing_it(clusters: Clusters) -> None:
    relay = "/apis/apps/v1/namespaces/emco-chaos/deployments"

    async def work(api: ApiClient) -> None:
        where = Where(clusters.kubeconfig, "hub")
        await cut_off(where)  # nothing is there
        made = deployment("relay", name="relay")
        made["metadata"]["namespace"] = "emco-chaos"
        await api.ask("POST", relay, made)
        await cut_off(where)
        assert (await api.ask("GET", relay))["items"] == []

    clusters.run((own(**{ALLOWED: "true"}),), work)
