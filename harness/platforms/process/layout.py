"""Where everything listens. In a network namespace of its own each environment uses the same addresses, so that a
snapshot, which holds addresses, fits every worker; otherwise each takes a block of loopback addresses and ports."""

import errno
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.emco.services import SERVICES
from harness.faults.victim import HarnessTrouble
from harness.platforms.linux import socket_inode

Address = tuple[str, int]
MONGO_PORT = 27017
ETCD_PORT = 2379
_ETCD_PEER_PORT = 2380
_EDGE_PORT = 6443
_GIT_PORT = 8443
_BLOCKS = range(20, 250)
_ABOVE_SERVICES = 25000


@dataclass(frozen=True, slots=True)
class Layout:
    """All addresses of one environment.

    name: part of every snapshot's environment id
    net:  first two numbers of the loopback addresses, `127.0`
    shift: added to every port that a service listens on (services of EMCO listen on all interfaces)
    """

    name: str
    net: str
    shift: int

    def store(self, port: int) -> Address:
        """The store itself; the harness talks to it there, services never do."""
        return (f"{self.net}.1.1", port)

    @property
    def etcd_peer(self) -> Address:
        return (f"{self.net}.1.1", _ETCD_PEER_PORT)

    def store_relay(self, index: int, port: int) -> Address:
        """Where service number `index` finds a store: EMCO's store ports are fixed, so each service has an address."""
        return (f"{self.net}.2.{index + 1}", port)

    def http(self, service: str) -> Address:
        info = SERVICES[service]
        port = info.http_port if info.http_port is not None else 9023  # rsync: nothing but /metrics
        return ("127.0.0.1", port + self.shift)

    def grpc(self, service: str) -> Address:
        port = SERVICES[service].grpc_port
        if port is None:
            raise HarnessTrouble(f"{service} has no gRPC port")
        return ("127.0.0.1", port + self.shift)

    def grpc_relay(self, service: str) -> Address:
        """Where other services find it. No service's port in any block: a service listens on all addresses."""
        _, port = self.grpc(service)
        return (f"{self.net}.3.1", port + _ABOVE_SERVICES)

    def edge(self, index: int) -> Address:
        return (f"{self.net}.4.{index + 1}", _EDGE_PORT + self.shift)

    def edge_store(self, index: int) -> Address:
        """The etcd of an edge that has an API server of the run's own."""
        return (f"{self.net}.4.{index + 1}", ETCD_PORT)

    def edge_store_peer(self, index: int) -> Address:
        return (f"{self.net}.4.{index + 1}", _ETCD_PEER_PORT)

    def edge_relay(self, index: int) -> Address:
        return (f"{self.net}.5.{index + 1}", _EDGE_PORT + 10000 + self.shift)

    @property
    def git_relay(self) -> Address:
        """What rsync has as its proxy for HTTPS: what it asks of a Git server arrives there, and goes no further."""
        return (f"{self.net}.6.1", _GIT_PORT + self.shift)

    @property
    def git(self) -> Address:
        """Where a Git server would be; nobody listens."""
        return (f"{self.net}.6.2", _GIT_PORT + self.shift)


def isolated_layout() -> Layout:
    """The layout inside a network namespace."""
    return Layout("namespace", "127.0", 0)


class Block:
    """A block of addresses in the shared network, reserved for as long as the process lives.

    The lock is a name in the abstract space of Unix sockets: like the addresses themselves it belongs to the network
    namespace, whoever the user is, and the kernel drops it with the process.

    family: blocks of one family exclude each other
    """

    def __init__(self, family: str = "emco-chaos") -> None:
        self._lock: socket.socket | None = None
        for number in _BLOCKS:
            lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                lock.bind(f"\0{family}/block-{number}")
            except OSError as error:
                lock.close()
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            self._lock = lock
            self.layout = Layout(f"block-{number}", f"127.{number}", 100 * (number - _BLOCKS.start + 1))
            return
        raise HarnessTrouble(f"all {len(_BLOCKS)} blocks of loopback addresses are in use on this machine")

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


class SocketOwners:
    """Tells which service a connection comes from: all of them look up rsync under one address in mongo.

    Asked when a connection is accepted, which is rare: services keep their gRPC connections.
    """

    def __init__(self) -> None:
        self.pids: Mapping[str, Sequence[int]] = {}

    def of(self, peer: Address, local: Address) -> str:
        """Name of the service whose socket is connected from `peer` to `local`; `?` when it is none of them."""
        inode = str(socket_inode(peer, local))
        for service, pids in self.pids.items():
            if any(inode in _sockets(pid) for pid in pids):
                return service
        return "?"


def _sockets(pid: int) -> set[str]:
    found: set[str] = set()
    try:
        entries = list(os.scandir(f"/proc/{pid}/fd"))
    except FileNotFoundError:  # the process ended
        return found
    for entry in entries:
        try:
            target = str(Path(entry.path).readlink())
        except FileNotFoundError:  # closed meanwhile; the others still count
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found
