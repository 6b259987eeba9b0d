"""Links as values, and the listening side of one: where a source finds what it thinks is its target."""

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.wire.conditions import Condition, Healthy
from harness.wire.connection import Connection

Address = tuple[str, int]
LinkProtocol = Literal["mongo", "etcd", "grpc", "http", "tcp"]
_BACKLOG = 512
REACH_LIMIT = 30.0  # as long as the clients of EMCO's services try themselves
_ESTABLISHED = 1  # tcpi_state, the first member of Linux's struct tcp_info
_STUFFING_LIMIT = 1.0  # seconds; on loopback it takes microseconds


class RelayError(RuntimeError):
    """The relay cannot do what was asked; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS that the relay ends and begins again.

    server: with the certificate that clients of the link see
    client: towards the target; None: the target speaks plainly. Its list of protocols (ALPN) is set by the relay, to
            the one that the client agreed on
    """

    server: ssl.SSLContext
    client: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """One way from a source to a target.

    source, target: names; effects of plain HTTP carry the target's
    protocol:       what is decoded; `tcp` decodes nothing
    listen:         where the source finds it; port 0 takes a free one (`Relay.address`)
    upstream:       where the target is
    streams:        gRPC paths (`/package.Service/Method`) that the server answers when it has something to say: such
                    requests do not count as under way. What etcd has of the kind is known
    identify:       for a link that several sources share: the source, from the address that a connection comes from
    gate:           decides of every connection whether, and when, it is let in
    locate:         the target's address where that changes; `upstream` then is only its name
    reach:          seconds until a target that does not answer counts as unreachable
    """

    source: str
    target: str
    protocol: LinkProtocol
    listen: Address
    upstream: Address
    tls: Tls | None = None
    streams: frozenset[str] = frozenset()
    identify: Callable[[Address], str] | None = None
    gate: "Callable[[Arrival], None] | None" = None
    locate: Callable[[], Address] | None = None
    reach: float = REACH_LIMIT

    def describe(self) -> str:
        """`orchestrator -> mongo`."""
        return f"{self.source} -> {self.target}"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A connection that was accepted and of which nothing was read yet.

    let_in, turn_away: exactly one of both is called, at any time
    is_there:          whether the other side has not ended it meanwhile
    """

    address: Address
    let_in: Callable[[], None]
    turn_away: Callable[[], None]
    is_there: Callable[[], bool]


def is_open(sock: socket.socket) -> bool:
    """Whether the other side has not ended a connection: its end stands behind what was not read yet, so ask TCP."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED


class Listener:
    """The listening side of one link, and its condition."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.sock: socket.socket | None = None
        self.address: Address = link.listen
        self.condition: Condition = Healthy()
        self.connections: set[Connection] = set()
        self._stuffing: socket.socket | None = None  # fills the queue of connections, so that no other is answered

    def listen(self) -> socket.socket:
        """Listen; the socket, which does not block. Raises RelayError when the address cannot be had."""
        self.sock = self._bound(_BACKLOG)
        return self.sock

    def listen_to_nobody(self) -> None:
        """Listen with a queue for one connection and take that place: Linux drops what else asks for one, silently.

        Raises RelayError when that does not work.
        """
        self.sock = self._bound(0)
        self._stuffing = socket.socket(self.sock.family, socket.SOCK_STREAM)
        self._stuffing.settimeout(_STUFFING_LIMIT)
        try:
            self._stuffing.connect(self.address)
        except OSError as error:
            self.close()
            raise RelayError(f"{self.link.describe()} cannot be made a black hole: {error}") from error

    def hears_nobody(self) -> bool:
        """Whether it listens, and answers nobody who asks for a connection."""
        return self._stuffing is not None

    def close(self) -> None:
        """Listen no longer; connections stay."""
        for sock in (self.sock, self._stuffing):
            if sock is not None:
                sock.close()
        self.sock = self._stuffing = None

    def _bound(self, backlog: int) -> socket.socket:
        host, port = self.address
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            sock.listen(backlog)
        except OSError as error:
            sock.close()
            raise RelayError(f"{self.link.describe()} cannot listen on {host}:{port}: {error.strerror}") from error
        sock.setblocking(False)
        self.address = (host, sock.getsockname()[1])
        return sock
