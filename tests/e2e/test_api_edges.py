"""Edges on a real kube-apiserver: EMCO's objects are read, put back, brought to rest; points end as on the emulator."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess, run
from typing import Any

import pytest

from harness.faults.journal import UNDOERS, Journal, rollback
from harness.platforms.edges.objects import intent
from harness.platforms.edges.running import CLUSTER_UNDOERS, UNDO
from tests.e2e.api_server import ApiServer, api_server, needs_api_server

pytestmark = needs_api_server

Json = dict[str, Any]
LABEL = {"emco/deployment-id": "123-app1"}
PROGRAM = Path(sys.executable).parent / "emco-chaos"
POINTS = (
    "orchestrator/deployment-intent-groups/terminate-dig1@after:mongo.stateInfo.crash",
    "orchestrator/deployment-intent-groups/terminate-dig1@after:grpc.UninstallApp.crash",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(autouse=True)
def empty(server: ApiServer) -> Iterator[None]:
    yield
    server.run(server.edge.clear())


def config_map(name: str = "cm", **data: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": LABEL},
        "data": data,
    }


def deployment(image: str = "pause:1") -> Json:
    labels = {"app": "web", **LABEL}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "labels": LABEL},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    }


def report() -> Json:
    return {
        "apiVersion": "k8splugin.io/v1alpha1",
        "kind": "ResourceBundleState",
        "metadata": {"name": "123-app1", "namespace": "default", "labels": LABEL},
        "spec": {"selector": {"matchLabels": LABEL}},
    }


def job() -> Json:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once", "namespace": "default", "labels": LABEL},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "pause:1"}]}}},
    }


def apply_all(server: ApiServer) -> None:
    """What EMCO might apply, known to the edge as if it had passed the relay."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns2", "labels": LABEL}}
    server.apply(namespace, namespace="")
    inside = config_map("inside")
    inside["metadata"]["namespace"] = "ns2"
    server.apply(inside, namespace="ns2")
    for thing in (config_map(greeting="hello"), deployment(), report(), job()):
        server.apply(thing)
    for _, thing in server.run(server.edge.leftovers()):
        server.run(server.edge._place(thing))


EVERYTHING = [
    "ConfigMap cm", "ConfigMap inside", "Namespace ns2", "Deployment web", "Job once", "ResourceBundleState 123-app1",
]  # fmt: skip


def intents(objects: list[Json]) -> list[Json]:
    return [intent(thing) for thing in objects]


def test_a_restore_makes_exactly_what_was_there(server: ApiServer) -> None:
    apply_all(server)
    before = server.run(server.edge.objects())
    assert server.names() == EVERYTHING
    # deleted, changed, changed where it cannot be changed, and one too many
    server.ask("DELETE", "/apis/batch/v1/namespaces/default/jobs/once", {"propagationPolicy": "Foreground"})
    server.ask("DELETE", "/api/v1/namespaces/ns2")
    changed = server.ask("GET", "/api/v1/namespaces/default/configmaps/cm") | {"data": {"greeting": "bonjour"}}
    server.ask("PUT", "/api/v1/namespaces/default/configmaps/cm", changed)
    server.ask("DELETE", "/apis/apps/v1/namespaces/default/deployments/web")
    other = deployment()
    other["spec"]["selector"]["matchLabels"]["tier"] = other["spec"]["template"]["metadata"]["labels"]["tier"] = "a"
    server.apply(other)
    server.apply(config_map("more"))

    server.run(server.edge.restore(before))

    assert server.names() == EVERYTHING
    assert intents(server.run(server.edge.objects())) == intents(before)
    server.run(server.edge.restore(()))
    assert server.names() == []
    assert server.ask("GET", "/api/v1/namespaces/ns2", accept=(404,))["code"] == 404


def test_a_restore_of_what_is_there_writes_nothing(server: ApiServer) -> None:
    apply_all(server)
    before = server.run(server.edge.objects())
    server.run(server.edge.restore(before))
    versions = {thing["metadata"]["uid"]: thing["metadata"]["resourceVersion"] for thing in before}
    after = server.run(server.edge.objects())
    assert {thing["metadata"]["uid"]: thing["metadata"]["resourceVersion"] for thing in after} == versions


def test_only_emcos_objects_count(server: ApiServer) -> None:
    mine = config_map("mine")
    del mine["metadata"]["labels"]
    server.apply(mine)
    apply_all(server)
    server.run(server.edge.restore(()))
    assert server.names() == []
    assert server.ask("GET", "/api/v1/namespaces/default/configmaps/mine")["metadata"]["name"] == "mine"
    server.ask("DELETE", "/api/v1/namespaces/default/configmaps/mine")


def test_the_stand_ins_report_what_emcos_monitor_would(server: ApiServer) -> None:
    apply_all(server)
    found = {thing["kind"]: thing for thing in server.run(server.edge.objects())}
    status = found["ResourceBundleState"]["status"]
    assert (status["ready"], status["resourceCount"]) == (True, 4)  # its namespace, too
    assert status["deploymentStatuses"][0]["status"]["readyReplicas"] == 2
    assert {one["type"] for one in found["Job"]["status"]["conditions"]} == {"Complete", "SuccessCriteriaMet"}


