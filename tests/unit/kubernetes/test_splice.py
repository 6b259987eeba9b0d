"""An EMCO as its charts install it, found by labels, led to the relay and back; the API server is the emulator."""

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harness.faults.journal import Journal, left, rollback
from harness.faults.victim import HarnessTrouble
from harness.platforms.edge_emulator import EdgeEmulator
from harness.platforms.edges.access import Access
from harness.platforms.edges.client import ApiClient
from harness.platforms.edges.running import ALLOWED
from harness.platforms.kubernetes.found import Found, find_emco
from harness.platforms.kubernetes.splice import WIRING_UNDOERS, Splice, Where, led
from harness.platforms.kubernetes.wiring import Wiring

Json = dict[str, Any]
WIRING = Wiring(("clm", "rsync"), ())
CONFIG = {"database-type": "mongo", "database-ip": "emco-mongo", "etcd-ip": "emco-etcd", "service-port": "9061"}
DEPLOYMENTS, CONFIG_MAPS = "/apis/apps/v1/namespaces/emco/deployments", "/api/v1/namespaces/emco/configmaps"


def namespace(**labels: str) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "emco", "labels": labels}}


def config_map(service: str, config: Json | str = "") -> Json:
    text = config if isinstance(config, str) and config else json.dumps(config or CONFIG)
    name = {"name": f"emco-{service}", "namespace": "emco"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": name, "data": {"config.json": text}}


def with_proxy(service: str) -> Json:
    """A Deployment with a container beside the service."""
    made = deployment(service)
    made["spec"]["template"]["spec"]["containers"].append({"name": "proxy", "image": "p"})
    return made


def with_lasting_helper(service: str) -> Json:
    """The same, as Kubernetes has it now: an init container that stays."""
    made = deployment(service)
    helper = {"name": "proxy", "image": "p", "restartPolicy": "Always"}
    made["spec"]["template"]["spec"]["initContainers"] = [helper, {"name": "once", "image": "p"}]
    return made


def deployment(service: str, *, name: str = "", mounted: str = "config.json") -> Json:
    """As EMCO's charts have it."""
    labels = {"app": service, "release": "emco"}
    container = {
        "name": service,
        "image": f"r/emco-{service}:22.09",
        "env": [{"name": "EMCO_METRICS_POLLING_INTERVAL_SECS", "value": "15"}, {"name": "APP_NAME", "value": "x"}],
        "volumeMounts": [
            {"name": "localtime", "mountPath": "/etc/localtime"},
            {"name": service, "mountPath": f"/opt/emco/{service}/config.json", "subPath": mounted},
        ],
    }
    volumes = [
        {"name": "localtime", "hostPath": {"path": "/etc/localtime"}},
        {"name": service, "configMap": {"name": f"emco-{service}"}},
    ]
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "volumes": volumes}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name or f"emco-{service}",
            "namespace": "emco",
            "labels": {**labels, "heritage": "Helm"},
        },
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }


async def make(api: ApiClient, *things: Json) -> None:
    places = {"Namespace": "/api/v1/namespaces", "ConfigMap": CONFIG_MAPS, "Deployment": DEPLOYMENTS}
    for one in things:
        await api.ask("POST", places[one["kind"]], one)


INSTALLED = (
    namespace(**{ALLOWED: "true"}),
    *map(config_map, WIRING.services),
    *map(deployment, WIRING.services),
)

Work = Callable[[ApiClient, Splice, Where], Awaitable[None]]


def on_cluster(tmp_path: Path, work: Work, *, max_retries: str = "") -> Path:
    """Do something with a cluster that answers as an API server; the undo journal that is left."""
    path = tmp_path / "1-1.wiring.undo"

    async def run() -> None:
        emulator = EdgeEmulator("hub")
        await emulator.start("127.0.0.1", 0)
        api = ApiClient("hub", Access(emulator.address, None))
        where = Where(tmp_path / "kubeconfig", "")
        where.kubeconfig.write_text(emulator.kubeconfig("http://{}:{}".format(*emulator.address)))
        journal = Journal(path, undoers=WIRING_UNDOERS)
        try:
            await work(api, Splice(WIRING, where, journal, max_retries=max_retries), where)
        finally:
            journal.close()
            await api.close()
            await emulator.stop()

    asyncio.run(run())
    return path


async def state(api: ApiClient) -> list[Json]:
    """What was specified, without what the server counts."""
    found = []
    for path, field in ((CONFIG_MAPS, "data"), (DEPLOYMENTS, "spec")):
        listed = await api.ask("GET", path)
        found += [{one["metadata"]["name"]: one[field]} for one in listed["items"]]
    return found


def test_services_are_led_to_the_relay_and_back_exactly(tmp_path: Path) -> None:
    async def work(api: ApiClient, splice: Splice, where: Where) -> None:
        await make(api, *INSTALLED)
        before = await state(api)
        await splice.put(api, "relay-1")
        found = await find_emco(api, "emco", WIRING.services)
        assert {one.config["database-ip"] for one in found.values()} == {
            "relay-clm.emco-chaos",
            "relay-rsync.emco-chaos",
        }
        assert splice.deployment("clm") == "emco-clm"
        assert len(left(tmp_path / "1-1.wiring.undo")) == 2
        await splice.take_back(api)
        assert await state(api) == before

    assert not on_cluster(tmp_path, work).exists()


def test_rsync_gives_up_after_as_many_tries_as_an_experiment_sets_until_it_is_taken_back(tmp_path: Path) -> None:
    async def work(api: ApiClient, splice: Splice, where: Where) -> None:
        await make(api, *INSTALLED)
        before = await state(api)
        await splice.put(api, "relay-1")
        found = await find_emco(api, "emco", WIRING.services)
        assert {name: one.config.get("max-retries") for name, one in found.items()} == {"clm": None, "rsync": "2"}
        await splice.take_back(api)
        assert await state(api) == before

    on_cluster(tmp_path, work, max_retries="2")


