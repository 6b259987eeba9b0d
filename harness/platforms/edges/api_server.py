"""An API server of the run's own for each edge: kube-apiserver and an etcd, from one folder as envtest has it.

No controllers, no nodes: what EMCO needs of these, harness.platforms.edges.controllers does.
"""

import os
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.edge_emulator.storage import Key
from harness.platforms.edges.access import Access
from harness.platforms.edges.api_edge import ApiEdge, Json, Ways
from harness.platforms.edges.audit import EMCO, HARNESS, policy, read_log
from harness.platforms.edges.authority import Authority
from harness.platforms.edges.client import ApiClient
from harness.platforms.edges.controllers import Controllers
from harness.platforms.supervisor import ProcessSpec
from harness.wire.links import Address

PROGRAMS = ("etcd", "kube-apiserver")
_START_LIMIT = 90.0


def check_assets(folder: Path | None) -> Path:
    """The folder with both programs. Raises UsageError with what to do."""
    if folder is None:
        raise UsageError(
            "--edges kube-apiserver: the environment variable KUBEBUILDER_ASSETS has to name the folder with etcd and "
            "kube-apiserver, as `setup-envtest use -p path` prints it"
        )
    for name in PROGRAMS:
        if not os.access(folder / name, os.X_OK) or not (folder / name).is_file():
            raise UsageError(f"KUBEBUILDER_ASSETS {folder}: no executable {name} in it")
    return folder


@dataclass(frozen=True, slots=True)
class Place:
    """Where one edge's processes run.

    api, store, peer: addresses of kube-apiserver, of its etcd, and of that for other etcds
    folder: for data, keys and logs
    """

    api: Address
    store: Address
    peer: Address
    folder: Path


def store_spec(assets: Path, place: Place, name: str, ready: Callable[[int], Awaitable[None]]) -> ProcessSpec:
    """The etcd of one API server. It does not wait for the disk: neither it nor the machine is killed here."""
    client, peer = ("http://{}:{}".format(*address) for address in (place.store, place.peer))
    place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    argv = [str(assets / "etcd"), "--name", "a", "--data-dir", str(place.folder / "data"), "--unsafe-no-fsync"]
    for what in ("listen", "advertise"):
        argv += [f"--{what}-client-urls", client]
    argv += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"a={peer}"]
    argv += ["--log-level", "warn"]
    return _spec(f"etcd of {name}", place.folder, "etcd.log", argv, ready)


def server_spec(assets: Path, place: Place, name: str, authority: Authority, client: ApiClient) -> ProcessSpec:
    """kube-apiserver. It knows users by certificates of the authority, and asks RBAC what they may do."""
    host, port = place.api
    place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca, certificate, key = authority.write_server_files(host, place.folder)
    rules = place.folder / "audit-policy.yaml"
    rules.write_text(yaml.safe_dump(policy()), encoding="utf-8")
    options = {
        "etcd-servers": "http://{}:{}".format(*place.store),
        "bind-address": host,
        "advertise-address": host,
        "secure-port": str(port),
        "service-cluster-ip-range": "10.96.0.0/16",
        "endpoint-reconciler-type": "none",
        "cert-dir": str(place.folder),
        "tls-cert-file": str(certificate),
        "tls-private-key-file": str(key),
        "client-ca-file": str(ca),
        "service-account-issuer": f"https://{host}:{port}",
        "service-account-key-file": str(key),
        "service-account-signing-key-file": str(key),
        "authorization-mode": "RBAC",
        "disable-admission-plugins": "ServiceAccount",  # no controller makes the accounts that it asks for
        "enable-priority-and-fairness": "false",
        "profiling": "false",
        "audit-policy-file": str(rules),
        "audit-log-path": str(audit_log(place)),
    }
    argv = [str(assets / "kube-apiserver"), *(f"--{option}={value}" for option, value in options.items())]

    async def ready(_: int) -> None:
        try:
            await client.ask("GET", "/readyz")
        except HarnessTrouble as trouble:  # refused, or it says that a part of it is not ready
            raise ConnectionRefusedError(str(trouble)) from trouble

    return _spec(f"kube-apiserver of {name}", place.folder, "kube-apiserver.log", argv, ready)


def audit_log(place: Place) -> Path:
    """Where the API server writes down what it was asked."""
    return place.folder / "audit.log"


def own_access(place: Place, authority: Authority, user: str) -> Access:
    """How a user reaches the API server."""
    return Access(place.api, authority.client(user))


def own_edge(name: str, place: Place, authority: Authority, client: ApiClient) -> ApiEdge:
    """The edge, once its processes answer and it was told of ResourceBundleStates (ApiEdge.install)."""
    ways = Ways(own_access(place, authority, HARNESS), own_access(place, authority, EMCO), authority)
    controllers = Controllers(client, own=True, reports=True, now=time.time)
    return ApiEdge(
        name, ways, client=client, controllers=controllers, guard=_Own(), log=lambda: read_log(audit_log(place))
    )


class _Own:
    """The guard of a cluster that is the run's own, and ends with it."""

    def check(self, found: Iterable[tuple[Key, Json]]) -> None:
        """Everything may be touched."""

    async def leave(self) -> None:
        """Nothing is left: its processes end, its folder is removed."""


def _spec(name: str, folder: Path, log: str, argv: list[str], ready: Callable[[int], Awaitable[None]]) -> ProcessSpec:
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "TMPDIR": str(folder)}
    return ProcessSpec(name, folder, env, folder / log, ready, tuple(argv), start_limit=_START_LIMIT)
