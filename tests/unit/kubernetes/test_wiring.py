"""Addresses and manifests fit together: whoever is to find somebody does."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.running import ALLOWED
from harness.platforms.kubernetes.bundle import LARGEST, relay_bundle
from harness.platforms.kubernetes.edges import emulated_kubeconfig
from harness.platforms.kubernetes.install import Release, emco_objects, harness_objects, render
from harness.platforms.kubernetes.volumes import RETAINED
from harness.platforms.kubernetes.wiring import EMCO_NAMESPACE, HARNESS_NAMESPACE, TLS_FOLDER, Wiring
from harness.wire.links import REACH_LIMIT

WIRING = Wiring(("orchestrator", "clm", "dcm", "rsync"), ("p1+c1", "p1+c2"))
RELEASE = Release(WIRING, "emco:1", "python:3.11-slim", "faithful", max_retries="3")


def named(objects: list[Any], kind: str, name: str) -> Any:
    (found,) = (one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def target_port(objects: list[Any], host: str, port: int) -> int:
    """The port of the pod behind a Service, as `name.namespace` finds it."""
    name, namespace = host.split(".")
    service = named(objects, "Service", name)
    assert service["metadata"]["namespace"] == namespace
    (found,) = (one["targetPort"] for one in service["spec"]["ports"] if one["port"] == port)
    return int(found)


def test_no_two_links_or_doors_share_a_port() -> None:
    config = WIRING.relay_config()
    listening = [one.listen[1] for one in (*config.links, *config.doors)]
    listening += [config.control[1], config.asks[1], config.health[1]]
    assert len(listening) == len(set(listening))


def test_control_and_doors_are_on_the_pods_loopback_only() -> None:
    config = WIRING.relay_config()
    assert {one.listen[0] for one in config.doors} | {config.control[0], config.asks[0]} == {"127.0.0.1"}


def test_what_is_in_the_cluster_counts_as_gone_soon_and_an_edge_of_its_own_is_waited_for() -> None:
    config = replace(WIRING, clusters={"p1+c2": ("edge", 6443)}).relay_config()
    late = {one.target for one in (*config.links, *config.doors) if one.reach >= REACH_LIMIT}
    assert late == {"p1+c2"}


@pytest.mark.parametrize("service", WIRING.services)
def test_a_service_finds_both_stores_at_a_link_of_its_own(service: str) -> None:
    objects = harness_objects(RELEASE, "t")
    config = json.loads(named(emco_objects(RELEASE, "t"), "ConfigMap", service)["data"]["config.json"])
    links = {one.listen[1]: one for one in WIRING.relay_config().links}
    for key, store, port in (("database-ip", "mongo", 27017), ("etcd-ip", "etcd", 2379)):
        link = links[target_port(objects, config[key], port)]
        assert (link.source, link.target, link.gated) == (service, store, True)


def test_controllers_and_edges_are_found_at_their_links() -> None:
    objects = harness_objects(RELEASE, "t")
    links = {one.listen[1]: one for one in WIRING.relay_config().links}
    assert set(WIRING.controllers()) == {"orchestrator", "dcm", "rsync"}
    for service, (host, port) in WIRING.controllers().items():
        link = links[target_port(objects, host, port)]
        assert (link.target, link.protocol, link.instance) == (service, "grpc", True)
    for edge in WIRING.edges:
        host, port = WIRING.edge_address(edge)
        link = links[target_port(objects, host, port)]
        assert (link.source, link.target) == ("rsync", edge)
        assert f"http://{host}:{port}" in emulated_kubeconfig(edge, (host, port))


def test_both_namespaces_are_open_to_the_harness_and_hold_everything_else() -> None:
    for objects, name in (
        (emco_objects(RELEASE, "t"), EMCO_NAMESPACE),
        (harness_objects(RELEASE, "t"), HARNESS_NAMESPACE),
    ):
        namespace, *others = objects
        assert (namespace["kind"], namespace["metadata"]["name"]) == ("Namespace", name)
        assert namespace["metadata"]["labels"] == {ALLOWED: "true"}
        assert {one["metadata"]["namespace"] for one in others} == {name}


def test_retries_are_told_to_rsync_alone() -> None:
    objects = emco_objects(RELEASE, "t")
    told = {name: json.loads(named(objects, "ConfigMap", name)["data"]["config.json"]) for name in WIRING.services}
    assert {name for name, config in told.items() if "max-retries" in config} == {"rsync"}


def test_the_token_is_in_a_secret_and_nowhere_else() -> None:
    objects = harness_objects(RELEASE, "the-token")
    assert [one["kind"] for one in objects if "the-token" in json.dumps(one)] == ["Secret"]


def test_another_configuration_or_code_makes_another_pod_and_the_same_does_not() -> None:
    def content(token: str) -> list[str]:
        """Of the relay, and of a service, which must not outlive it."""
        relay = named(harness_objects(RELEASE, token), "Deployment", "relay")
        service = named(emco_objects(RELEASE, token), "Deployment", "clm")
        return [str(one["spec"]["template"]["metadata"]["annotations"]) for one in (relay, service)]

    assert content("a") == content("a")
    assert all(one != another for one, another in zip(content("a"), content("b"), strict=True))


def test_a_value_cannot_break_out_of_its_place_in_a_manifest() -> None:
    (namespace,) = render("namespace", {"namespace": 'x"\nkind: Other'})
    assert (namespace["kind"], namespace["metadata"]["name"]) == ("Namespace", 'x"\nkind: Other')


def test_a_missing_value_is_said() -> None:
    with pytest.raises(HarnessTrouble, match=r"namespace\.yaml cannot be filled in"):
        render("namespace", {})


def test_the_relays_code_is_the_same_each_time_and_fits_into_a_configmap() -> None:
    assert relay_bundle() == relay_bundle()
    assert len(relay_bundle()) < LARGEST


def test_edges_that_are_clusters_are_found_by_their_nodes_and_nothing_is_emulated() -> None:
    clusters = {"p1+c1": ("set-edge-1-control-plane", 6443), "p1+c2": ("set-edge-2-control-plane", 6443)}
    wiring = Wiring(WIRING.services, WIRING.edges, clusters)
    files = {"edge-0.server.pem": b"certificate and key"}
    objects = harness_objects(Release(wiring, "emco:1", "python:3.11-slim", "faithful", edge_files=files), "t")
    links = {one.target: one for one in wiring.relay_config().links}
    for index, (edge, node) in enumerate(clusters.items()):
        assert (links[edge].upstream, links[edge].tls) == (node, f"{TLS_FOLDER}/edge-{index}")
        host, port = wiring.edge_address(edge)
        assert target_port(objects, host, port) == links[edge].listen[1]
    assert not [one for one in objects if one["metadata"]["name"] == "edges"]
    kept = named(objects, "Secret", "relay-edges")["data"]
    assert base64.b64decode(kept["edge-0.server.pem"]) == b"certificate and key"
    mounts = named(objects, "Deployment", "relay")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert TLS_FOLDER in [one["mountPath"] for one in mounts]


def test_other_keys_of_edges_make_another_relay() -> None:
    def content(files: dict[str, bytes]) -> str:
        objects = harness_objects(Release(WIRING, "emco:1", "python:3.11-slim", "faithful", edge_files=files), "t")
        metadata = named(objects, "Deployment", "relay")["spec"]["template"]["metadata"]
        return str(metadata["annotations"]["emco-chaos/content"])

    assert content({"edge-0.server.pem": b"one"}) != content({"edge-0.server.pem": b"two"})


def test_stores_get_the_clusters_volumes_unless_others_are_named() -> None:
    def classes(release: Release) -> list[Any]:
        stores = [named(emco_objects(release, "t"), "StatefulSet", store) for store in ("mongo", "etcd")]
        return [one["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"] for one in stores]

    assert classes(RELEASE) == [None, None]
    assert classes(replace(RELEASE, store_classes=RETAINED)) == ["emco-chaos-mongo", "emco-chaos-etcd"]


def container(release: Release, service: str) -> Any:
    (one,) = named(emco_objects(release, "t"), "Deployment", service)["spec"]["template"]["spec"]["containers"]
    return one


def test_a_real_service_runs_from_its_image_in_the_folder_that_holds_its_schemas() -> None:
    release = replace(RELEASE, images={"clm": "r/emco-clm:22.09"})
    clm = container(release, "clm")
    assert (clm["image"], clm["command"], clm["workingDir"]) == ("r/emco-clm:22.09", ["./clm"], "/opt/emco/clm")
    (mount,) = clm["volumeMounts"]
    assert (mount["mountPath"], mount["subPath"]) == ("/opt/emco/clm/config.json", "config.json")
    assert [one["name"] for one in clm["env"]] == ["EMCO_METRICS_POLLING_INTERVAL_SECS"]


def test_without_images_the_reference_runs_with_its_defects() -> None:
    clm = container(RELEASE, "clm")
    assert (clm["image"], clm["command"]) == ("emco:1", ["python", "-m", "reference", "clm"])
    assert {"name": "REFERENCE_EMCO_DEFECTS", "value": "faithful"} in clm["env"]
    assert "REFERENCE_EMCO_CLEANUP_SECONDS" not in {one["name"] for one in clm["env"]}
    rsync = container(replace(RELEASE, cleanup_delay="8"), "rsync")
    assert {"name": "REFERENCE_EMCO_CLEANUP_SECONDS", "value": "8"} in rsync["env"]
