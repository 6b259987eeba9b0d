import pytest

from harness.emco.services import (
    ROUTES,
    SERVICES,
    Rule,
    ServiceRouting,
    UnknownAnchorError,
    has_route,
    service_registered_as,
)

GROUP = "projects/p/composite-apps/ca/v1/deployment-intent-groups/dig"


@pytest.mark.parametrize(
    "anchor, service",
    [
        ("projects", "orchestrator"),
        ("controllers", "orchestrator"),
        ("clm-controllers", "clm"),
        ("dtc-controllers", "dtc"),
        ("cluster-providers", "clm"),
        ("cluster-providers/p/clusters/c/labels", "clm"),
        ("cluster-providers/p/clusters/c/networks", "ncm"),
        ("cluster-providers/p/clusters/c/apply", "ncm"),
        ("cluster-providers/p/clusters/c/stop", "ncm"),
        ("cluster-providers/p/ca-certs/x/enrollment", "ca-certs"),
        ("projects/p/logical-clouds/lc/instantiate", "dcm"),
        ("projects/p/ca-certs", "ca-certs"),
        ("projects/p/policy", "policy"),
        ("projects/p/composite-apps/ca/v1/apps", "orchestrator"),
        (f"{GROUP}/approve", "orchestrator"),
        (f"{GROUP}/network-chains", "sfc"),
        (f"{GROUP}/sfc-clients/x", "sfcclient"),
        (f"{GROUP}/network-controller-intent", "ovnaction"),
        (f"{GROUP}/traffic-group-intents/t/inbound-intents", "dtc"),
        (f"{GROUP}/generic-k8s-intents/g/resources", "gac"),
        (f"{GROUP}/hpa-intents", "hpa-plc"),
        (f"{GROUP}/temporal-workflow-intents", "workflowmgr"),
        (f"{GROUP}/temporal-action-controller", "tac"),
        (f"{GROUP}/policy-intents", "policy"),
    ],
)
def test_routes_anchors_as_emcoctl_does(anchor: str, service: str) -> None:
    assert ServiceRouting().service(anchor) == service


def test_an_unknown_anchor_is_refused_and_a_rule_can_be_added() -> None:
    with pytest.raises(
        UnknownAnchorError, match="'things/x'; expected it to begin with clm-controllers, cluster-providers"
    ):
        ServiceRouting().service("things/x")
    routing = ServiceRouting().extended([Rule("things", "mine"), Rule("projects/*/things", "mine")])
    assert routing.service("things/x") == "mine"
    assert routing.service("projects/p/things/y") == "mine"
    assert routing.service("projects/p/other") == "orchestrator"


def test_grpc_ports_are_moved_by_the_name_that_the_service_uses_itself() -> None:
    assert SERVICES["rsync"].grpc_port_env == "RSYNC_SERVICE_PORT"
    assert SERVICES["hpa-plc"].grpc_port_env == "HPAPLACEMENT_SERVICE_PORT"
    assert SERVICES["clm"].grpc_port_env == ""


def test_controllers_are_recognised_by_their_names() -> None:
    assert service_registered_as("rsync") == "rsync"
    assert service_registered_as("hpa-placement") == "hpa-plc"
    assert service_registered_as("nothing-known") is None


def test_what_has_no_put_and_what_has_no_lifecycle() -> None:
    assert not has_route("clm", "PUT", "/v2/cluster-providers/p/clusters/c")
    assert has_route("clm", "PUT", "/v2/cluster-providers/p/clusters/c/labels/l")
    assert not has_route("dcm", "POST", "/v2/projects/p/logical-clouds/lc/approve")
    assert has_route("gac", "PUT", f"/v2/{GROUP}/generic-k8s-intents/g")
    assert not has_route("gac", "POST", f"/v2/{GROUP}/terminate")


def test_every_route_belongs_to_a_known_service_and_none_stands_twice() -> None:
    assert {route.service for route in ROUTES} == {"orchestrator", "clm", "dcm", "ncm"}
    assert len(set(ROUTES)) == len(ROUTES)
