"""Patches of the user's: what they change, and which are refused, with the file's name, before anything is made."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.faults.victim import UsageError
from harness.platforms.kubernetes.install import Release, emco_objects, harness_objects
from harness.platforms.kubernetes.needs import needed_of_chart, needed_of_manifest
from harness.platforms.kubernetes.patched import check_cluster_patches
from harness.platforms.kubernetes.patches import Patches, named, read_patches
from harness.platforms.kubernetes.wiring import Wiring

WIRING = Wiring(("orchestrator", "clm", "rsync"), ("p1+c1",))
RELEASE = Release(WIRING, "emco:1", "python:3.11-slim", "faithful")
Json = dict[str, Any]

RESOURCES = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: clm, namespace: emco}
spec: {template: {spec: {containers: [{name: clm, resources: {limits: {memory: 64Mi}}}]}}}
"""
TOLERATE = """
- {op: add, path: /spec/template/spec/tolerations, value: [{key: chaos, operator: Exists}]}
- {op: replace, path: /spec/volumeClaimTemplates/0/spec/resources/requests/storage, value: 5Gi}
"""


def kustomization(folder: Path, *patches: object, **beside: object) -> Path:
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"patches": list(patches), **beside}))
    return folder


def everything() -> list[Json]:
    return [*emco_objects(RELEASE, "t"), *harness_objects(RELEASE, "t")]


def changed(patches: Patches) -> dict[str, Json]:
    before = everything()
    return {
        named(now): now
        for now, then in zip(patches.applied(before, needed_of_manifest), before, strict=True)
        if now != then
    }


def check(patches: Patches, *, is_foreign: bool = False) -> None:
    check_cluster_patches(patches, WIRING, {}, None, is_foreign=is_foreign)


def refusal(place: Path) -> str:
    with pytest.raises(UsageError) as refused:
        check(read_patches(place))
    return str(refused.value)


def test_both_kinds_change_what_they_are_meant_for_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "clm.yaml").write_text(RESOURCES)
    stores = {"target": {"kind": "StatefulSet", "name": "mong.|etcd"}, "patch": TOLERATE}
    patches = read_patches(kustomization(tmp_path, {"path": "clm.yaml"}, stores))
    check(patches)
    made = changed(patches)
    assert set(made) == {"Deployment clm", "StatefulSet mongo", "StatefulSet etcd"}
    (container,) = made["Deployment clm"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"limits": {"memory": "64Mi"}}
    assert container["readinessProbe"]["periodSeconds"] == 1
    for store in ("mongo", "etcd"):
        spec = made[f"StatefulSet {store}"]["spec"]
        assert spec["template"]["spec"]["tolerations"] == [{"key": "chaos", "operator": "Exists"}]
        assert spec["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "5Gi"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl, to compare with its kustomize, is not on PATH")
def test_kustomize_makes_the_same_of_them(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(everything()))
    place = kustomization(
        tmp_path,
        {"patch": RESOURCES},
        {"target": {"kind": "StatefulSet"}, "patch": TOLERATE},
        resources=["all.yaml"],
    )
    asked = ["kubectl", "kustomize", str(place)]
    said = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout
    shown = yaml.safe_load((tmp_path / "kustomization.yaml").read_text())
    kustomization(tmp_path, *shown["patches"])  # what it is applied to we know
    patches = read_patches(place)
    theirs = {(named(one), one["metadata"].get("namespace")): one for one in yaml.safe_load_all(said)}
    for one in patches.applied(everything(), needed_of_manifest):
        assert _plain(theirs[named(one), one["metadata"].get("namespace")]) == _plain(one)


