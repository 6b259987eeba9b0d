"""What is known of EMCO's services: ports, needs, which one an anchor belongs to, which calls change something.

All of it is data. A service that is not in the table can still be tested: a workload's sidecar adds a rule for it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType

DATA_KEY = "EMCO_DATA_KEY"
"""The variable with which every service is told what kubeconfigs and private keys are encrypted with in mongo."""
SCHEMA_LOOKS: Mapping[str, int] = MappingProxyType({"db-schema-backoff": 1, "db-schema-max-backoff": 1})
"""Settings of a service that looks for the referential schema once a second. EMCO's own pauses grow from 5 to 60 s."""


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """One EMCO service.

    name:          the name used in plans and ids, and of the directory and binary that EMCO's build leaves
    http_port:     REST port; None where it serves nothing but metrics
    grpc_port:     default gRPC port; None without one
    image:         last part of the image name; empty where EMCO publishes none
    schemas:       directories that must stand beside the binary
    stores:        what it talks to at start
    registered_as: names under which it is registered as a controller
    alive:         a path whose GET makes it look into its store; empty where it has no API or none is known
    program:       file name of the program in its image; empty where it is the service's
    """

    name: str
    http_port: int | None
    grpc_port: int | None
    image: str = ""
    schemas: tuple[str, ...] = ()
    stores: tuple[str, ...] = ("mongo", "etcd")
    registered_as: tuple[str, ...] = ()
    alive: str = ""
    program: str = ""

    @property
    def binary(self) -> str:
        """File name of the binary; EMCO names most as the service."""
        return self.program or self.name

    @property
    def grpc_name(self) -> str:
        """The name that the service itself uses for its gRPC server."""
        return self.registered_as[0] if self.registered_as else self.name

    @property
    def grpc_port_env(self) -> str:
        """Environment variable that moves the gRPC port (it names the gRPC port although it reads like any port)."""
        return f"{self.grpc_name.upper()}_SERVICE_PORT" if self.grpc_port is not None else ""


_JSON = ("json-schemas",)

KNOWN_SERVICES: tuple[ServiceInfo, ...] = (
    ServiceInfo("orchestrator", 9015, 9016, "emco-orch", ("json-schemas", "ref-schemas"), alive="/v2/projects"),
    ServiceInfo("rsync", None, 9031, "emco-rsync"),
    ServiceInfo("clm", 9061, None, "emco-clm", _JSON, alive="/v2/cluster-providers"),
    ServiceInfo("dcm", 9077, 9078, "emco-dcm", _JSON, alive="/v2/projects/none/logical-clouds"),
    ServiceInfo("ncm", 9081, 9082, "emco-ncm", _JSON, alive="/v2/cluster-providers/none/clusters/none/networks"),
    ServiceInfo("dtc", 9018, 9048, "emco-dtc", _JSON),
    ServiceInfo("gac", 9020, 9033, "emco-gac", _JSON, program="genericactioncontroller"),
    ServiceInfo("ovnaction", 9051, 9032, "emco-ovn", _JSON),
    ServiceInfo("nps", 9036, 9038, "emco-nps"),
    ServiceInfo("sds", 9035, 9039, "emco-sds"),
    ServiceInfo("its", 9037, 9040, "emco-its"),
    ServiceInfo("swc", 9087, 9088, "emco-swc"),
    ServiceInfo("hpa-plc", 9091, 9099, "emco-hpa-plc", _JSON, registered_as=("hpaplacement", "hpa-placement")),
    ServiceInfo("hpa-ac", 9041, 9042, "emco-hpa-ac", registered_as=("hpaaction", "hpa-action")),
    ServiceInfo("sfc", 9055, 9056, "emco-sfc", _JSON),
    ServiceInfo("sfcclient", 9057, 9058, "emco-sfcclient", _JSON),
    ServiceInfo("tac", 9064, 9065, "emco-tac", _JSON),
    ServiceInfo("workflowmgr", 9095, 9097, "emco-workflowmgr", _JSON),
    ServiceInfo("ca-certs", 9036, 9035, "emco-ca-certs", _JSON),
    ServiceInfo("policy", 9060, 9062, "emco-policy", program="sacontroller"),
)

