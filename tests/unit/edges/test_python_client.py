"""The emulator through the official Python client: what a well-behaved client sees."""

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kubernetes import client, dynamic, watch
from kubernetes.client import ApiException

from .conftest import RunningEdge
from .objects import bundle_state, config_map, definition, deployment

LABEL = "emco/deployment-id"


# Bodies are plain dicts here, which the client takes but its types do not admit.
def core_api(api: client.ApiClient) -> Any:
    return client.CoreV1Api(api)


def apps_api(api: client.ApiClient) -> Any:
    return client.AppsV1Api(api)


def extensions_api(api: client.ApiClient) -> Any:
    return client.ApiextensionsV1Api(api)


def certificates_api(api: client.ApiClient) -> Any:
    return client.CertificatesV1Api(api)


def watching() -> Any:
    return watch.Watch().stream  # type: ignore[no-untyped-call]


def dynamic_client(api: client.ApiClient) -> Any:
    return dynamic.DynamicClient(api)  # type: ignore[no-untyped-call]


def custom_api(api: client.ApiClient) -> Any:
    return client.CustomObjectsApi(api)


def test_crud_of_a_core_object(api: client.ApiClient) -> None:
    core = core_api(api)
    made = core.create_namespaced_config_map("default", config_map("c", a="1"))
    assert made.metadata.uid
    assert made.metadata.creation_timestamp
    assert made.metadata.namespace == "default"
    made.data = {"a": "2"}
    replaced = core.replace_namespaced_config_map("c", "default", made)
    assert replaced.data == {"a": "2"}
    assert int(replaced.metadata.resource_version) > int(made.metadata.resource_version)
    core.delete_namespaced_config_map("c", "default")
    with pytest.raises(ApiException) as gone:
        core.read_namespaced_config_map("c", "default")
    assert gone.value.status == 404


def test_a_stale_write_conflicts_and_changes_nothing(api: client.ApiClient) -> None:
    core = core_api(api)
    stale = core.create_namespaced_config_map("default", config_map("c", a="1"))
    core.patch_namespaced_config_map("c", "default", {"data": {"a": "2"}})
    stale.data = {"a": "3"}
    with pytest.raises(ApiException) as conflict:
        core.replace_namespaced_config_map("c", "default", stale)
    assert conflict.value.status == 409
    assert '"reason":"Conflict"' in str(conflict.value.body)
    assert core.read_namespaced_config_map("c", "default").data == {"a": "2"}


def test_a_write_that_changes_nothing_makes_no_version(api: client.ApiClient) -> None:
    core = core_api(api)
    made = core.create_namespaced_config_map("default", config_map("c", a="1"))
    same = core.patch_namespaced_config_map("c", "default", {"data": {"a": "1"}})
    assert same.metadata.resource_version == made.metadata.resource_version


def test_workloads_are_ready_at_once_and_after_each_change(api: client.ApiClient) -> None:
    apps = apps_api(api)
    made = apps.create_namespaced_deployment("default", deployment())
    assert (made.spec.replicas, made.status.available_replicas, made.status.observed_generation) == (1, 1, 1)
    scaled = apps.patch_namespaced_deployment("web", "default", {"spec": {"replicas": 3}})
    assert (scaled.status.ready_replicas, scaled.metadata.generation, scaled.status.observed_generation) == (3, 2, 2)


def test_workloads_can_be_kept_from_ready(edge: RunningEdge, api: client.ApiClient) -> None:
    apps = apps_api(api)
    edge.call(lambda: edge.emulator.set_ready(ready=False))
    made = apps.create_namespaced_deployment("default", deployment())
    assert (made.status.ready_replicas, made.status.unavailable_replicas) == (0, 1)
    edge.call(lambda: edge.emulator.set_ready(ready=True))
    assert apps.read_namespaced_deployment("web", "default").status.ready_replicas == 1


def test_status_is_written_through_its_subresource_only(api: client.ApiClient) -> None:
    apps = apps_api(api)
    apps.create_namespaced_deployment("default", {**deployment(), "status": {"readyReplicas": 7}})
    patched = apps.patch_namespaced_deployment("web", "default", {"status": {"readyReplicas": 7}})
    assert patched.status.ready_replicas == 1
    written = apps.patch_namespaced_deployment_status(
        "web", "default", {"spec": {"replicas": 9}, "status": {"readyReplicas": 0}}
    )
    assert (written.status.ready_replicas, written.spec.replicas, written.metadata.generation) == (0, 1, 1)


