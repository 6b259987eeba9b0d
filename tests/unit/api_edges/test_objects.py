"""What of a cluster counts, and how it is put back."""

from copy import deepcopy
from typing import Any

import pytest

from harness.faults.victim import HarnessTrouble
from harness.platforms.edge_emulator.storage import Key
from harness.platforms.edges.objects import Collection, collection_of, creation_order, intent, kept, listed
from harness.platforms.edges.running import Rules

Json = dict[str, Any]


@pytest.mark.parametrize(
    "path, version, plural",
    [
        ("/api/v1/namespaces/default/configmaps/cm", "v1", "configmaps"),
        ("/api/v1/namespaces/default/configmaps", "v1", "configmaps"),
        ("/api/v1/namespaces/ns2", "v1", "namespaces"),
        ("/api/v1/namespaces", "v1", "namespaces"),
        ("/api/v1/namespaces/ns2/status", "v1", "namespaces"),
        ("/api/v1/namespaces/ns2/finalize", "v1", "namespaces"),
        ("/apis/apps/v1/namespaces/default/deployments/web/scale", "apps/v1", "deployments"),
        ("/apis/k8splugin.io/v1alpha1/namespaces/d/resourcebundlestates/1-a", "k8splugin.io/v1alpha1",
         "resourcebundlestates"),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles/r", "rbac.authorization.k8s.io/v1", "clusterroles"),
        ("/apis/certificates.k8s.io/v1/certificatesigningrequests/u/approval", "certificates.k8s.io/v1",
         "certificatesigningrequests"),
    ],
)  # fmt: skip
def test_what_a_path_is_about(path: str, version: str, plural: str) -> None:
    assert Collection(version, plural) == collection_of(path)


@pytest.mark.parametrize("path", ["/version", "/api", "/api/v1", "/apis/apps/v1", "/healthz", ""])
def test_paths_that_are_about_no_objects(path: str) -> None:
    assert collection_of(path) is None


def test_paths_of_a_collection() -> None:
    deployments = Collection("apps/v1", "deployments")
    assert (deployments.group, deployments.path) == ("apps", "/apis/apps/v1/deployments")
    assert deployments.object_path("n", "web") == "/apis/apps/v1/namespaces/n/deployments/web"
    assert Collection("v1", "namespaces").object_path("", "ns2") == "/api/v1/namespaces/ns2"


def test_lists_get_their_kind_back_and_what_controllers_made_is_not_emcos() -> None:
    owned = {"name": "web-1", "namespace": "d", "ownerReferences": [{"kind": "ReplicaSet", "controller": True}]}
    other = {"name": "web-2", "namespace": "d", "ownerReferences": [{"kind": "Chart"}]}
    answer = {"kind": "PodList", "items": [{"metadata": owned}, {"metadata": other}]}
    assert [(Key("", "pods", "d", "web-2"), {"apiVersion": "v1", "kind": "Pod", "metadata": other})] == listed(
        Collection("v1", "pods"), answer
    )


def test_a_snapshot_leaves_out_what_controllers_add() -> None:
    revision = "deployment.kubernetes.io/revision"
    thing = {"kind": "Deployment", "metadata": {"name": "web", "managedFields": [1], "annotations": {revision: "2"}}}
    assert kept(thing) == {"kind": "Deployment", "metadata": {"name": "web"}}
    thing["metadata"]["annotations"] = {revision: "2", "mine": "x"}  # type: ignore[index]  # a literal of mixed values
    assert kept(thing)["metadata"]["annotations"] == {"mine": "x"}


def test_intent_is_what_can_be_created_again_and_leaves_its_argument_alone() -> None:
    uid = {"batch.kubernetes.io/controller-uid": "1", "job-name": "j"}
    job: Json = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "j", "uid": "1", "resourceVersion": "7", "generation": 1, "creationTimestamp": "t",
            "labels": {"mine": "x", **uid}, "finalizers": ["batch.kubernetes.io/job-tracking"],
        },
        "spec": {"selector": {"matchLabels": uid}, "template": {"metadata": {"labels": {"app": "a", **uid}}}},
        "status": {"active": 1},
    }  # fmt: skip
    before = deepcopy(job)
    assert intent(job) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j", "labels": {"mine": "x"}},
        "spec": {"template": {"metadata": {"labels": {"app": "a"}}}},
    }
    assert before == job
    job["spec"]["manualSelector"] = True
    assert {"matchLabels": uid} == intent(job)["spec"]["selector"]


def test_finalizers_of_the_owner_stay() -> None:
    thing = {"kind": "ConfigMap", "metadata": {"name": "a", "finalizers": ["mine/one"]}}
    assert intent(thing)["metadata"]["finalizers"] == ["mine/one"]


def test_namespaces_are_made_first() -> None:
    things = [{"kind": "ConfigMap"}, {"kind": "Namespace"}, {"kind": "Secret"}]
    assert [thing["kind"] for thing in creation_order(things)] == ["Namespace", "ConfigMap", "Secret"]


def config_map(namespace: str) -> tuple[Key, Json]:
    return Key("", "configmaps", namespace, "cm"), {}


def test_only_open_namespaces_and_emcos_own_are_touched() -> None:
    rules = Rules("p1+c1", frozenset({"open", "kube-system"}))
    made: tuple[Key, Json] = (Key("", "namespaces", "", "made"), {})
    rules.check([config_map("open"), made, config_map("made"), (Key("rbac", "clusterroles", "", "r"), {})])
    for namespace in ("default", "kube-system", "made"):
        with pytest.raises(HarnessTrouble, match="does not carry the label emco-chaos/allowed=true"):
            rules.check([config_map("open"), config_map(namespace)])
    with pytest.raises(HarnessTrouble):  # never, whatever EMCO did
        rules.check([(Key("", "namespaces", "", "kube-system"), {}), config_map("kube-system")])
