"""For the person who runs an EMCO: is its database consistent, back it up, bring it back. No experiment, no relay."""

import asyncio
import os
import re
import secrets
import signal
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from harness.emco.invariants import Violation, check
from harness.emco.records import document_label, pending
from harness.faults.victim import HarnessTrouble, UsageError
from harness.stores.backup import (
    LARGEST_EXTRA,
    Backup,
    BackupError,
    Fingerprint,
    Manifest,
    fingerprint,
    read_backup,
    read_manifest,
    write_backup,
)
from harness.stores.etcd import Etcd
from harness.stores.mongo import Mongo, StoreError
from harness.stores.pair import (
    NotAtRest,
    Reading,
    Replace,
    Rest,
    Restored,
    RestoreFailed,
    RestoreRefused,
    make_backup,
    read_pair,
    restore_backup,
)
from harness.stores.snapshot import Snapshot

T = TypeVar("T")

_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
DATA_KEY = "data-key"
"""The name under which a backup keeps EMCO's data key or its fingerprint."""


@dataclass(frozen=True, slots=True)
class Stores:
    """Where EMCO's two stores are. Give both: either alone says nothing about consistency."""

    mongo_uri: str = field(repr=False)
    etcd_endpoint: str
    etcd_user: str = ""
    etcd_password: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        for option, given in (("--mongo-uri", self.mongo_uri), ("--etcd-endpoint", self.etcd_endpoint)):
            if not given:
                raise UsageError(f"{option} is missing: EMCO's database is mongo and etcd together, a consistent pair")
        self.mongo_address()
        self.etcd_address()

    def mongo_address(self) -> tuple[str, int]:
        """Host and port of the first server, for sentences; never user or password. Raises UsageError."""
        try:
            host, port = parse_uri(self.mongo_uri)["nodelist"][0]
        except (PyMongoError, ValueError, UnicodeError) as error:
            expected = "mongodb://[user:password@]host:port is expected"
            # The error's own text may hold the password.
            raise UsageError(f"--mongo-uri is not understood ({type(error).__name__}): {expected}") from None
        return host, port or 27017

    def etcd_address(self) -> tuple[str, int]:
        """Raises UsageError."""
        host, colon, port = self.etcd_endpoint.removeprefix("http://").rstrip("/").rpartition(":")
        if not (host and colon and port.isdigit() and 0 < int(port) < 65536) or "@" in host or "/" in host:
            raise UsageError("--etcd-endpoint is not understood: host:port is expected, without user and without TLS")
        return host.strip("[]"), int(port)


