"""Decoder of the MongoDB wire protocol: OP_MSG, OP_COMPRESSED and the legacy OP_QUERY handshake.

Reads are only counted: their command name is peeked at and the rest of the message skipped, whatever its size. A
command that is not known to be a read or about the session is taken for an effect, so that a command nobody thought of
shows up instead of being missed.
"""

import importlib
import struct
import zlib
from collections.abc import Callable, Iterator

import bson
from bson import ObjectId

from harness.wire.bson import Document, all_documents, document
from harness.wire.decoding import Data, DecodeError, Half, Refusal, Sink
from harness.wire.effects import Effect

_HEADER = struct.Struct("<iiii")
_INT32 = struct.Struct("<i")
_OP_REPLY, _OP_QUERY, _OP_GET_MORE, _OP_KILL_CURSORS, _OP_COMPRESSED, _OP_MSG = 1, 2004, 2005, 2007, 2012, 2013
_REQUESTS = frozenset({_OP_QUERY, _OP_GET_MORE, _OP_KILL_CURSORS, _OP_COMPRESSED, _OP_MSG})
_REPLIES = frozenset({_OP_REPLY, _OP_COMPRESSED, _OP_MSG})
_CHECKSUM, _MORE_TO_COME = 1, 2
# mongod's limit is 48 000 000 bytes; a length beyond this is another protocol.
_LONGEST = 64 * 1024 * 1024
_PEEK = 96

# The monitor's hello waits at the server for ten seconds and more (streaming protocol): it is not work under way.
_HELLOS = frozenset({b"hello", b"isMaster", b"ismaster"})
# Mean a look inside: aggregate writes with $out or $merge, getMore waits for ever on a tailing cursor.
_LOOK_INSIDE = frozenset({b"aggregate", b"getMore"})
_READS = frozenset(
    b"""find count distinct listCollections listDatabases listIndexes killCursors explain ping hello isMaster ismaster
    buildInfo buildinfo serverStatus connectionStatus hostInfo whatsmyuri getParameter getCmdLineOpts getLog dbStats
    dbstats collStats collstats dbHash dataSize validate listCommands usersInfo rolesInfo top currentOp lockInfo
    features replSetGetStatus replSetGetConfig startSession endSessions refreshSessions killSessions killAllSessions
    abortTransaction saslStart saslContinue authenticate getnonce logout getFreeMonitoringStatus atlasVersion
    getDefaultRWConcern isdbgrid""".split()
)
# Reads of what is stored, with where they say what of it.
_DATA_READS = {b"find": "filter", b"count": "query", b"aggregate": "pipeline", b"distinct": "query"}
# A server that is about to shut down refuses writes so; a driver repeats a read that is refused so by itself, and its
# caller would see nothing of it, but not one that took too long.
_REFUSED_WRITE = (11600, "InterruptedAtShutdown", "interrupted at shutdown")
_REFUSED_READ = (50, "MaxTimeMSExpired", "operation exceeded time limit")
_SEQUENCES = {"update": "updates", "delete": "deletes", "insert": "documents"}
_SAME = {"findandmodify": "findAndModify"}