def test_what_leads_to_the_relay_already_is_not_taken_for_the_original(tmp_path: Path) -> None:
    async def work(api: ApiClient, splice: Splice, where: Where) -> None:
        await make(api, *INSTALLED)
        before = await state(api)
        await splice.put(api, "relay-1")
        await splice.put(api, "relay-2")
        await splice.take_back(api)
        assert await state(api) == before

    on_cluster(tmp_path, work)


def test_rollback_brings_back_what_a_killed_harness_left(tmp_path: Path) -> None:
    async def work(api: ApiClient, splice: Splice, where: Where) -> None:
        await make(api, *INSTALLED)
        before = await state(api)
        await splice.put(api, "relay-1")
        journal = tmp_path / "1-1.wiring.undo"
        told = await asyncio.to_thread(rollback, journal, undoers=WIRING_UNDOERS)
        assert sorted(told.told) == ["emco-clm () is wired as before", "emco-rsync () is wired as before"]
        assert await state(api) == before

    on_cluster(tmp_path, work)


def test_a_cluster_that_is_gone_is_said_and_stops_no_other_undo(tmp_path: Path) -> None:
    async def work(api: ApiClient, splice: Splice, where: Where) -> None:
        await make(api, *INSTALLED)
        await splice.put(api, "relay-1")

    path = on_cluster(tmp_path, work)
    told = rollback(path, undoers=WIRING_UNDOERS)
    assert (told.told, len(told.failed)) == ((), 2)
    assert all("could not be brought back" in sentence for sentence in told.failed)
    assert len(left(path)) == 2


def test_no_pod_that_goes_round_the_relay_is_left_when_services_are_led(tmp_path: Path) -> None:
    async def work(api: ApiClient, splice: Splice, where: Where) -> None:
        pods = "/api/v1/namespaces/emco/pods"
        spec = {"containers": [{"name": "clm", "image": "r/emco-clm:22.09"}]}
        metadata = {"name": "old", "namespace": "emco", "labels": {"app": "clm"}}
        await make(api, *INSTALLED)
        await api.ask("POST", pods, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        await splice.put(api, "relay-1")
        names = [one["metadata"]["name"] for one in (await api.ask("GET", pods))["items"]]
        assert "old" not in names

    on_cluster(tmp_path, work)


@pytest.mark.parametrize("labels", [{}, {ALLOWED: "false"}])
def test_nothing_is_touched_in_a_namespace_that_is_not_open(tmp_path: Path, labels: dict[str, str]) -> None:
    async def work(api: ApiClient, splice: Splice, where: Where) -> None:
        await make(api, namespace(**labels), *INSTALLED[1:])
        before = await state(api)
        with pytest.raises(HarnessTrouble, match=f"kubectl label namespace emco {ALLOWED}=true"):
            await splice.put(api, "relay-1")
        assert await state(api) == before

    on_cluster(tmp_path, work)


@pytest.mark.parametrize(
    "things,said",
    [
        (INSTALLED[:-1], "one Deployment with the label app=rsync, it has none"),
        ((*INSTALLED, deployment("rsync", name="other")), "app=rsync, it has emco-rsync, other"),
        ((*INSTALLED[:-1], deployment("rsync", mounted="other.json")), "mounts no ConfigMap as config.json"),
        ((*INSTALLED[:-1], with_proxy("rsync")), "the Deployment emco-rsync has 2 containers (rsync, proxy)"),
        ((*INSTALLED[:-1], with_lasting_helper("rsync")), "the Deployment emco-rsync has 2 containers (rsync, proxy)"),
        ((INSTALLED[0], INSTALLED[1], config_map("rsync", "{"), *INSTALLED[3:]), "no config.json that can be read"),
        (
            (INSTALLED[0], INSTALLED[1], config_map("rsync", {"etcd-ip": "x"}), *INSTALLED[3:]),
            "does not say database-ip",
        ),
    ],
)
def test_what_is_not_as_charts_have_it_is_refused_before_anything_is_changed(
    tmp_path: Path, things: tuple[Json, ...], said: str
) -> None:
    async def work(api: ApiClient, splice: Splice, where: Where) -> None:
        await make(api, *things)
        before = await state(api)
        with pytest.raises(HarnessTrouble) as refused:
            await splice.put(api, "relay-1")
        assert said in str(refused.value)
        assert await state(api) == before

    on_cluster(tmp_path, work)


def found(service: str) -> Found:
    return Found(service, "emco", deployment(service), config_map(service))


def test_a_service_that_is_led_keeps_all_else_that_it_was_told() -> None:
    made, changed = led(found("clm"), WIRING, "relay-1")
    config = json.loads(made["data"]["config.json"])
    assert {key: config[key] for key in ("database-type", "service-port")} == {
        "database-type": "mongo",
        "service-port": "9061",
    }
    assert (changed["spec"]["replicas"], changed["spec"]["strategy"]["rollingUpdate"]["maxSurge"]) == (2, 0)
    (container,) = changed["spec"]["template"]["spec"]["containers"]
    assert {one["name"]: one["value"] for one in container["env"]} == {
        "APP_NAME": "x",
        "EMCO_METRICS_POLLING_INTERVAL_SECS": "-1",
    }


def test_another_relay_makes_other_pods_and_the_original_stays_as_it_is() -> None:
    one = found("clm")
    before = copy.deepcopy(one)

    def mark(relay: str) -> str:
        return str(led(one, WIRING, relay)[1]["spec"]["template"]["metadata"]["annotations"])

    assert mark("a") == mark("a")
    assert mark("a") != mark("b")
    assert one == before