@dataclass(frozen=True, slots=True)
class Health:
    """What `check` found in a live EMCO.

    empty:   there is nothing at all: so a wiped database looks, and a wrong address, too
    certain: it was at rest, so that every invariant could be judged
    """

    reading: Reading
    violations: tuple[Violation, ...]

    @property
    def empty(self) -> bool:
        return not any(self.reading.snapshot.mongo.values()) and not self.reading.snapshot.etcd

    @property
    def certain(self) -> bool:
        return self.reading.at_rest


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a backup keeps beside the stores, or is compared with.

    data_key: EMCO's data key, None where it is not given;  keep: put the key itself into the backup
    files:    further secret files by name
    """

    data_key: bytes | None = field(default=None, repr=False)
    keep: bool = True
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def extras(self) -> dict[str, bytes]:
        kept = {DATA_KEY: self.data_key} if self.data_key is not None and self.keep else {}
        return {**self.files, **kept}

    def contents(self) -> tuple[bytes, ...]:
        """All that must not be shown."""
        return (*self.files.values(), *([self.data_key] if self.data_key is not None else []))

    def fingerprints(self) -> dict[str, Fingerprint]:
        if self.data_key is None or self.keep:
            return {}
        return {DATA_KEY: fingerprint(self.data_key, salt=secrets.token_bytes(16))}


def read_secrets(data_key_env: str, *, keep: bool, files: tuple[str, ...], environment: Mapping[str, str]) -> Secrets:
    """Secrets as named on the command line: a variable, and NAME=FILE pairs. Raises UsageError."""
    data_key = None
    if data_key_env:
        if not environment.get(data_key_env):
            raise UsageError(f"--data-key-env {data_key_env}: the environment has no such variable, or it is empty")
        data_key = environment[data_key_env].encode()
    found: dict[str, bytes] = {}
    for pair in files:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise UsageError(f"--secret {pair}: NAME=FILE is expected")
        if name == DATA_KEY or name in found:
            raise UsageError(f"--secret {name}=...: the name is taken; each secret needs one of its own")
        try:
            found[name] = Path(path).read_bytes()
        except OSError as error:
            raise UsageError(f"--secret {name}=...: {path} cannot be read: {error.strerror}") from error
        if len(found[name]) > LARGEST_EXTRA:
            raise UsageError(f"--secret {name}=...: {path} has more than {LARGEST_EXTRA} bytes; secrets are small")
    return Secrets(data_key, keep, found)


def rest(*, limit: float, pause: float, even_pending: bool = False) -> Rest:
    """Rest as EMCO has it: nothing moves, and nothing that rsync would still take up is queued for it."""
    if not (0 < pause <= limit):
        raise UsageError(f"--limit {limit:g}: it has to be at least {pause:g} s, the time between two readings")
    waits = Rest(pause=pause, limit=limit, label=document_label)
    return waits if even_pending else replace(waits, at_work=pending)


def look_at(stores: Stores, waits: Rest) -> Health:
    """Read a live EMCO, judge it, write nothing. Raises HarnessTrouble when a store cannot be read."""
    return _run(_look_at(stores, waits))


async def _look_at(stores: Stores, waits: Rest) -> Health:
    async with _connected(stores) as (mongo, etcd):
        reading = await read_pair(mongo, etcd, waits)
        if reading.at_rest:
            return Health(reading, check(reading.snapshot))
        # A call or rsync is at work: what is broken between two of its writes is no finding, what stays broken is one.
        found = check(reading.snapshot, at_rest=False)
        again = await read_pair(mongo, etcd, replace(waits, limit=0.0))
        still = frozenset(check(again.snapshot, at_rest=False))
        return Health(reading, tuple(one for one in found if one in still))


def back_up(
    path: Path, stores: Stores, waits: Rest, kept: Secrets, versions: Mapping[str, str]
) -> tuple[Manifest, tuple[Violation, ...]]:
    """Write a backup of a live EMCO; what is broken in it already comes with it.

    Raises UsageError when the file cannot be written or is there, HarnessTrouble when the stores are not at rest.
    """
    if path.exists():
        raise UsageError(f"{path} is there already, and backups are not overwritten")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise UsageError(f"{path}: no file can be written into {path.parent}")
    backup = _run(_back_up(stores, waits, kept, versions))
    try:
        manifest = write_backup(path, backup)
    except BackupError as error:
        raise HarnessTrouble(str(error)) from error
    return manifest, check(Snapshot("", backup.mongo, backup.etcd, {}))


async def _back_up(stores: Stores, waits: Rest, kept: Secrets, versions: Mapping[str, str]) -> Backup:
    async with _connected(stores) as (mongo, etcd):
        return await make_backup(
            mongo,
            etcd,
            rest=waits,
            clock=lambda: datetime.now(UTC),
            versions=versions,
            extras=kept.extras(),
            fingerprints=kept.fingerprints(),
        )


def bring_back(backup: Backup, stores: Stores, replaces: Replace, given: Secrets) -> Restored:
    """Restore a backup into stores that nobody uses.

    Raises UsageError when it is refused (nothing was written) and HarnessTrouble when it ended early.
    """
    secret = {DATA_KEY: given.data_key} if given.data_key is not None else {}
    return _run(_bring_back(backup, stores, replaces, secret))


async def _bring_back(backup: Backup, stores: Stores, replaces: Replace, secret: Mapping[str, bytes]) -> Restored:
    async with _connected(stores) as (mongo, etcd):
        return await restore_backup(backup, mongo, etcd, replace=replaces, secrets=secret)


def opened(path: Path) -> Backup:
    """A backup, verified. Raises UsageError with the broken member."""
    try:
        return read_backup(path)
    except BackupError as error:
        raise UsageError(str(error)) from error


def manifest_of(path: Path) -> Manifest:
    """What is in a backup, verified with all of it. Raises UsageError with the broken member."""
    try:
        return read_manifest(path)
    except BackupError as error:
        raise UsageError(str(error)) from error


def write_secrets(backup: Backup, folder: Path) -> tuple[Path, ...]:
    """The secret files of a backup, mode 0600, into a folder that is made. Raises HarnessTrouble."""
    written = []
    try:
        folder.mkdir(mode=0o700)
        for number, (name, content) in enumerate(sorted(backup.extras.items()), 1):
            path = folder / (name if _FILE_NAME.fullmatch(name) else f"secret-{number}")
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
            written.append(path)
    except OSError as error:
        why = f"{error.strerror}; the stores were restored, only the secrets were not written"
        raise HarnessTrouble(f"--secrets-to {folder}: {why}") from error
    return tuple(written)


@asynccontextmanager
async def _connected(stores: Stores) -> AsyncIterator[tuple[Mongo, Etcd]]:
    host, port = stores.mongo_address()
    etcd = Etcd(*stores.etcd_address(), user=stores.etcd_user, password=stores.etcd_password)
    try:
        async with Mongo(host, port, uri=stores.mongo_uri) as mongo:
            await mongo.check(relayed=False)
            await etcd.check()
            yield mongo, etcd
    finally:
        await etcd.close()


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Ends early by Ctrl-C and SIGTERM, with a sentence that says how far it came."""
    try:
        return asyncio.run(_interruptible(work))
    except RestoreRefused as error:
        raise UsageError(str(error)) from error
    except (StoreError, NotAtRest, RestoreFailed, PyMongoError) as error:
        raise HarnessTrouble(str(error)) from error


async def _interruptible(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise HarnessTrouble("it was interrupted; nothing was written") from None