class MongoCodec:
    """Decoder of one connection between a driver and mongo (`harness.wire.decoding.Codec`)."""

    def __init__(self, sink: Sink) -> None:
        self.pending: dict[int, bool] = {}
        self.reads = False
        self._sink = sink
        self._up = Half()
        self._down = Half()

    def client(self, data: Data) -> None:
        """Bytes from the driver."""
        _walk(self._up, data, self._request)

    def server(self, data: Data) -> None:
        """Bytes from mongo."""
        _walk(self._down, data, self._reply)

    def server_ended(self) -> None:
        """Nothing is complete by the end of the stream in this protocol."""

    def client_boundary(self) -> int:
        return self._up.offset

    def server_boundary(self) -> int:
        return self._down.offset

    def refuse(self, ident: int, held: bytes) -> Refusal | None:
        """By a reply that says ok: 0. Not for a request that wants no reply, nor while another reply is under way."""
        if ident not in self.pending or self._down.skip or self._down.buffer or len(held) < 16:
            return None
        effect = self.pending.pop(ident)
        code, name, text = _REFUSED_WRITE if effect else _REFUSED_READ
        body = b"\0\0\0\0\0" + bson.encode({"ok": 0.0, "errmsg": text, "code": code, "codeName": name})
        reply = _HEADER.pack(16 + len(body), ident, ident, _OP_MSG) + body
        if not self.pending:
            self._sink.idle()
        return Refusal(reply, held[_INT32.unpack_from(held)[0] :])

    def multiplexer(self) -> None:
        """A driver has no way to take a request back but to close the connection."""

    # _request and _reply return how much of the message is consumed: all, 0 (wait for more), or negative (all, stop).

    def _request(self, data: Data, at: int, size: int) -> int:
        length: int
        length, ident, _, opcode = _HEADER.unpack_from(data, at)
        if opcode == _OP_MSG:
            if size < length and size < _PEEK:
                return 0
            name = _peek(data, at) if length > 26 else b""
            if name in _READS and not (self.reads and name in _DATA_READS):
                if name not in _HELLOS and not data[at + 16] & _MORE_TO_COME:
                    self.pending[ident] = False
                return length
        elif opcode not in _REQUESTS:
            raise DecodeError(f"operation {opcode} is none that a driver sends")
        if size < length:
            return 0
        start = self._up.offset
        hold = self._command(_copy(data, at, length), ident, opcode, start, start + length)
        return -length if hold else length

    def _command(self, message: bytes, ident: int, opcode: int, start: int, end: int) -> bool:
        if opcode == _OP_COMPRESSED:
            opcode, message = _decompressed(message)
        if opcode in (_OP_GET_MORE, _OP_KILL_CURSORS):
            if opcode == _OP_GET_MORE:
                self.pending[ident] = False
            return False
        command = _Command.of_query(message) if opcode == _OP_QUERY else _Command.of_message(message)
        if command is None or command.is_read():
            if not (command and command.waits()):
                self.pending[ident] = False
            if self.reads and command is not None and command.name.encode() in _DATA_READS:
                return self._sink.request(ident, command.read(), start, end, droppable=False)
            return False
        if not command.more_to_come:
            self.pending[ident] = True
        return self._sink.request(ident, command.effect(), start, end, droppable=False)

    def _reply(self, data: Data, at: int, size: int) -> int:
        length: int
        length, _, ident, opcode = _HEADER.unpack_from(data, at)
        if opcode not in _REPLIES:
            raise DecodeError(f"operation {opcode} is none that a mongo server sends")
        if size < length:
            # What nobody waits for goes by without being kept; the end of the others is wanted.
            return 0 if self.pending.get(ident) else self._passing(length, ident)
        effect = self.pending.pop(ident, None)
        if effect:
            hold = self._sink.reply_begins(ident, self._down.offset)
            self._sink.reply(ident, ok=_succeeded(_copy(data, at, length)))
        else:
            hold = False
        if effect is not None and not self.pending:
            self._sink.idle()
        return -length if hold else length

    def _passing(self, length: int, ident: int) -> int:
        # The answer to a read counts as given when it begins: the server's work on it is done.
        if self.pending.pop(ident, None) is not None and not self.pending:
            self._sink.idle()
        return length


def _walk(half: Half, data: Data, take: Callable[[Data, int, int], int]) -> None:
    """Drive `take` over the messages in what is left over and `data`."""
    skip = half.skip
    if skip:
        size = len(data)
        if size <= skip:
            half.skip = skip - size
            half.offset += size
            return
        half.skip = 0
        half.offset += skip
        data = data[skip:]
    work: Data
    if half.buffer:
        half.buffer += data
        work = half.buffer
    else:
        work = data
    at, size = 0, len(work)
    while size - at >= 16:
        length = _INT32.unpack_from(work, at)[0]
        if not 16 <= length <= _LONGEST:
            raise DecodeError(f"a message cannot have {length} bytes")
        taken = take(work, at, size - at)
        if taken == 0:
            break
        consumed = abs(taken)
        at += consumed
        half.offset += consumed
        if at > size:
            half.skip = at - size
            half.offset -= half.skip
            at = size
        if taken < 0:
            break
    if work is half.buffer:
        del half.buffer[:at]
    elif at < size:
        half.buffer += work[at:]


def _copy(data: Data, at: int, length: int) -> bytes:
    """A message of its own, copied once: slicing a bytearray alone would be a copy more."""
    return bytes(memoryview(data)[at : at + length])