def _plain(value: Any) -> Any:
    """Without what says nothing: kustomize leaves it out."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if one not in (None, {}, [])}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def test_the_relay_in_a_cluster_of_somebody_elses_is_patched_and_emco_is_not(tmp_path: Path) -> None:
    secret = '[{"op": "add", "path": "/spec/template/spec/imagePullSecrets", "value": [{"name": "s"}]}]'
    check(
        read_patches(kustomization(tmp_path, {"target": {"name": "relay", "kind": "Deployment"}, "patch": secret})),
        is_foreign=True,
    )
    with pytest.raises(UsageError, match="it hits nothing"):
        check(read_patches(kustomization(tmp_path, {"patch": RESOURCES})), is_foreign=True)


@pytest.mark.parametrize(
    "patch, loss",
    [
        ('[{"op": "replace", "path": "/spec/replicas", "value": 3}]', "would change spec.replicas of Deployment clm"),
        ('[{"op": "remove", "path": "/spec/template/metadata/labels/emco-chaos~1part"}]',
         "would change spec.template.metadata.labels.emco-chaos/part"),
        ('{"spec": {"template": {"spec": {"containers": [{"name": "proxy", "image": "p"}]}}}}',
         "would put another container beside that"),
        ('{"spec": {"template": {"spec": {"initContainers": [{"name": "p", "restartPolicy": "Always"}]}}}}',
         "would put another container beside that"),
        ('{"spec": {"template": {"spec": {"containers": [{"name": "clm", "image": "other"}]}}}}',
         "would change spec.template.spec.containers[clm].image"),
        ('{"spec": {"template": {"spec": {"hostNetwork": true}}}}', "would set spec.template.spec.hostNetwork"),
        ('{"spec": {"template": {"spec": {"enableServiceLinks": true}}}}', "enableServiceLinks"),
        ('{"metadata": {"finalizers": ["x/y"]}}', "would set metadata.finalizers"),
        ("[{op: add, path: /spec/template/spec/containers/0/env/-, value: {name: EMCO_METRICS_POLLING_INTERVAL_SECS}}]",
         "would change spec.template.spec.containers[clm].env[EMCO_METRICS_POLLING_INTERVAL_SECS]"),
    ],
    ids=lambda value: value[:60],
)  # fmt: skip
def test_what_would_undo_what_the_harness_needs_is_refused(tmp_path: Path, patch: str, loss: str) -> None:
    said = refusal(kustomization(tmp_path, {"target": {"kind": "Deployment", "name": "clm"}, "patch": patch}))
    assert loss in said
    assert "kustomization.yaml, patch 1: it would" in said
    assert said.endswith("and the harness needs it as it is")


@pytest.mark.parametrize(
    "kind, name, patch",
    [
        ("ConfigMap", "clm", {"data": {"config.json": '{"database-ip": "emco-mongo", "etcd-ip": "emco-etcd"}'}}),
        ("Service", "relay-clm", {"spec": {"selector": {"app": "mongo"}}}),
        ("Service", "relay-clm", {"spec": {"ports": [{"port": 27017, "targetPort": 1}]}}),
        ("Namespace", "emco", {"metadata": {"labels": {"emco-chaos/allowed": "false"}}}),
        ("Secret", "relay", {"stringData": {"token": "other"}}),
        ("StatefulSet", "mongo", {"spec": {"replicas": 0}}),
        ("StatefulSet", "mongo", {"spec": {"volumeClaimTemplates": []}}),
    ],
)
def test_wiring_and_marks_stay(tmp_path: Path, kind: str, name: str, patch: Json) -> None:
    target = {"kind": kind, "name": name}
    assert "needs it as it is" in refusal(kustomization(tmp_path, {"target": target, "patch": json.dumps(patch)}))


def test_a_service_may_be_told_more_and_a_store_may_be_another_program(tmp_path: Path) -> None:
    config = {**json.loads(next(one for one in everything() if named(one) == "ConfigMap clm")["data"]["config.json"])}
    told = {"data": {"config.json": json.dumps({**config, "grpc-call-timeout": 500})}}
    container = {"name": "mongo", "image": "mongo:4.4", "command": ["mongod"], "args": ["--bind_ip_all"]}
    store = {"spec": {"template": {"spec": {"containers": [container]}}}}
    patches = read_patches(
        kustomization(
            tmp_path,
            {"target": {"kind": "ConfigMap", "name": "clm"}, "patch": json.dumps(told)},
            {"target": {"kind": "StatefulSet", "name": "mongo"}, "patch": json.dumps(store)},
        )
    )
    check(patches)
    assert changed(patches)["StatefulSet mongo"]["spec"]["template"]["spec"]["containers"][0]["image"] == "mongo:4.4"


@pytest.mark.parametrize(
    "entry, beside, sentence",
    [
        ({"target": {"kind": "Deployment", "name": "dcm"}, "patch": "[]"}, {}, "it hits nothing: no object is of"),
        ({"patch": RESOURCES.replace("clm", "dcm")}, {}, "is of group apps, version v1, kind Deployment, name dcm"),
        ({"target": {"name": "clm", "kind": "Deployment"}, "patch": '{"spec": {"replicas": 2}}'}, {},
         "patch 1: it changes nothing of what it is meant for"),
        ({"path": "no.yaml"}, {}, "patch 1: there is no file"),
        ({"patch": RESOURCES, "options": {"allowNameChange": True}}, {}, "`path` or `patch` is expected"),
        ({"patch": RESOURCES}, {"namePrefix": "x-"}, "only patches are taken of a kustomization, it has namePrefix"),
        ({"patch": TOLERATE}, {}, "a JSON 6902 patch needs a target"),
        ({"patch": "spec: {replicas: 1}"}, {}, "without a target it says itself what it is for"),
        ({"target": {"labelSelector": "a=b"}, "patch": TOLERATE}, {}, "a target says some of group, version, kind"),
        ({"target": {"name": "("}, "patch": TOLERATE}, {}, "( in its target is no regular expression"),
        ({"target": {"name": "clm"}, "patch": "[{op: remove}]"}, {}, "an operation has `op` and `path`"),
        ({"target": {"name": "clm", "kind": "Deployment"}, "patch": "[{op: remove, path: /spec/none}]"}, {},
         "it does not fit Deployment clm"),
        ({"target": {"name": "clm", "kind": "Deployment"}, "patch": "{$patch: delete}"}, {}, "it would delete"),
        ({"patch": "{"}, {}, "it cannot be read"),
    ],
    ids=lambda value: str(value)[:50],
)  # fmt: skip
def test_what_is_no_patch_is_said_with_its_file(tmp_path: Path, entry: Json, beside: Json, sentence: str) -> None:
    said = refusal(kustomization(tmp_path, entry, **beside))
    assert sentence in said
    assert "kustomization.yaml" in said or "no.yaml" in said


def test_a_place_without_a_kustomization_is_said(tmp_path: Path) -> None:
    assert "there is no kustomization.yaml in it" in refusal(tmp_path)
    assert "no such file or folder" in refusal(tmp_path / "none")


def test_other_patches_make_other_pods(tmp_path: Path) -> None:
    """config.json is mounted as one file, which kubelet does not renew."""

    def content(patches: Patches) -> str:
        made = emco_objects(replace(RELEASE, patches=patches), "t")
        clm = next(one for one in made if named(one) == "Deployment clm")
        return str(clm["spec"]["template"]["metadata"]["annotations"]["emco-chaos/content"])

    assert content(read_patches(kustomization(tmp_path, {"patch": RESOURCES}))) != content(Patches())


CHART = [
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "emco-clm"},
     "data": {"config.json": '{"database-ip": "emco-mongo", "etcd-ip": "emco-etcd"}'}},
    {"apiVersion": "apps/v1", "kind": "Deployment",
     "metadata": {"name": "emco-clm",
                  "labels": {"app": "clm", "release": "emco-clm", "heritage": "Helm", "chart": "clm-1"}},
     "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "clm"}}, "template": {
         "metadata": {"labels": {"app": "clm"}},
         "spec": {"containers": [{"name": "clm", "image": "i", "volumeMounts": [
             {"mountPath": "/opt/config.json", "subPath": "config.json", "name": "c"}]}],
             "volumes": [{"name": "c", "configMap": {"name": "emco-clm"}}, {"name": "t", "emptyDir": {}}]}}}},
]  # fmt: skip


def rendered(place: Path) -> "subprocess.CompletedProcess[str]":
    """As helm has it rendered: the post-renderer is a process of its own."""
    command = [sys.executable, "-m", "harness.platforms.kubernetes.patches", str(place)]
    given = yaml.safe_dump_all(CHART)
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)


def test_what_a_chart_makes_is_patched_on_its_way_into_the_cluster(tmp_path: Path) -> None:
    patch = "spec: {template: {spec: {priorityClassName: high, volumes: [{name: t, $patch: delete}]}}}"
    done = rendered(kustomization(tmp_path, {"target": {"kind": "Deployment", "name": "emco-clm"}, "patch": patch}))
    assert done.returncode == 0, done.stderr
    config, deployment = yaml.safe_load_all(done.stdout)
    assert config == CHART[0]
    pod = deployment["spec"]["template"]["spec"]
    assert pod["priorityClassName"] == "high"
    assert pod["volumes"] == [{"name": "c", "configMap": {"name": "emco-clm"}}]


@pytest.mark.parametrize(
    "patch",
    [
        "metadata: {labels: {app: other}}",
        "spec: {replicas: 1}",
        "spec: {template: {spec: {containers: [{name: clm, image: other}]}}}",
        "spec: {template: {spec: {containers: [{name: proxy}]}}}",
        "spec: {template: {spec: {volumes: [{name: c, $patch: delete}]}}}",
    ],
)
def test_a_chart_keeps_what_finds_and_leads_its_service(tmp_path: Path, patch: str) -> None:
    done = rendered(kustomization(tmp_path, {"target": {"kind": "Deployment", "name": "emco-clm"}, "patch": patch}))
    assert done.returncode == 1
    assert re.fullmatch(r".*kustomization.yaml, patch 1: it would .* of Deployment emco-clm.*\n", done.stderr)
    assert needed_of_chart(CHART[1])["metadata"]["labels"] == {"app": "clm", "release": "emco-clm", "heritage": "Helm"}


def test_what_a_chart_makes_beside_its_services_may_be_patched(tmp_path: Path) -> None:
    mount = {"name": "d", "mountPath": "/d"}
    pod = {"containers": [{"name": "etcd", "image": "i", "volumeMounts": [mount]}]}
    etcd: Json = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "e"}}
    etcd["spec"] = {"template": {"metadata": {}, "spec": pod}}
    patch = "spec: {template: {spec: {nodeSelector: {a: b}}}}"
    patches = read_patches(kustomization(tmp_path, {"target": {"kind": "StatefulSet"}, "patch": patch}))
    (made,) = patches.applied([etcd], needed_of_chart)
    assert made["spec"]["template"]["spec"] == {**pod, "nodeSelector": {"a": "b"}}
