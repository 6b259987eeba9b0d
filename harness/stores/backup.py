"""A backup: mongo and etcd of one quiet moment in one portable file, with all that is needed to trust it.

The file is a tar that every tar can list and unpack:

    manifest.json                     format, creation time, versions, counts, sha256 of each member; always first
    mongo/<database>.<collection>.bson  documents one after the other, in natural order, as mongodump writes them
    etcd/keys.bson                    a document {key, value} for each key, sorted by key
    extras/<name>                     small secret files (a data key, say)
    SHA256                            of the manifest, and of all bytes before it; always last

Headers are written by this module and hold nothing but name and size, so each byte of a file is checked: it is either
what the digests say or refused. A backup holds credentials; it is readable by its owner only.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import bson
import msgspec
from bson.errors import BSONError

FORMAT = 1
_BLOCK = 512
_END = bytes(2 * _BLOCK)
_MANIFEST = "manifest.json"
_SEAL = "SHA256"
_ETCD = "etcd/keys.bson"
_NONE = "this is no backup of emco-chaos: it does not begin with a manifest"
_LARGEST = 8**11 - 1  # bytes of one member: what the size field of a tar header can say
LARGEST_EXTRA = 1_000_000
"""Bytes of an extra: a key or a password, not a dump."""


class BackupError(Exception):
    """A backup that cannot be written, read or trusted; the sentence names the file and the broken member."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a secret can be compared with without being known: salted, and slow to try."""

    salt: str
    digest: str

    def fits(self, secret: bytes) -> bool:
        return hmac.compare_digest(fingerprint(secret, salt=bytes.fromhex(self.salt)).digest, self.digest)