def _peek(data: Data, at: int) -> bytes:
    """The command's name when the first section is its body, else nothing."""
    if data[at + 20] != 0:
        return b""
    return bytes(data[at + 26 : at + _PEEK]).partition(b"\0")[0]


class _Command:
    """One command: its name, its body, and whether a reply follows. Documents of sequences are part of the body."""

    __slots__ = ("_body", "_database", "more_to_come", "name")

    def __init__(self, body: Document, database: str, *, more_to_come: bool) -> None:
        if not body:
            raise DecodeError("a command is empty")
        self.name = next(iter(body))
        if self.name == "$query" and isinstance(body["$query"], dict) and body["$query"]:  # the old way to add options
            body = body["$query"]
            self.name = next(iter(body))
        self._body = body
        self._database = database or str(body.get("$db", ""))
        self.more_to_come = more_to_come

    @classmethod
    def of_message(cls, message: bytes) -> "_Command":
        """From an OP_MSG with its header."""
        if len(message) < 26:
            raise DecodeError("an OP_MSG is too short")
        flags = _INT32.unpack_from(message, 16)[0]
        end = len(message) - (4 if flags & _CHECKSUM else 0)
        body: Document | None = None
        sequences: dict[str, list[Document]] = {}
        at = 20
        while at < end:
            kind = message[at]
            if kind == 0:
                body, at = document(message, at + 1, end)
            elif kind == 1:
                name, documents, at = _sequence(message, at + 1, end)
                sequences.setdefault(name, []).extend(documents)
            else:
                raise DecodeError(f"OP_MSG has no section of kind {kind}")
        if body is None:
            raise DecodeError("an OP_MSG has no body")
        return cls({**body, **sequences}, "", more_to_come=bool(flags & _MORE_TO_COME))

    @classmethod
    def of_query(cls, message: bytes) -> "_Command | None":
        """From an OP_QUERY; None when it is a plain query."""
        stop = message.find(b"\0", 20)
        if stop < 0:
            raise DecodeError("an OP_QUERY is cut short")
        name = message[20:stop].decode("utf-8", "backslashreplace")
        body, _ = document(message, stop + 9, len(message))
        if not name.endswith(".$cmd"):
            return None
        return cls(body, name.removesuffix(".$cmd"), more_to_come=False)

    def is_read(self) -> bool:
        """Whether it changes nothing."""
        name = self.name.encode()
        if name == b"aggregate":
            stages = _documents(self._body.get("pipeline"))
            return not any("$out" in stage or "$merge" in stage for stage in stages)
        return name in _READS or name in _LOOK_INSIDE

    def waits(self) -> bool:
        """Whether the answer may take as long as it likes: hello of a monitor, the next event of a tailing cursor."""
        if self.name == "getMore" and "maxTimeMS" in self._body:
            return True
        return self.name.encode() in _HELLOS or self.more_to_come

    def read(self) -> Effect:
        """The read that it is."""
        what = self._body.get(_DATA_READS[self.name.encode()])
        key: set[tuple[str, str]] = set()
        for part in [*_documents(what), what]:
            _filter(part.get("$match", part) if isinstance(part, dict) else part, key)
        target = f"{self._database}.{self._body[self.name]}"
        return Effect("mongo", self.name, target, tuple(sorted(key)), read=True)

    def effect(self) -> Effect:
        """The effect that it is."""
        body, op = self._body, _SAME.get(self.name, self.name)
        collection = body[self.name]
        key: set[tuple[str, str]] = set()
        fields: set[str] = set()
        if op == "findAndModify":
            _filter(body.get("query"), key)
            fields.update(_updated(body.get("update")))
        for item in _documents(body.get(_SEQUENCES.get(op, ""))):
            if op == "insert":
                fields.update(name for name in item if name != "_id")
                if not isinstance(item.get("_id"), ObjectId):  # which is random and tells nothing
                    _flatten(item.get("_id"), "_id", key)
            else:
                _filter(item.get("q"), key)
                fields.update(_updated(item.get("u")))
        target = f"{self._database}.{collection}" if isinstance(collection, str) else self._database
        return Effect("mongo", op, target, tuple(sorted(key)), tuple(sorted(fields)))


