"""gRPC inside HTTP/2: messages in DATA frames, and what a request means: an effect of etcd or of another service."""

import zlib
from collections.abc import Iterator

from harness.wire.decoding import Data, DecodeError
from harness.wire.effects import Effect, digest

_LONGEST = 64 * 1024 * 1024
_KV = "etcdserverpb.KV"
# What changes nothing that etcd keeps. Everything else is an effect: what nobody thought of shows up.
_ETCD_READS = frozenset(
    {
        f"{_KV}/Range",
        "etcdserverpb.Watch/Watch",
        "etcdserverpb.Lease/LeaseKeepAlive",
        "etcdserverpb.Lease/LeaseTimeToLive",
        "etcdserverpb.Lease/LeaseLeases",
        "etcdserverpb.Cluster/MemberList",
        "etcdserverpb.Maintenance/Status",
        "etcdserverpb.Maintenance/Snapshot",
        "etcdserverpb.Maintenance/Hash",
        "etcdserverpb.Maintenance/HashKV",
        "etcdserverpb.Maintenance/Alarm",
        "etcdserverpb.Auth/Authenticate",
        "etcdserverpb.Auth/AuthStatus",
        "etcdserverpb.Auth/UserGet",
        "etcdserverpb.Auth/UserList",
        "etcdserverpb.Auth/RoleGet",
        "etcdserverpb.Auth/RoleList",
    }
)
ETCD_STREAMS = frozenset({"/etcdserverpb.Watch/Watch", "/etcdserverpb.Lease/LeaseKeepAlive"})
# Asked by clients on their own account, for their connections.
_PLUMBING = ("grpc.health.", "grpc.reflection.")


class Messages:
    """Puts the messages of one direction of a gRPC stream together from its DATA frames."""

    __slots__ = ("_buffer", "_keep", "_left")

    def __init__(self, *, keep: bool) -> None:
        self._buffer = bytearray()
        self._keep = keep  # whether anybody wants the content
        self._left = 0  # of a message whose content nobody wants

    def feed(self, data: Data, encoding: str) -> list[bytes]:
        """Messages that `data` completes, decompressed; empty ones where the content is not wanted."""
        done: list[bytes] = []
        if self._left:
            skipped = min(self._left, len(data))
            self._left -= skipped
            data = data[skipped:]
            if self._left:
                return done
            done.append(b"")
        self._buffer += data
        buffer = self._buffer
        while len(buffer) >= 5:
            length = int.from_bytes(buffer[1:5], "big")
            if buffer[0] > 1 or length > _LONGEST:
                raise DecodeError(f"a gRPC message cannot begin with {bytes(buffer[:5]).hex()}")
            if len(buffer) < 5 + length:
                if not self._keep:
                    self._left = 5 + length - len(buffer)
                    buffer.clear()
                break
            done.append(_inflate(buffer, length, encoding) if self._keep else b"")
            del buffer[: 5 + length]
        return done


def _inflate(buffer: bytearray, length: int, encoding: str) -> bytes:
    content = bytes(buffer[5 : 5 + length])
    if not buffer[0]:
        return content
    if encoding not in ("gzip", "deflate"):
        raise DecodeError(f"a gRPC message is compressed with {encoding or 'nothing that was named'}")
    unpacker = zlib.decompressobj(47)
    try:
        return unpacker.decompress(content, _LONGEST)
    except zlib.error as error:
        raise DecodeError(f"a gRPC message is not {encoding}: {error}") from error


def split_path(path: str) -> tuple[str, str]:
    """Service and method of `/package.Service/Method`."""
    service, _, method = path.removeprefix("/").rpartition("/")
    return service, method


def service_effect(path: str) -> Effect | None:
    """The effect that a request to another service is."""
    service, method = split_path(path)
    if not service or service.startswith(_PLUMBING):
        return None
    return Effect("grpc", method, service, ())


def etcd_effect(path: str, message: bytes) -> Effect | None:
    """The effect that a request to etcd is; None for reads."""
    service, method = split_path(path)
    if f"{service}/{method}" in _ETCD_READS or service.startswith(_PLUMBING):
        return None
    pairs: set[tuple[str, str]] = set()
    value = ""
    if service == _KV and method in ("Put", "DeleteRange"):
        pairs.update(_touched(message, ranged=method == "DeleteRange"))
        value = digest(_put_value(message)) if method == "Put" else ""
    elif service == _KV and method == "Txn":
        writes = list(_writes(message))
        if not writes:
            return None
        for ranged, request in writes:
            pairs.update(_touched(request, ranged=ranged))
    return Effect("etcd", method, "", tuple(sorted(pairs)), value=value)


def etcd_read(path: str, message: bytes) -> Effect | None:
    """The read of keys that a request to etcd is; None for anything else."""
    if path != f"/{_KV}/Range":
        return None
    return Effect("etcd", "Range", "", tuple(sorted(set(_touched(message, ranged=True)))), read=True)


def etcd_wants_content(path: str, *, reads: bool) -> bool:
    """Whether the request's content says what it does, or reads."""
    service, method = split_path(path)
    return service == _KV and method in (*(("Range",) if reads else ()), "Put", "DeleteRange", "Txn")


def printable(raw: bytes) -> str:
    """A key as text: what is not printable is written as an escape."""
    text = raw.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _touched(request: bytes, *, ranged: bool) -> Iterator[tuple[str, str]]:
    """Key, and end of the range, of a PutRequest or DeleteRangeRequest: both have them as fields 1 and 2."""
    for number, value in protobuf_fields(request):
        if number == 1 and isinstance(value, bytes):
            yield "key", printable(value)
        elif number == 2 and ranged and isinstance(value, bytes):
            yield "range_end", printable(value)


def _put_value(request: bytes) -> bytes:
    """What a PutRequest writes: its field 2, which is left out where it is empty."""
    return next((value for number, value in protobuf_fields(request) if number == 2 and isinstance(value, bytes)), b"")


def _writes(transaction: bytes, depth: int = 0) -> Iterator[tuple[bool, bytes]]:
    """The puts and deletes (True) in both branches of a TxnRequest, nested ones, too."""
    if depth > 20:
        raise DecodeError("an etcd transaction is nested too deeply")
    for number, branch in protobuf_fields(transaction):
        if number not in (2, 3) or not isinstance(branch, bytes):
            continue
        for kind, request in protobuf_fields(branch):
            if not isinstance(request, bytes):
                continue
            if kind in (2, 3):
                yield kind == 3, request
            elif kind == 4:
                yield from _writes(request, depth + 1)


def protobuf_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and raw values of a protobuf message. Raises DecodeError on nonsense."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise DecodeError(f"protobuf has no wire type {kind}")
        if at + size > len(data):
            raise DecodeError("a protobuf field is cut short")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise DecodeError("a protobuf number has no end")
