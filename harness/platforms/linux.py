"""The few Linux calls that Python 3.11 has no name for: parent-death signal, subreaper, network namespaces."""

import ctypes
import fcntl
import os
import signal
import socket
import struct

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_BIND = 0x1000
_MS_REC_PRIVATE = 0x4000 | 0x40000
_MNT_DETACH = 2
_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that started it ends. Called in the child."""
    _checked(_libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def become_subreaper() -> None:
    """Grandchildren whose parent ended become children of this process, so that it can reap them itself."""
    _checked(_libc().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")


def enter_network_namespace() -> bool:
    """Move the calling thread (and what it starts later) to a new network namespace with loopback up.

    Unprivileged users get there through a user namespace, which Linux grants to a single-threaded process only.
    Returns False where the system allows neither; nothing has changed then.
    """
    uid, gid = os.getuid(), os.getgid()
    libc = _libc()
    if libc.unshare(_CLONE_NEWNET) != 0:
        if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
            return False
        _map_user(uid, gid)
    _loopback_up()
    return True


def mount_privately(source: str, target: str) -> None:
    """Let the folder `source` appear at `target` for this process and its children only. Raises OSError."""
    libc = _libc()
    _checked(libc.unshare(_CLONE_NEWNS), "unshare(CLONE_NEWNS)")
    _checked(libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None), "mount --make-rprivate /")
    _checked(libc.mount(source.encode(), target.encode(), None, _MS_BIND, None), f"mount --bind {source} {target}")


def own_mounts() -> bool:
    """Move the calling thread (and what it starts later) to a mount namespace of its own; False where that is refused.

    What is mounted there nobody else sees, and it is gone with the last process of the namespace.
    """
    libc = _libc()
    if libc.unshare(_CLONE_NEWNS) != 0:
        return False
    return int(libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None)) == 0


def mount_memory(target: str, megabytes: int) -> None:
    """A file system in memory, of at most this size, at a folder. Raises OSError (EPERM: nothing may be mounted)."""
    options = f"size={megabytes}m,mode=0700".encode()
    _checked(_libc().mount(b"emco-chaos", target.encode(), b"tmpfs", 0, options), f"mount -t tmpfs {target}")


def unmount(target: str) -> None:
    """Take a mount away; who still uses it keeps it until it ends. Raises OSError."""
    _checked(_libc().umount2(target.encode(), _MNT_DETACH), f"umount {target}")


def socket_inode(source: tuple[str, int], target: tuple[str, int]) -> int:
    """Inode of the IPv4 TCP socket that is connected from source to target on this machine; 0 when there is none.

    Asked of the kernel by sock_diag(7) for exactly this socket: /proc/net/tcp may leave out lines while sockets come
    and go.
    """
    ports = struct.pack("!HH", source[1], target[1])
    addresses = socket.inet_aton(source[0]).ljust(16, b"\0") + socket.inet_aton(target[0]).ljust(16, b"\0")
    identity = ports + addresses + struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    body = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + identity
    header = struct.pack("=IHHII", 16 + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.sendto(header + body, (0, 0))
        answer = netlink.recv(4096)
    kind = struct.unpack_from("=H", answer, 4)[0]
    return int(struct.unpack_from("=I", answer, 84)[0]) if kind == _SOCK_DIAG_BY_FAMILY else 0


def _map_user(uid: int, gid: int) -> None:
    # As root of the user namespace: other users lose their capabilities in it when a program is executed.
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