def _documents(value: object) -> list[Document]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _filter(document: object, into: set[tuple[str, str]]) -> None:
    """The scalars of a filter. What stands under `$and` means the same as without it, so that it is named the same."""
    if not isinstance(document, dict):
        return
    for name, value in document.items():
        if name == "$and" and isinstance(value, list):
            for part in value:
                _filter(part, into)
        else:
            _flatten(value, name, into)


def _flatten(value: object, name: str, into: set[tuple[str, str]]) -> None:
    if isinstance(value, str):
        into.add((name, str(value)))
    elif isinstance(value, bool):
        into.add((name, "true" if value else "false"))
    elif isinstance(value, float):
        into.add((name, f"{value:g}"))
    elif isinstance(value, int | ObjectId):
        into.add((name, str(value)))
    elif isinstance(value, dict):
        for part, inner in value.items():
            _flatten(inner, f"{name}.{part}", into)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _flatten(inner, f"{name}.{number}", into)


def _updated(update: object) -> Iterator[str]:
    """Top-level names that an update sets or unsets: of operators, of a replacement, or of a pipeline's stages."""
    for part in update if isinstance(update, list) else [update]:
        for name, value in part.items() if isinstance(part, dict) else ():
            if not name.startswith("$"):
                if name != "_id":
                    yield name
            elif isinstance(value, dict):
                yield from (member.partition(".")[0] for member in value)
            elif name == "$unset":
                members = value if isinstance(value, list) else [value]
                yield from (str(member).partition(".")[0] for member in members)


def _sequence(message: bytes, at: int, end: int) -> tuple[str, list[Document], int]:
    """A kind 1 section: its name, its documents, where it ends."""
    size = _INT32.unpack_from(message, at)[0] if at + 4 <= end else 0
    stop = message.find(b"\0", at + 4, end)
    if size < 5 or at + size > end or not 0 <= stop < at + size:
        raise DecodeError("a document sequence of an OP_MSG is cut short")
    documents = all_documents(message, stop + 1, at + size)
    return message[at + 4 : stop].decode("utf-8", "backslashreplace"), documents, at + size


def _succeeded(message: bytes) -> bool:
    """Whether a reply says ok and carries no write errors."""
    opcode = _HEADER.unpack_from(message)[3]
    if opcode == _OP_COMPRESSED:
        opcode, message = _decompressed(message)
    if opcode == _OP_REPLY:
        at = 36
    elif len(message) > 20 and message[20] == 0:
        at = 21
    else:
        raise DecodeError("a reply has no body first")
    body, _ = document(message, at, len(message))
    return body.get("ok") == 1 and not body.get("writeErrors")


def _decompressed(message: bytes) -> tuple[int, bytes]:
    """Original operation and message of an OP_COMPRESSED, with a header."""
    if len(message) < 25:
        raise DecodeError("an OP_COMPRESSED is too short")
    opcode, size = struct.unpack_from("<ii", message, 16)
    if not 0 <= size <= _LONGEST:
        raise DecodeError(f"an OP_COMPRESSED cannot hold {size} bytes")
    body = _decompress(message[24], message[25:], size)
    if len(body) != size:
        raise DecodeError("an OP_COMPRESSED does not have the size it says")
    return opcode, message[:12] + _INT32.pack(opcode) + body


def _decompress(compressor: int, data: bytes, size: int) -> bytes:
    if compressor == 0:
        return data
    if compressor == 2:
        unpacker = zlib.decompressobj()
        try:
            return unpacker.decompress(data, size + 1)
        except zlib.error as error:
            raise DecodeError(f"an OP_COMPRESSED is not zlib: {error}") from error
    names = {1: ("snappy", "snappy"), 3: ("zstd", "zstandard")}
    if compressor not in names:
        raise DecodeError(f"an OP_COMPRESSED names the unknown compressor {compressor}")
    label, module = names[compressor]
    try:
        library = importlib.import_module(module)
    except ImportError as error:
        raise DecodeError(f"the driver compresses with {label}, and the Python module {module} is not there") from error
    try:
        unpacked = library.decompress(data)
    except Exception as error:  # the libraries' own error classes cannot be named without importing them
        raise DecodeError(f"an OP_COMPRESSED is not {label}: {error}") from error
    if not isinstance(unpacked, bytes):
        raise DecodeError(f"the Python module {module} returned no bytes")
    return unpacked
