"""Decoder of the MongoDB wire protocol: OP_MSG, OP_COMPRESSED and the legacy OP_QUERY handshake.

Reads are only counted: their command name is peeked at and the rest of the message skipped, whatever its size. A
command that is not known to be a read or about the session is taken for an effect, so that a command nobody thought of
shows up instead of being missed.
"""

import importlib
import struct
import zlib
from collections.abc import Callable, Iterator

from harness.wire.bson import ARRAY, DOCUMENT, Element, document_end, elements, scalar
from harness.wire.decoding import Data, DecodeError, Half, Sink
from harness.wire.effects import Effect, Key

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
_SEQUENCES = {"update": "updates", "delete": "deletes", "insert": "documents"}
_SAME = {"findandmodify": "findAndModify"}


class MongoCodec:
    """Decoder of one connection between a driver and mongo (`harness.wire.decoding.Codec`)."""

    def __init__(self, sink: Sink) -> None:
        self.pending: dict[int, bool] = {}
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
            if name in _READS:
                if name not in _HELLOS and not data[at + 16] & _MORE_TO_COME:
                    self.pending[ident] = False
                return length
        elif opcode not in _REQUESTS:
            raise DecodeError(f"operation {opcode} is none that a driver sends")
        if size < length:
            return 0
        start = self._up.offset
        hold = self._command(bytes(data[at : at + length]), ident, opcode, start, start + length)
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
            self._sink.reply(ident, ok=_succeeded(bytes(data[at : at + length])))
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


def _peek(data: Data, at: int) -> bytes:
    """The command's name when the first section is its body, else nothing."""
    if data[at + 20] != 0:
        return b""
    return bytes(data[at + 26 : at + _PEEK]).partition(b"\0")[0]


class _Command:
    """One command: its name, its body and the document sequences beside it."""

    __slots__ = ("_body", "_data", "_database", "_first", "_sequences", "more_to_come")

    def __init__(
        self, data: bytes, body: int, database: str, sequences: dict[str, list[int]], *, more_to_come: bool
    ) -> None:
        self._data = data
        self._body = body
        self._database = database
        self._sequences = sequences
        self.more_to_come = more_to_come
        first = next(elements(data, body), None)
        if first is None:
            raise DecodeError("a command is empty")
        if first.name == "$query" and first.type == DOCUMENT:  # the old way to add options
            self._body = first.at
            first = next(elements(data, first.at), first)
        self._first = first

    @classmethod
    def of_message(cls, message: bytes) -> "_Command":
        """From an OP_MSG with its header."""
        if len(message) < 26:
            raise DecodeError("an OP_MSG is too short")
        flags = _INT32.unpack_from(message, 16)[0]
        end = len(message) - (4 if flags & _CHECKSUM else 0)
        body: int | None = None
        sequences: dict[str, list[int]] = {}
        at = 20
        while at < end:
            kind = message[at]
            if kind == 0:
                body, at = at + 1, document_end(message, at + 1)
            elif kind == 1:
                name, documents, at = _sequence(message, at + 1, end)
                sequences.setdefault(name, []).extend(documents)
            else:
                raise DecodeError(f"OP_MSG has no section of kind {kind}")
        if body is None:
            raise DecodeError("an OP_MSG has no body")
        return cls(message, body, "", sequences, more_to_come=bool(flags & _MORE_TO_COME))

    @classmethod
    def of_query(cls, message: bytes) -> "_Command | None":
        """From an OP_QUERY; None when it is a plain query."""
        stop = message.find(b"\0", 20)
        if stop < 0 or len(message) < stop + 14:
            raise DecodeError("an OP_QUERY is cut short")
        name = message[20:stop].decode("utf-8", "backslashreplace")
        document_end(message, stop + 9)
        if not name.endswith(".$cmd"):
            return None
        return cls(message, stop + 9, name.removesuffix(".$cmd"), {}, more_to_come=False)

    def is_read(self) -> bool:
        """Whether it changes nothing."""
        name = self._first.name.encode()
        if name == b"aggregate":
            return not self._writes_out()
        return name in _READS or name in _LOOK_INSIDE

    def waits(self) -> bool:
        """Whether the answer may take as long as it likes: hello of a monitor, the next event of a tailing cursor."""
        name = self._first.name.encode()
        if name == b"getMore":
            return any(element.name == "maxTimeMS" for element in elements(self._data, self._body))
        return name in _HELLOS or self.more_to_come

    def effect(self) -> Effect:
        """The effect that it is."""
        name = self._first.name
        if not self._database:
            self._database = self._text("$db")
        collection = scalar(self._data, self._first) if self._first.type == 0x02 else None
        key: set[tuple[str, str]] = set()
        fields: set[str] = set()
        if name.lower() == "findandmodify":
            self._statement(self._body, "query", "update", key, fields)
        for document in self._documents(_SEQUENCES.get(name, "")):
            if name == "insert":
                self._inserted(document, key, fields)
            else:
                self._statement(document, "q", "u", key, fields)
        target = f"{self._database}.{collection}" if collection else self._database
        sorted_key: Key = tuple(sorted(key))
        return Effect("mongo", _SAME.get(name, name), target, sorted_key, tuple(sorted(fields)))

    def _text(self, name: str) -> str:
        for element in elements(self._data, self._body):
            if element.name == name:
                return scalar(self._data, element) or ""
        return ""

    def _writes_out(self) -> bool:
        for element in elements(self._data, self._body):
            if element.name == "pipeline" and element.type == ARRAY:
                for stage in elements(self._data, element.at):
                    if stage.type == DOCUMENT and any(
                        part.name in ("$out", "$merge") for part in elements(self._data, stage.at)
                    ):
                        return True
        return False

    def _documents(self, name: str) -> Iterator[int]:
        yield from self._sequences.get(name, ())
        if name:
            for element in elements(self._data, self._body):
                if element.name == name and element.type == ARRAY:
                    yield from (item.at for item in elements(self._data, element.at) if item.type == DOCUMENT)

    def _inserted(self, document: int, key: set[tuple[str, str]], fields: set[str]) -> None:
        for element in elements(self._data, document):
            if element.name != "_id":
                fields.add(element.name)
            elif element.type != 0x07:  # an object id is random and tells nothing
                _flatten(self._data, element, "_id", key)

    def _statement(self, document: int, query: str, update: str, key: set[tuple[str, str]], fields: set[str]) -> None:
        for element in elements(self._data, document):
            if element.name == query and element.type == DOCUMENT:
                _filter(self._data, element.at, key)
            elif element.name == update:
                fields.update(_updated(self._data, element))


