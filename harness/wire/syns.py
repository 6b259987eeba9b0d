"""Sees connections that nobody accepts: where a link refuses, the kernel answers, and no program learns of the try.

A packet socket gets a copy of every SYN. It needs CAP_NET_RAW, which the harness has in a network namespace of its own
and containers have unless it is taken from them, and is open only while something is watched.
"""

import asyncio
import ctypes
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from harness.wire.links import Address, RelayError

_ANY = "0.0.0.0"  # noqa: S104  nothing listens here: a link that listens on all addresses is watched on all of them
_IPV4 = 0x0800
_OUTGOING = 4  # what leaves is seen, too: on the loopback interface a second time as it arrives
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER
_LONGEST = 128
# SO_TIMESTAMPNS, of Linux: when the kernel saw a packet, however late we read it. For the first ones it is when we read
# them: what stamps them is turned on in deferred work of the kernel.
_TIMESTAMP = 35
_TIMESPEC = struct.Struct("ll")

# Classic BPF over the IP header: TCP (protocol 6) whose flags are SYN without ACK; everything else is dropped in the
# kernel, so that the relays' traffic costs nothing.
_SYN_ONLY = (
    (0x30, 0, 0, 9),  # ldb [9]           protocol
    (0x15, 0, 5, 6),  # jeq 6
    (0xB1, 0, 0, 0),  # ldxb 4*([0]&0xf)  length of the IP header
    (0x50, 0, 0, 13),  # ldb [x+13]       TCP flags
    (0x54, 0, 0, 0x12),  # and SYN|ACK
    (0x15, 0, 1, 0x02),  # jeq SYN
    (0x06, 0, 0, _LONGEST),  # ret
    (0x06, 0, 0, 0),  # ret 0
)


@dataclass(slots=True)
class Syns:
    """Counts SYNs to watched addresses. All methods are called in the event loop of the namespace.

    knocked: is called with source and target, as they were watched, with the address that the SYN came from, and how
             many seconds ago that was: on a busy machine it is read later, and pauses would look shorter than they are
    """

    knocked: Callable[[str, str, str, float], None]
    _watched: dict[Address, tuple[str, str]] = field(default_factory=dict)
    _seen: set[tuple[Address, Address, int]] = field(default_factory=set)
    _socket: socket.socket | None = None

    def watch(self, names: Mapping[Address, tuple[str, str]]) -> None:
        """Tell of every try to connect to these addresses; the host 0.0.0.0 means all of this machine's.

        Raises RelayError where packets may not be seen: tries cannot be counted there.
        """
        if self._socket is not None:
            self._arrived(self._socket)  # what came before is not asked of those that are watched from now on
        self._watched.update(names)
        if self._socket is not None or not self._watched:
            return
        try:
            self._socket = _packets()
        except OSError as error:
            self._watched.clear()
            raise RelayError(
                f"refused connections cannot be counted here ({error.strerror}): it takes CAP_NET_RAW, which processes "
                "have in a network namespace of the harness and pods unless it is taken from them; use the kind `reset`"
            ) from error
        asyncio.get_running_loop().add_reader(self._socket, self._arrived, self._socket)

    def forget(self, addresses: tuple[Address, ...]) -> None:
        """Watch them no longer."""
        for address in addresses:
            self._watched.pop(address, None)
        if not self._watched:
            self.close()

    def close(self) -> None:
        """Watch nothing."""
        self._watched.clear()
        self._seen.clear()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _arrived(self, sock: socket.socket) -> None:
        while True:
            try:
                packet, extra, _, sender = sock.recvmsg(_LONGEST, socket.CMSG_SPACE(_TIMESPEC.size))
            except BlockingIOError:
                return
            syn = read_syn(packet) if sender[2] != _OUTGOING else None
            # A SYN that is not answered is sent again, with the same number: that is no new try of the program.
            if syn is None or syn in self._seen:
                continue
            (host, _), destination, _ = syn
            names = self._watched.get(destination) or self._watched.get((_ANY, destination[1]))
            if names is not None:
                self._seen.add(syn)
                self.knocked(*names, host, _ago(extra))


def read_syn(packet: bytes) -> tuple[Address, Address, int] | None:
    """Source, destination and sequence number of an IPv4 TCP packet; None for one that is cut short."""
    header = (packet[0] & 0x0F) * 4 if packet else 0
    if header < 20 or len(packet) < header + 8:
        return None
    source, destination, number = struct.unpack_from("!HHI", packet, header)
    return (socket.inet_ntoa(packet[12:16]), source), (socket.inet_ntoa(packet[16:20]), destination), number


def _ago(extra: list[tuple[int, int, bytes]]) -> float:
    for level, kind, data in extra:
        if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMP):
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return max(0.0, time.time() - float(seconds) - float(nanoseconds) / 1e9)
    return 0.0


def _packets() -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_IPV4))
    try:
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _SYN_ONLY))
        program = struct.pack("HL", len(_SYN_ONLY), ctypes.addressof(code))  # struct sock_fprog
        sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
        sock.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
