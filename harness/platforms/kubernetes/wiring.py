"""Who finds whom where in the cluster: the relay's ports, and the names under which services reach it.

EMCO's store ports are fixed, so each service has a Service of its own, `relay-SERVICE`, behind which both stores seem
to be. Controllers and edges are registered at the Service `relay`. All of these, and emulated edges, are in a namespace
of their own: EMCO's can be wiped without them. Names are the same in every cluster, so that a snapshot, which holds
them, fits every one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from harness.emco.services import SERVICES
from harness.platforms.kubernetes.edges_pod import FIRST_PORT
from harness.wire.links import Address
from harness.wire.served_config import LinkSpec, ServedConfig

Json = dict[str, Any]
EMCO_NAMESPACE, HARNESS_NAMESPACE = "emco", "emco-chaos"
MONGO, ETCD = (f"emco-mongo.{EMCO_NAMESPACE}", 27017), (f"emco-etcd.{EMCO_NAMESPACE}", 2379)
METRICS_PORT = 9023  # rsync's, which has no API
RELAY = "relay"
TLS_FOLDER = "/relay-tls"
RELAY_HOST = f"{RELAY}.{HARNESS_NAMESPACE}"
HEALTH_PORT, CONTROL_PORT, ASKS_PORT, MONGO_DOOR, ETCD_DOOR = 7000, 7001, 7002, 7003, 7004
_EVERYWHERE, _LOOPBACK = "0.0.0.0", "127.0.0.1"  # noqa: S104  the pod's own network, which its clients are in
_MONGO_LINKS, _ETCD_LINKS, _GRPC_LINKS, _EDGE_LINKS, _REST_DOORS = 21000, 22000, 23000, 24000, 7100
# Some networks swallow packets to a pod that is gone until its Service leads elsewhere; a process that is gone refuses.
_REACH = 3.0
STREAMS = ("/readyNotify/Alert", "/statusnotify/StatusRegister")  # answered when there is news


@dataclass(frozen=True, slots=True)
class Wiring:
    """Of one EMCO.

    services: names;  edges: `provider+cluster`
    clusters: those edges that are clusters of their own, and where the relay finds them; all others are emulated
    """

    services: tuple[str, ...]
    edges: tuple[str, ...]
    clusters: Mapping[str, Address] = field(default_factory=dict)

    @property
    def emulated(self) -> tuple[str, ...]:
        """The edges that are not clusters."""
        return tuple(name for name in self.edges if name not in self.clusters)

    def http_port(self, service: str) -> int:
        """Where a service has its API, or nothing but metrics."""
        return SERVICES[service].http_port or METRICS_PORT

    def ports(self, service: str) -> tuple[int, ...]:
        """All ports on which a service answers."""
        grpc = SERVICES[service].grpc_port
        return (self.http_port(service),) if grpc is None else (self.http_port(service), grpc)

    def rest_door(self, service: str) -> int:
        """The relay's port on loopback that leads to the service's API."""
        return _REST_DOORS + self.services.index(service)

    def controllers(self) -> Mapping[str, Address]:
        """How services that are called by gRPC have to be registered."""
        return {name: (RELAY_HOST, port) for name in self.services if (port := SERVICES[name].grpc_port) is not None}

    def edge_address(self, edge: str) -> Address:
        """Where EMCO finds an edge."""
        return RELAY_HOST, FIRST_PORT + self.edges.index(edge)

    def edge_port(self, edge: str) -> int:
        """The port of the relay's pod at which an edge seems to be."""
        return _EDGE_LINKS + self.edges.index(edge)

    def edge_files(self, edge: str) -> str:
        """Where the relay has what it needs for TLS with an edge that is a cluster."""
        return f"{TLS_FOLDER}/edge-{self.edges.index(edge)}"

    def stores_host(self, service: str) -> str:
        """Where a service finds both stores."""
        return f"{RELAY}-{service}.{HARNESS_NAMESPACE}"

    def relay_config(self) -> ServedConfig:
        """What the relay is told to do."""
        near = partial(LinkSpec, reach=_REACH)
        links: list[LinkSpec] = []
        doors = [
            near("harness", "mongo", "tcp", (_LOOPBACK, MONGO_DOOR), MONGO),
            near("harness", "etcd", "tcp", (_LOOPBACK, ETCD_DOOR), ETCD),
        ]
        for index, service in enumerate(self.services):
            links.append(near(service, "mongo", "mongo", (_EVERYWHERE, _MONGO_LINKS + index), MONGO))
            links.append(near(service, "etcd", "etcd", (_EVERYWHERE, _ETCD_LINKS + index), ETCD))
            grpc = SERVICES[service].grpc_port
            if grpc is not None:
                listen, upstream = (_EVERYWHERE, _GRPC_LINKS + index), (service, grpc)
                links.append(near("?", service, "grpc", listen, upstream, instance=True, gated=False, streams=STREAMS))
            door, behind = (_LOOPBACK, self.rest_door(service)), (service, self.http_port(service))
            doors.append(near("harness", service, "tcp", door, behind, instance=True))
        for index, edge in enumerate(self.edges):
            listen = (_EVERYWHERE, _EDGE_LINKS + index)
            if edge in self.clusters:
                links.append(LinkSpec("rsync", edge, "http", listen, self.clusters[edge], tls=self.edge_files(edge)))
            else:
                upstream = ("edges", FIRST_PORT + self.emulated.index(edge))
                links.append(near("rsync", edge, "http", listen, upstream))
        control, asks = (_LOOPBACK, CONTROL_PORT), (_LOOPBACK, ASKS_PORT)
        return ServedConfig(self.services, tuple(links), tuple(doors), control, asks, (_EVERYWHERE, HEALTH_PORT))

    def emco_services(self) -> list[Json]:
        """The Services of EMCO's own services."""
        return [
            _service(name, name, {f"port-{port}": (port, port) for port in self.ports(name)}) for name in self.services
        ]

    def harness_services(self) -> list[Json]:
        """The Services of relay and edges."""
        made = [
            _service(
                f"{RELAY}-{name}", RELAY, {"mongo": (27017, _MONGO_LINKS + index), "etcd": (2379, _ETCD_LINKS + index)}
            )
            for index, name in enumerate(self.services)
        ]
        common: dict[str, tuple[int, int]] = {}
        for index, name in enumerate(self.services):
            grpc = SERVICES[name].grpc_port
            if grpc is not None:
                common[f"grpc-{index}"] = (grpc, _GRPC_LINKS + index)
        for index in range(len(self.edges)):
            common[f"edge-{index}"] = (FIRST_PORT + index, _EDGE_LINKS + index)
        made.append(_service(RELAY, RELAY, common))
        if self.emulated:
            ports = {f"edge-{index}": (FIRST_PORT + index, FIRST_PORT + index) for index in range(len(self.emulated))}
            made.append(_service("edges", "edges", ports))
        return made


def _service(name: str, app: str, ports: Mapping[str, tuple[int, int]]) -> Json:
    listed = [{"name": label, "port": port, "targetPort": target} for label, (port, target) in ports.items()]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": app}, "ports": listed},
    }