def test_a_change_is_reported_without_being_asked_for(server: ApiServer) -> None:
    apply_all(server)
    server.run(server.edge.objects())
    path = "/apis/k8splugin.io/v1alpha1/namespaces/default/resourcebundlestates"
    version = server.ask("GET", path)["metadata"]["resourceVersion"]

    async def next_report() -> int:
        async for event in server.client.watch(path, query="", since=version):
            return int(event["object"]["status"]["resourceCount"])
        return -1

    server.ask("DELETE", "/apis/apps/v1/namespaces/default/deployments/web")
    assert server.run(next_report()) == 3


def cli(home: Path, *arguments: str | Path) -> CompletedProcess[str]:
    env = {**os.environ, "XDG_CACHE_HOME": str(home / "cache"), "XDG_STATE_HOME": str(home / "state")}
    return run([PROGRAM, *arguments], env=env, capture_output=True, text=True, timeout=110, check=False, cwd=home)


def outcomes(summary: Json) -> dict[str, str]:
    return {one["id"]: one["outcome"] for one in summary["results"]}


WORKLOAD = """
version: emco/v2
resourceContext:
  anchor: projects
metadata:
  name: proj1
"""


def test_a_cluster_that_the_workload_does_not_have_is_refused(tmp_path: Path, server: ApiServer) -> None:
    workload = tmp_path / "w.yaml"
    workload.write_text(WORKLOAD, encoding="utf-8")
    ended = cli(tmp_path, "run", "-w", workload, "--edge-kubeconfig", f"p1+c1={server.kubeconfig}")
    assert ended.returncode == 2
    assert "the workload registers no cluster p1+c1; it registers none" in ended.stderr
    assert not (tmp_path / "cache").exists()


def test_a_running_cluster_has_to_be_opened_and_empty(tmp_path: Path, server: ApiServer) -> None:
    arguments = ("points", "--edge-kubeconfig", f"p1+c1={server.kubeconfig}")
    ended = cli(tmp_path, *arguments)
    assert (ended.returncode, "no namespace is open to the harness" in ended.stderr) == (2, True), ended.stderr
    try:
        label(server, "default", "true")
        server.apply(config_map())
        ended = cli(tmp_path, *arguments)
        assert ended.returncode == 2
        assert "1 objects on it carry the label emco/deployment-id, as configmaps default/cm" in ended.stderr
        label(server, "kube-system", "true")
        ended = cli(tmp_path, *arguments)
        assert ended.returncode == 2
        assert "the namespace kube-system carries the label emco-chaos/allowed" in ended.stderr
        server.apply(config_map("another"))  # nobody touched what was there
        assert {key.name for key, _ in server.run(server.edge.leftovers())} == {"cm", "another"}
    finally:
        label(server, "default", None)
        label(server, "kube-system", None)


def label(server: ApiServer, namespace: str, value: str | None) -> None:
    patch = {"metadata": {"labels": {"emco-chaos/allowed": value}}}
    server.ask("PATCH", f"/api/v1/namespaces/{namespace}", patch, content="application/merge-patch+json")


def test_rollback_cleans_a_cluster_that_a_killed_run_used(tmp_path: Path, server: ApiServer) -> None:
    label(server, "default", "true")
    try:
        apply_all(server)
        path = tmp_path / "1-1.undo"
        journal = Journal(path, undoers=CLUSTER_UNDOERS)
        journal.record(UNDO, name="p1+c1", file=str(server.kubeconfig), context="", definition="")
        journal.close()
        assert rollback(path, undoers={**UNDOERS, **CLUSTER_UNDOERS}).told == (
            "edge p1+c1: 6 objects of EMCO's removed",
        )
        assert server.names() == []
    finally:
        label(server, "default", None)


@pytest.mark.timeout(300)
def test_points_end_alike_on_every_kind_of_edge(tmp_path: Path, server: ApiServer) -> None:
    """The built-in workload learned on each, and points as on the emulator; a running cluster is left as it was."""
    label(server, "default", "true")
    ended: dict[str, dict[str, str]] = {}
    try:
        for kind, options in {
            "emulator": (),
            "own": ("--edges", "kube-apiserver"),
            "running": ("--edge-kubeconfig", f"p1+c1={server.kubeconfig}#kind-c"),
        }.items():
            done = cli(tmp_path, "run", *POINTS, *options, "-n", "1", "--json", "--out", tmp_path / kind)
            assert done.returncode == 0, done.stderr
            ended[kind] = outcomes(json.loads(done.stdout))
    finally:
        label(server, "default", None)
    assert ended["own"] == ended["running"] == dict(zip(POINTS, ("atomic", "needs-repair"), strict=True))
    assert server.run(server.edge.leftovers()) == []