def test_services_get_addresses_of_their_own_and_keep_them(api: client.ApiClient) -> None:
    core = core_api(api)
    spec = {"ports": [{"port": 80}], "selector": {"app": "web"}}
    one, two = (core.create_namespaced_service("default", {"metadata": {"name": n}, "spec": spec}) for n in "ab")
    assert one.spec.cluster_ip
    assert two.spec.cluster_ip
    assert one.spec.cluster_ip != two.spec.cluster_ip
    assert (one.spec.ports[0].protocol, one.spec.ports[0].target_port) == ("TCP", 80)
    body = {"metadata": {"name": "a", "labels": {"x": "y"}}, "spec": spec}
    assert core.replace_namespaced_service("a", "default", body).spec.cluster_ip == one.spec.cluster_ip


def test_namespaces_hold_their_objects(edge: RunningEdge, api: client.ApiClient) -> None:
    core = core_api(api)
    with pytest.raises(ApiException) as missing:
        core.create_namespaced_config_map("ns1", config_map("c"))
    assert missing.value.status == 404
    core.create_namespace({"metadata": {"name": "ns1"}})
    core.create_namespaced_config_map("ns1", config_map("c"))
    apps_api(api).create_namespaced_deployment("ns1", deployment())
    core.delete_namespace("ns1")
    assert core.list_config_map_for_all_namespaces().items == []
    assert edge.call(edge.emulator.objects) == []
    with pytest.raises(ApiException) as kept:
        core.delete_namespace("default")
    assert kept.value.status == 403


def test_finalizers_hold_an_object_and_its_namespace(edge: RunningEdge, api: client.ApiClient) -> None:
    core = core_api(api)
    core.create_namespace({"metadata": {"name": "ns1"}})
    held = config_map("held")
    held["metadata"]["finalizers"] = ["example.org/hold"]
    core.create_namespaced_config_map("ns1", held)
    core.delete_namespace("ns1")
    assert core.read_namespace("ns1").status.phase == "Terminating"
    assert core.read_namespaced_config_map("held", "ns1").metadata.deletion_timestamp
    with pytest.raises(ApiException) as closing:
        core.create_namespaced_config_map("ns1", config_map("late"))
    assert closing.value.status == 403
    core.patch_namespaced_config_map("held", "ns1", {"metadata": {"finalizers": None}})
    assert edge.call(edge.emulator.objects) == []


def test_dependents_go_with_their_last_owner_unless_orphaned(api: client.ApiClient) -> None:
    core = core_api(api)

    def make() -> None:
        owner = core.create_namespaced_config_map("default", config_map("owner"))
        owned = config_map("owned")
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid}
        owned["metadata"]["ownerReferences"] = [reference]
        core.create_namespaced_config_map("default", owned)

    make()
    core.delete_namespaced_config_map("owner", "default", propagation_policy="Orphan")
    assert [item.metadata.name for item in core.list_namespaced_config_map("default").items] == ["owned"]
    core.delete_namespaced_config_map("owned", "default")
    make()
    core.delete_namespaced_config_map("owner", "default")
    assert core.list_namespaced_config_map("default").items == []


@pytest.mark.parametrize(
    "chosen, names",
    [
        ({"label_selector": "tier=web"}, ["a"]),
        ({"label_selector": "tier!=web"}, ["b", "c"]),
        ({"label_selector": "tier in (web, db),!old"}, ["a"]),
        ({"label_selector": "tier notin (web)"}, ["b", "c"]),
        ({"label_selector": "tier,old"}, ["b"]),
        ({"field_selector": "metadata.name=b"}, ["b"]),
        ({"field_selector": "metadata.name!=b", "label_selector": "tier"}, ["a"]),
    ],
)
def test_selectors(api: client.ApiClient, chosen: dict[str, str], names: list[str]) -> None:
    core = core_api(api)
    for name, labels in {"a": {"tier": "web"}, "b": {"tier": "db", "old": "1"}, "c": {}}.items():
        core.create_namespaced_config_map("default", config_map(name, labels=labels))
    listed = core.list_namespaced_config_map("default", **chosen)
    assert [item.metadata.name for item in listed.items] == names
    core.delete_collection_namespaced_config_map("default", **chosen)
    rest = [item.metadata.name for item in core.list_namespaced_config_map("default").items]
    assert rest == [name for name in "abc" if name not in names]