SERVICES: Mapping[str, ServiceInfo] = MappingProxyType({info.name: info for info in KNOWN_SERVICES})


def service_registered_as(controller: str) -> str | None:
    """The known service that is registered as a controller under this name; None when it is none of them."""
    for info in KNOWN_SERVICES:
        if controller == info.name or controller in info.registered_as:
            return info.name
    return None


class UnknownAnchorError(ValueError):
    """No rule says which service serves an anchor."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An anchor that begins with `pattern` belongs to `service`. Segments of the pattern may hold `*`."""

    pattern: str
    service: str

    def matches(self, anchor: str) -> bool:
        """Whether the anchor has at least the pattern's segments and each matches."""
        wanted, given = self.pattern.split("/"), anchor.strip("/").split("/")
        return len(given) >= len(wanted) and all(map(fnmatchcase, given, wanted))


_BELOW_GROUP = "projects/*/*/*/*/*/*/"

# The first rule that matches decides; the order and the segments are emcoctl's.
_RULES: tuple[Rule, ...] = (
    Rule("cluster-providers/*/*/*/networks", "ncm"),
    Rule("cluster-providers/*/*/*/provider-networks", "ncm"),
    Rule("cluster-providers/*/*/*/apply", "ncm"),
    Rule("cluster-providers/*/*/*/terminate", "ncm"),
    Rule("cluster-providers/*/*/*/status*", "ncm"),
    Rule("cluster-providers/*/*/*/stop", "ncm"),
    Rule("cluster-providers/*/ca-certs", "ca-certs"),
    Rule("cluster-providers", "clm"),
    Rule("controllers", "orchestrator"),
    Rule("clm-controllers", "clm"),
    Rule("dtc-controllers", "dtc"),
    Rule("projects/*/logical-clouds", "dcm"),
    Rule("projects/*/ca-certs", "ca-certs"),
    Rule("projects/*/policy", "policy"),
    Rule(_BELOW_GROUP + "network-chains", "sfc"),
    Rule(_BELOW_GROUP + "sfc-clients", "sfcclient"),
    Rule(_BELOW_GROUP + "network-controller-intent", "ovnaction"),
    Rule(_BELOW_GROUP + "traffic-group-intents", "dtc"),
    Rule(_BELOW_GROUP + "generic-k8s-intents", "gac"),
    Rule(_BELOW_GROUP + "hpa-intents", "hpa-plc"),
    Rule(_BELOW_GROUP + "temporal-workflow-intents", "workflowmgr"),
    Rule(_BELOW_GROUP + "temporal-action-controller", "tac"),
    Rule(_BELOW_GROUP + "policy-intents", "policy"),
    Rule("projects", "orchestrator"),
)


@dataclass(frozen=True, slots=True)
class ServiceRouting:
    """Which service serves an anchor: emcoctl's rules, and those of a sidecar before them."""

    rules: tuple[Rule, ...] = _RULES

    def extended(self, rules: Iterable[Rule]) -> "ServiceRouting":
        """The same routing with rules that come first."""
        return ServiceRouting((*rules, *self.rules))

    def service(self, anchor: str) -> str:
        """Name of the service. Raises UnknownAnchorError with a sentence when no rule fits."""
        for rule in self.rules:
            if rule.matches(anchor):
                return rule.service
        starts = ", ".join(sorted({rule.pattern.split("/")[0] for rule in self.rules}))
        raise UnknownAnchorError(f"no service is known for the anchor {anchor!r}; expected it to begin with {starts}")