def _filter(data: bytes, document: int, into: set[tuple[str, str]]) -> None:
    """The scalars of a filter. What stands under `$and` means the same as without it, so that it is named the same."""
    for member in elements(data, document):
        if member.name == "$and" and member.type == ARRAY:
            for part in elements(data, member.at):
                if part.type == DOCUMENT:
                    _filter(data, part.at, into)
        else:
            _flatten(data, member, member.name, into)


def _flatten(data: bytes, element: Element, name: str, into: set[tuple[str, str]]) -> None:
    if element.type in (DOCUMENT, ARRAY):
        for member in elements(data, element.at):
            _flatten(data, member, f"{name}.{member.name}", into)
        return
    text = scalar(data, element)
    if text is not None:
        into.add((name, text))


def _updated(data: bytes, update: Element) -> Iterator[str]:
    """Top-level names that an update sets or unsets: of operators, of a replacement, or of a pipeline's stages."""
    if update.type == ARRAY:
        for stage in elements(data, update.at):
            if stage.type == DOCUMENT:
                yield from _updated(data, stage)
    elif update.type == DOCUMENT:
        for element in elements(data, update.at):
            if not element.name.startswith("$"):
                if element.name != "_id":
                    yield element.name
            elif element.type == DOCUMENT:
                yield from (member.name.partition(".")[0] for member in elements(data, element.at))
            elif element.name == "$unset":
                members = elements(data, element.at) if element.type == ARRAY else (element,)
                yield from ((scalar(data, member) or "").partition(".")[0] for member in members)


def _sequence(message: bytes, at: int, end: int) -> tuple[str, list[int], int]:
    """A kind 1 section: its name, where its documents start, where it ends."""
    size = _INT32.unpack_from(message, at)[0] if at + 4 <= end else 0
    stop = message.find(b"\0", at + 4, end)
    if size < 5 or at + size > end or not 0 <= stop < at + size:
        raise DecodeError("a document sequence of an OP_MSG is cut short")
    documents = []
    position = stop + 1
    while position < at + size:
        documents.append(position)
        position = document_end(message, position)
    if position != at + size:
        raise DecodeError("a document sequence of an OP_MSG has a wrong size")
    return message[at + 4 : stop].decode("utf-8", "backslashreplace"), documents, position


def _succeeded(message: bytes) -> bool:
    """Whether a reply says ok and carries no write errors."""
    opcode = _HEADER.unpack_from(message)[3]
    if opcode == _OP_COMPRESSED:
        opcode, message = _decompressed(message)
    if opcode == _OP_REPLY:
        body = 36
    elif len(message) > 20 and message[20] == 0:
        body = 21
    else:
        raise DecodeError("a reply has no body first")
    ok = False
    for element in elements(message, body):
        if element.name == "ok":
            ok = scalar(message, element) in ("1", "true")
        elif element.name == "writeErrors" and element.type == ARRAY and next(elements(message, element.at), None):
            return False
    return ok


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