def test_a_watch_lists_follows_and_ends_in_time(api: client.ApiClient) -> None:
    core = core_api(api)
    core.create_namespaced_config_map("default", config_map("first", labels={"in": "1"}))
    seen: list[tuple[str, str]] = []
    stream = watching()(
        core.list_namespaced_config_map, "default", label_selector="in=1", resource_version="0", timeout_seconds=1
    )
    for event in stream:
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 1:
            core.create_namespaced_config_map("default", config_map("outside"))
            core.patch_namespaced_config_map("outside", "default", {"metadata": {"labels": {"in": "1"}}})
            core.patch_namespaced_config_map("first", "default", {"data": {"x": "y"}})
            core.patch_namespaced_config_map("outside", "default", {"metadata": {"labels": {"in": "0"}}})
            core.delete_namespaced_config_map("first", "default")
    assert seen == [
        ("ADDED", "first"),
        ("ADDED", "outside"),
        ("MODIFIED", "first"),
        ("DELETED", "outside"),
        ("DELETED", "first"),
    ]


def test_a_watch_resumes_where_a_list_ended(api: client.ApiClient) -> None:
    core = core_api(api)
    core.create_namespaced_config_map("default", config_map("before"))
    version = core.list_namespaced_config_map("default").metadata.resource_version
    core.create_namespaced_config_map("default", config_map("after"))
    stream = watching()(core.list_namespaced_config_map, "default", resource_version=version, timeout_seconds=1)
    assert [event["object"].metadata.name for event in stream] == ["after"]


def test_strategic_merge_joins_lists_by_their_keys(api: client.ApiClient) -> None:
    apps = apps_api(api)
    apps.create_namespaced_deployment("default", deployment())
    containers = [
        {"name": "main", "image": "main:2", "env": [{"name": "A", "$patch": "delete"}, {"name": "C", "value": "3"}]},
        {"name": "new", "image": "new:1"},
        {"name": "side", "$patch": "delete"},
    ]
    order = [{"name": "new"}, {"name": "main"}]
    patch = {"spec": {"template": {"spec": {"containers": containers, "$setElementOrder/containers": order}}}}
    patched = apps.patch_namespaced_deployment("web", "default", patch)
    new, main = patched.spec.template.spec.containers
    assert (new.name, main.image, [e.name for e in main.env]) == ("new", "main:2", ["B", "C"])


def test_custom_resources_appear_and_go_with_their_definition(edge: RunningEdge, api: client.ApiClient) -> None:
    extensions = extensions_api(api)
    made = extensions.create_custom_resource_definition(definition())
    assert {c.type for c in made.status.conditions if c.status == "True"} >= {"Established", "NamesAccepted"}
    widgets = dynamic_client(api).resources.get(api_version="example.org/v1", kind="Widget")
    widgets.create(namespace="default", body={"metadata": {"name": "w"}, "spec": {"size": 1}})
    assert widgets.get(namespace="default", name="w").spec.size == 1
    extensions.delete_custom_resource_definition("widgets.example.org")
    assert edge.call(edge.emulator.objects) == []
    with pytest.raises(ApiException) as gone:
        custom_api(api).list_namespaced_custom_object("example.org", "v1", "default", "widgets")
    assert gone.value.status == 404


def certificate_request(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "user1")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM)
    spec = {
        "request": base64.b64encode(pem).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["digital signature", "client auth"],
    }
    return {"metadata": {"name": "csr1", "labels": {LABEL: "7-lc"}}, "spec": spec}


def test_an_approved_request_gets_a_certificate_for_its_key(edge: RunningEdge, api: client.ApiClient) -> None:
    certificates = certificates_api(api)
    key = ec.generate_private_key(ec.SECP256R1())
    made = certificates.create_certificate_signing_request(certificate_request(key))
    assert made.status is None or not made.status.certificate
    approved = {"type": "Approved", "status": "True", "reason": "test", "message": "ok"}
    certificates.patch_certificate_signing_request_approval("csr1", {"status": {"conditions": [approved]}})
    encoded = certificates.read_certificate_signing_request("csr1").status.certificate
    # dcm looks for exactly this beginning in the raw JSON.
    assert encoded.startswith("LS0t")
    certificate = x509.load_pem_x509_certificate(base64.b64decode(encoded))
    assert certificate.public_key() == key.public_key()
    assert certificate.subject.rfc4514_string() == "CN=user1"


def test_a_denied_request_gets_none_and_nonsense_is_refused(api: client.ApiClient) -> None:
    certificates = certificates_api(api)
    body = certificate_request(ec.generate_private_key(ec.SECP256R1()))
    certificates.create_certificate_signing_request(body)
    denied = {"type": "Denied", "status": "True", "reason": "test", "message": "no"}
    certificates.patch_certificate_signing_request_approval("csr1", {"status": {"conditions": [denied]}})
    assert not certificates.read_certificate_signing_request("csr1").status.certificate
    body = {"metadata": {"name": "csr2"}, "spec": {**body["spec"], "request": "bm9uc2Vuc2U="}}
    with pytest.raises(ApiException) as refused:
        certificates.create_certificate_signing_request(body)
    assert refused.value.status == 422
    assert "spec.request" in str(refused.value.body)