@dataclass(frozen=True, slots=True)
class Route:
    """One mutating REST route of a known service; `{}` stands for one segment, the path begins below /v2/."""

    service: str
    method: str
    pattern: str

    def matches(self, service: str, method: str, path: str) -> bool:
        """Whether a call to /v2/... takes this route."""
        if (service, method) != (self.service, self.method):
            return False
        wanted, given = self.pattern.split("/"), path.removeprefix("/v2/").split("/")
        return len(wanted) == len(given) and all(w in ("{}", g) for w, g in zip(wanted, given, strict=True))

    def __str__(self) -> str:
        return f"{self.service} {self.method} /v2/{self.pattern}"


def _resource(service: str, collection: str, *, put: bool = True, key: str = "{}") -> tuple[Route, ...]:
    item = f"{collection}/{key}"
    routes = (Route(service, "POST", collection), Route(service, "PUT", item), Route(service, "DELETE", item))
    return routes if put else (routes[0], routes[2])


def _lifecycle(service: str, parent: str, *verbs: str) -> tuple[Route, ...]:
    return tuple(Route(service, "POST", f"{parent}/{verb}") for verb in verbs)


_CLUSTERS = "cluster-providers/{}/clusters"
_CLOUD = "projects/{}/logical-clouds/{}"
_APP = "projects/{}/composite-apps/{}/{}"
_GROUP = f"{_APP}/deployment-intent-groups/{{}}"

# EMCO has no PUT for a cluster, a cluster reference, a user permission and a quota.
ROUTES: tuple[Route, ...] = (
    *_resource("orchestrator", "projects"),
    *_resource("orchestrator", "controllers"),
    *_resource("orchestrator", "projects/{}/composite-apps", key="{}/{}"),
    *_resource("orchestrator", f"{_APP}/apps"),
    *_resource("orchestrator", f"{_APP}/apps/{{}}/dependency"),
    *_resource("orchestrator", f"{_APP}/composite-profiles"),
    *_resource("orchestrator", f"{_APP}/composite-profiles/{{}}/profiles"),
    *_resource("orchestrator", f"{_APP}/deployment-intent-groups"),
    *_resource("orchestrator", f"{_GROUP}/generic-placement-intents"),
    *_resource("orchestrator", f"{_GROUP}/generic-placement-intents/{{}}/app-intents"),
    *_resource("orchestrator", f"{_GROUP}/intents"),
    *_lifecycle("orchestrator", _GROUP, "approve", "instantiate", "update", "rollback", "migrate", "stop", "terminate"),
    *_resource("clm", "cluster-providers"),
    *_resource("clm", _CLUSTERS, put=False),
    *_resource("clm", f"{_CLUSTERS}/{{}}/labels"),
    *_resource("clm", f"{_CLUSTERS}/{{}}/kv-pairs"),
    *_resource("clm", "cluster-providers/{}/cluster-sync-objects"),
    *_resource("clm", "clm-controllers"),
    *_resource("dcm", "projects/{}/logical-clouds"),
    *_resource("dcm", f"{_CLOUD}/cluster-references", put=False),
    *_resource("dcm", f"{_CLOUD}/user-permissions", put=False),
    *_resource("dcm", f"{_CLOUD}/cluster-quotas", put=False),
    *_resource("dcm", f"{_CLOUD}/kv-pairs"),
    *_lifecycle("dcm", _CLOUD, "instantiate", "update", "stop", "terminate"),
    *_resource("ncm", f"{_CLUSTERS}/{{}}/networks"),
    *_resource("ncm", f"{_CLUSTERS}/{{}}/provider-networks"),
    *_lifecycle("ncm", f"{_CLUSTERS}/{{}}", "apply", "stop", "terminate"),
)

LIFECYCLE_VERBS = frozenset({"approve", "instantiate", "apply", "update", "rollback", "migrate", "stop", "terminate"})


def has_route(service: str, method: str, path: str) -> bool:
    """Whether a service has a route for the call.

    For a service whose routes are not in the table the usual shape is assumed: resources have POST, PUT and DELETE,
    and no lifecycle.
    """
    if any(route.service == service for route in ROUTES):
        return any(route.matches(service, method, path) for route in ROUTES)
    return path.rsplit("/", 1)[-1] not in LIFECYCLE_VERBS