@dataclass(frozen=True, slots=True)
class Backup:
    """The content of a backup.

    created:      UTC, ISO 8601
    versions:     of everything that took part, by name
    mongo:        `database.collection` -> raw documents, in natural order
    etcd:         key -> value
    extras:       name -> content of small secret files
    fingerprints: name -> what a secret that is not in the backup can be checked with
    """

    created: str
    versions: Mapping[str, str]
    mongo: Mapping[str, tuple[bytes, ...]] = field(repr=False)
    etcd: Mapping[bytes, bytes] = field(repr=False)
    extras: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    fingerprints: Mapping[str, Fingerprint] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Member:
    """One member in the manifest. of: the collection or the extra's name; count: documents or keys."""

    name: str
    of: str
    bytes: int
    count: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What manifest.json holds."""

    format: int
    created: str
    versions: dict[str, str]
    members: tuple[Member, ...]
    fingerprints: dict[str, Fingerprint]


def fingerprint(secret: bytes, *, salt: bytes) -> Fingerprint:
    """With a random salt of 16 bytes or more. scrypt: a short secret cannot be found by trying many."""
    digest = hashlib.scrypt(secret, salt=salt, n=2**14, r=8, p=1, dklen=32)
    return Fingerprint(salt.hex(), digest.hex())


def write_backup(path: Path, backup: Backup) -> Manifest:
    """Write the file, mode 0600, complete or not at all. Raises BackupError; a file that is there is not replaced."""
    manifest, content = _rendered(backup)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        if path.exists():
            raise BackupError(f"{path} is there already, and backups are not overwritten")
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                for piece in content:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise BackupError(f"{path}: the backup cannot be written: {error.strerror}") from error
    return manifest


def read_backup(path: Path) -> Backup:
    """Read and verify the whole file. Raises BackupError for anything that is not as it was written."""
    return _verified(path)[1]


def read_manifest(path: Path) -> Manifest:
    """The manifest of a file, verified with all of it. Raises BackupError."""
    return _verified(path)[0]


# -- writing --------------------------------------------------------------------------------------------------------


def _rendered(backup: Backup) -> tuple[Manifest, list[bytes]]:
    bodies = list(_bodies(backup))
    names = [member.name for member, _ in bodies]
    if len({*names}) < len(names):
        raise BackupError("two collections or extras have names that are the same in a file")
    manifest = Manifest(
        format=FORMAT,
        created=backup.created,
        versions=dict(backup.versions),
        members=tuple(member for member, _ in bodies),
        fingerprints=dict(backup.fingerprints),
    )
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    pieces = [*_member(_MANIFEST, text)]
    for member, body in bodies:
        pieces += _member(member.name, body)
    whole = hashlib.sha256()
    for piece in pieces:
        whole.update(piece)
    return manifest, [*pieces, *_member(_SEAL, _seal(text, whole.hexdigest())), _END]


def _bodies(backup: Backup) -> Iterator[tuple[Member, bytes]]:
    for collection in sorted(backup.mongo):
        documents = backup.mongo[collection]
        yield _described(f"mongo/{_file_name(collection)}.bson", collection, b"".join(documents), len(documents))
    keys = [bson.encode({"key": key, "value": value}) for key, value in sorted(backup.etcd.items())]
    yield _described(_ETCD, "", b"".join(keys), len(keys))
    for name in sorted(backup.extras):
        if len(backup.extras[name]) > LARGEST_EXTRA:
            raise BackupError(f"the secret {name} has more than {LARGEST_EXTRA} bytes: extras are for small files")
        yield _described(f"extras/{_file_name(name)}", name, backup.extras[name], 1)


def _described(name: str, of: str, body: bytes, count: int) -> tuple[Member, bytes]:
    if len(body) > _LARGEST:
        raise BackupError(f"{of or name} is larger than a backup can hold ({len(body)} bytes)")
    return Member(name, of, len(body), count, hashlib.sha256(body).hexdigest()), body


def _file_name(name: str) -> str:
    """A name for a member: readable, without a path in it, not too long, another one for each name."""
    safe = quote(name, safe=" ")
    if safe.startswith("."):
        safe = f"%2E{safe[1:]}"
    return safe if len(safe) <= 80 else f"{safe[:60]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _member(name: str, body: bytes) -> tuple[bytes, bytes, bytes]:
    return _header(name, len(body)), body, bytes(-len(body) % _BLOCK)


def _header(name: str, size: int) -> bytes:
    """A ustar header: a plain file of mode 0600, of nobody, of no time."""
    raw = bytearray(_BLOCK)
    raw[0:100] = name.encode("ascii").ljust(100, b"\x00")
    numbers = (f"{0o600:07o}", f"{0:07o}", f"{0:07o}", f"{size:011o}", f"{0:011o}")  # mode, user, group, size, time
    raw[100:148] = "".join(f"{number}\x00" for number in numbers).encode()
    raw[148:156] = b" " * 8
    raw[156:157] = b"0"
    raw[257:265] = b"ustar\x00" + b"00"
    raw[148:156] = f"{sum(raw):06o}\x00 ".encode()
    return bytes(raw)


def _seal(manifest: bytes, whole: str) -> bytes:
    return f"{hashlib.sha256(manifest).hexdigest()}  {_MANIFEST}\n{whole}  *\n".encode()


# -- reading --------------------------------------------------------------------------------------------------------


def _verified(path: Path) -> tuple[Manifest, Backup]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BackupError(f"{path}: the backup cannot be read: {error.strerror}") from error
    try:
        return _parsed(raw)
    except BackupError as error:
        raise BackupError(f"{path}: {error}") from error


def _parsed(raw: bytes) -> tuple[Manifest, Backup]:
    found = list(_members(raw))
    if not found or found[0][0] != _MANIFEST:
        raise BackupError(_NONE)
    if found[-1][0] != _SEAL:
        raise BackupError(f"corrupted backup: it was cut off, {_SEAL} is missing at its end")
    text, (_, seal, place) = found[0][1], found[-1]
    expected = _seal(text, hashlib.sha256(raw[:place]).hexdigest())
    if seal[:64] != expected[:64]:
        raise BackupError(f"corrupted backup: member {_MANIFEST}: sha256 differs")
    manifest = _manifest(text)
    bodies = {name: body for name, body, _ in found[1:-1]}
    _compare(manifest, bodies)
    if seal != expected:
        raise BackupError(f"corrupted backup: {_SEAL} or a header: sha256 of the whole differs")
    return manifest, _content(manifest, bodies)


def _members(raw: bytes) -> Iterator[tuple[str, bytes, int]]:
    """Name, content and place of each member, up to the end of the file; every byte is as `_member` writes it."""
    place = 0
    while len(raw) - place != len(_END) or raw[place:] != _END:
        header = raw[place : place + _BLOCK]
        name = header[:100].rstrip(b"\0").decode("ascii", "replace")
        size = int(header[124:135], 8) if header[124:135].isdigit() and not header[124:135].strip(b"01234567") else -1
        if size < 0 or not name.isascii() or header != _header(name, size):
            if place == 0:
                raise BackupError(_NONE)
            raise BackupError(f"corrupted backup: the header at byte {place} is none, or the file was cut off there")
        body = raw[place + _BLOCK : place + _BLOCK + size]
        end = place + _BLOCK + size
        after = end + -size % _BLOCK
        if raw[end:after] != bytes(after - end):
            raise BackupError(f"corrupted backup: member {name}: it was cut off, or something follows it")
        yield name, body, place
        place = after


def _manifest(text: bytes) -> Manifest:
    try:
        version = msgspec.json.decode(text)["format"]
        if version != FORMAT:
            raise BackupError(f"the backup has format {version!r}, this version reads {FORMAT}")
        return msgspec.json.decode(text, type=Manifest)
    except (msgspec.MsgspecError, UnicodeError, KeyError, TypeError) as error:
        raise BackupError(f"corrupted backup: member {_MANIFEST}: {error}") from error


def _compare(manifest: Manifest, bodies: Mapping[str, bytes]) -> None:
    for member in manifest.members:
        if member.name not in bodies:
            raise BackupError(f"corrupted backup: member {member.name}: missing")
        if hashlib.sha256(bodies[member.name]).hexdigest() != member.sha256:
            raise BackupError(f"corrupted backup: member {member.name}: sha256 differs")
    if more := sorted(set(bodies) - {member.name for member in manifest.members}):
        raise BackupError(f"corrupted backup: member {more[0]}: the manifest does not know it")


def _content(manifest: Manifest, bodies: Mapping[str, bytes]) -> Backup:
    mongo: dict[str, tuple[bytes, ...]] = {}
    etcd: dict[bytes, bytes] = {}
    extras: dict[str, bytes] = {}
    for member in manifest.members:
        body = bodies[member.name]
        if member.name.startswith("extras/"):
            extras[member.of] = body
            continue
        documents = tuple(_documents(member.name, body))
        if len(documents) != member.count:
            raise BackupError(f"corrupted backup: member {member.name}: {len(documents)} documents, not {member.count}")
        if member.name == _ETCD:
            etcd = {one["key"]: one["value"] for one in map(bson.decode, documents)}
        else:
            mongo[member.of] = documents
    return Backup(manifest.created, manifest.versions, mongo, etcd, extras, manifest.fingerprints)


def _documents(name: str, body: bytes) -> Iterable[bytes]:
    place = 0
    while place < len(body):
        size = int.from_bytes(body[place : place + 4], "little")
        try:
            bson.decode(body[place : place + size])
        except BSONError as error:
            raise BackupError(f"corrupted backup: member {name}: no document at byte {place}") from error
        yield body[place : place + size]
        place += size