def bundle(api: client.ApiClient, name: str) -> Any:
    return custom_api(api).get_namespaced_custom_object(
        "k8splugin.io", "v1alpha1", "default", "resourcebundlestates", name
    )


def make_bundle(api: client.ApiClient, name: str) -> None:
    custom_api(api).create_namespaced_custom_object(
        "k8splugin.io", "v1alpha1", "default", "resourcebundlestates", bundle_state(name)
    )


def test_the_monitor_keeps_the_bundle_state_true(edge: RunningEdge, api: client.ApiClient) -> None:
    core, apps = core_api(api), apps_api(api)
    labels = {LABEL: "7-app"}
    core.create_namespaced_config_map("default", config_map("early", labels=labels, secret="x"))
    make_bundle(api, "7-app")
    status = bundle(api, "7-app")["status"]
    assert (status["ready"], status["resourceCount"]) == (True, 1)
    assert "data" not in status["configMapStatuses"][0]
    edge.call(lambda: edge.emulator.set_ready(ready=False))
    apps.create_namespaced_deployment("default", deployment(labels=labels))
    core.create_namespaced_config_map("default", config_map("of-others", labels={LABEL: "8-app"}))
    status = bundle(api, "7-app")["status"]
    assert (status["ready"], status["resourceCount"]) == (False, 2)
    edge.call(lambda: edge.emulator.set_ready(ready=True))
    status = bundle(api, "7-app")["status"]
    assert status["ready"]
    assert status["deploymentStatuses"][0]["status"]["readyReplicas"] == 1
    apps.delete_namespaced_deployment("web", "default")
    core.patch_namespaced_config_map("early", "default", {"metadata": {"labels": {LABEL: "8-app"}}})
    assert bundle(api, "7-app")["status"] == {"ready": False, "resourceCount": 0}


def test_restore_brings_back_exactly_what_was(edge: RunningEdge, api: client.ApiClient) -> None:
    core = core_api(api)
    core.create_namespace({"metadata": {"name": "ns1"}})
    core.create_namespaced_config_map("ns1", config_map("c", labels={LABEL: "7-app"}, a="1"))
    extensions_api(api).create_custom_resource_definition(definition())
    core.patch_namespace("default", {"metadata": {"labels": {"touched": "yes"}}})
    make_bundle(api, "7-app")
    snapshot = edge.call(edge.emulator.objects)
    assert len(snapshot) == 5
    core.patch_namespaced_config_map("c", "ns1", {"data": {"a": "2"}})
    stale = core.read_namespaced_config_map("c", "ns1")
    extensions_api(api).delete_custom_resource_definition("widgets.example.org")
    core.patch_namespace("kube-system", {"metadata": {"labels": {"touched": "later"}}})
    edge.run(edge.emulator.restore(snapshot))
    assert edge.call(edge.emulator.objects) == snapshot
    back = core.read_namespaced_config_map("c", "ns1")
    assert back.data == {"a": "1"}
    assert "touched" not in core.read_namespace("kube-system").metadata.labels
    assert custom_api(api).list_cluster_custom_object("example.org", "v1", "widgets")["items"] == []
    # A version from the undone future must neither win nor be taken for a later one.
    with pytest.raises(ApiException) as conflict:
        core.replace_namespaced_config_map("c", "ns1", stale)
    assert conflict.value.status == 409
    written = core.patch_namespaced_config_map("c", "ns1", {"data": {"a": "3"}})
    assert int(written.metadata.resource_version) > int(stale.metadata.resource_version)


def test_what_cannot_be_restored_changes_nothing(edge: RunningEdge, api: client.ApiClient) -> None:
    core_api(api).create_namespaced_config_map("default", config_map("c"))
    before = edge.call(edge.emulator.objects)
    unknown = {
        "apiVersion": "no.such/v1",
        "kind": "Thing",
        "metadata": {"name": "x", "uid": "u", "resourceVersion": "1"},
    }
    for bad in (unknown, config_map("without-uid")):
        with pytest.raises(ValueError, match=r"Thing|without-uid"):
            edge.run(edge.emulator.restore([*before, bad]))
    assert edge.call(edge.emulator.objects) == before
