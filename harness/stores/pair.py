"""mongo and etcd as a pair: read at a common moment of rest, put back together, and proven to be what they were.

What one store holds refers to the other, so a copy is worth something only when both are of one moment. Two servers
have none in common; what can be had is a time in which neither changed: both are read twice, and must be equal.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import bson
from pymongo.errors import PyMongoError

from harness.stores.backup import Backup, Fingerprint
from harness.stores.etcd import Etcd
from harness.stores.mongo import Mongo, StoreError
from harness.stores.snapshot import Snapshot

_SHOWN = 5


class NotAtRest(Exception):
    """The stores did not come to rest within the limit; the sentence says what moved or what is still to be done."""


class RestoreRefused(Exception):
    """The backup does not belong into these stores, or they are not empty. Nothing was written."""


class RestoreFailed(Exception):
    """A restore ended early; the sentence says exactly what was written until then."""


def _nothing(_: Snapshot) -> tuple[str, ...]:
    return ()


def _by_id(document: Mapping[str, Any]) -> str:
    return str(document.get("_id"))


@dataclass(frozen=True, slots=True)
class Rest:
    """What rest means for those who use the stores, and how long it is waited for.

    pause:   seconds between two readings that have to be equal
    limit:   seconds after which the last reading is what there is
    at_work: what is still to be done in a snapshot, a sentence each; none at rest
    label:   what a document is called, for sentences
    """

    pause: float = 1.0
    limit: float = 30.0
    at_work: Callable[[Snapshot], tuple[str, ...]] = _nothing
    label: Callable[[Mapping[str, Any]], str] = _by_id


@dataclass(frozen=True, slots=True)
class Reading:
    """Both stores, read twice.

    moved:   documents and keys in which the two readings differ
    at_work: what is still to be done, although nothing moved
    """

    snapshot: Snapshot
    moved: tuple[str, ...] = ()
    at_work: tuple[str, ...] = ()

    @property
    def at_rest(self) -> bool:
        return not self.moved and not self.at_work

    def why(self) -> str:
        """Why it is not at rest, in one sentence."""
        parts = [f"{len(self.moved)} documents or keys moved ({_some(self.moved)})"] if self.moved else []
        return "; ".join(parts + ([_some(self.at_work)] if self.at_work else []))


async def read_pair(mongo: Mongo, etcd: Etcd, rest: Rest) -> Reading:
    """Read both until two readings are equal and nothing is left to be done, or the limit has passed.

    Writes nothing. Raises StoreError when a store cannot be read.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + rest.limit
    before = await _read(mongo, etcd)
    while True:
        await asyncio.sleep(rest.pause)  # nothing announces a write to those who only read
        now = await _read(mongo, etcd)
        moved = differences(before, now, rest.label)
        reading = Reading(now, moved, () if moved else rest.at_work(now))
        if reading.at_rest or clock() >= deadline:
            return reading
        before = now


async def make_backup(
    mongo: Mongo,
    etcd: Etcd,
    *,
    clock: Callable[[], datetime],
    versions: Mapping[str, str],
    rest: Rest = Rest(),
    extras: Mapping[str, bytes] | None = None,
    fingerprints: Mapping[str, Fingerprint] | None = None,
) -> Backup:
    """A backup of both at a moment of rest; the servers' own versions are added.

    The stores' users have to be quiet for `rest.pause` seconds. Raises NotAtRest when they are not within `rest.limit`,
    StoreError when a store cannot be read.
    """
    servers = {"mongo": await mongo.version(), "etcd": await etcd.check()}
    reading = await read_pair(mongo, etcd, rest)
    if not reading.at_rest:
        raise NotAtRest(f"the stores did not come to rest within {rest.limit:g} s: {reading.why()}")
    return Backup(
        created=clock().isoformat(timespec="seconds"),
        versions={**versions, **servers},
        mongo=reading.snapshot.mongo,
        etcd=reading.snapshot.etcd,
        extras=extras or {},
        fingerprints=fingerprints or {},
    )


Replace = Literal["never", "marked", "always"]
"""What a restore may replace: nothing, the content of stores that carry the harness's marker, any content."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore wrote and found again."""

    documents: int
    keys: int
    replaced_documents: int = 0
    replaced_keys: int = 0
    notes: tuple[str, ...] = field(default_factory=tuple)


async def restore_backup(
    backup: Backup,
    mongo: Mongo,
    etcd: Etcd,
    *,
    replace: Replace = "never",
    secrets: Mapping[str, bytes] | None = None,
) -> Restored:
    """Make both stores hold exactly what the backup holds, and compare afterwards.

    secrets: by name, what the users of the stores will work with (a data key); compared with what the backup knows

    Raises RestoreRefused before anything is written, RestoreFailed once something was, StoreError when a store cannot
    be read to begin with. Nobody else may write meanwhile.
    """
    notes = _check_secrets(backup, secrets or {})
    there = await _read(mongo, etcd)
    if there.mongo or there.etcd:
        await _check_replace(there, mongo, etcd, replace)
    written: list[str] = []
    try:
        # etcd first: state that no record names does less harm than records that name state which is not there.
        written.append("etcd in part")
        await etcd.restore(backup.etcd)
        written[-1] = f"etcd ({len(backup.etcd)} keys)"
        written.append("mongo in part")
        await mongo.restore(backup.mongo)
        written[-1] = f"mongo ({_count(backup.mongo)} documents)"
        now = await _read(mongo, etcd)
    except (StoreError, PyMongoError, asyncio.CancelledError) as error:
        why = "it was interrupted" if isinstance(error, asyncio.CancelledError) else str(error)
        raise RestoreFailed(f"{_half(written)}: {why}") from error
    wanted = Snapshot("", backup.mongo, backup.etcd, {})
    if digests(now) != digests(wanted):
        differing = differences(wanted, now, _by_id)
        raise RestoreFailed(
            f"{_half(written)}: what was read back differs in {len(differing)} places ({_some(differing)}). "
            "Does something else write to these stores?"
        )
    return Restored(_count(backup.mongo), len(backup.etcd), _count(there.mongo), len(there.etcd), notes)


def _half(written: list[str]) -> str:
    return (
        f"the restore did not come to its end. Written: {', '.join(written)}. The stores hold no consistent pair: "
        "start nothing on them, restore again and let it replace what is there"
    )


def _check_secrets(backup: Backup, secrets: Mapping[str, bytes]) -> tuple[str, ...]:
    notes = []
    for name, known in backup.fingerprints.items():
        if name not in secrets:
            raise RestoreRefused(
                f"the backup was made with the secret {name}, and only its fingerprint is in it: give it "
                "(the data key by --data-key-env VARIABLE), so that it can be compared"
            )
        if not known.fits(secrets[name]):
            raise RestoreRefused(
                f"the secret {name} is not the one with which the backup was made: what is in it could not be read"
            )
    for name, secret in secrets.items():
        if name in backup.extras and backup.extras[name] != secret:
            raise RestoreRefused(f"the secret {name} is not the one in the backup: what was written could not be read")
        if name not in backup.extras and name not in backup.fingerprints:
            notes.append(f"the backup knows nothing of the secret {name}: whether it is the right one was not checked")
    return tuple(notes)


async def _check_replace(there: Snapshot, mongo: Mongo, etcd: Etcd, replace: Replace) -> None:
    documents = f"{_count(there.mongo)} documents ({_some(sorted(there.mongo))})"
    holds = f"mongo at {mongo.address} holds {documents}, etcd at {etcd.address} {len(there.etcd)} keys"
    if replace == "never":
        raise RestoreRefused(
            f"the stores are not empty: {holds}. A restore replaces all of it, if it is told to: --replace"
        )
    marked = (not there.mongo or await mongo.marked()) and (not there.etcd or await etcd.marked())
    if replace == "marked" and not marked:
        raise RestoreRefused(
            f"the stores are not empty and do not both carry the harness's marker: {holds}; --yes replaces it anyway"
        )


async def _read(mongo: Mongo, etcd: Etcd) -> Snapshot:
    try:
        return Snapshot("", await mongo.snapshot(), await etcd.snapshot(), {})
    except PyMongoError as error:
        raise StoreError(f"mongo at {mongo.address} may not be read: {error}") from error


def digests(snapshot: Snapshot) -> dict[str, str]:
    """sha256 of each collection, in its order, and of etcd: equal exactly when the content is."""
    found = {}
    for name, documents in snapshot.mongo.items():
        content = hashlib.sha256()
        for raw in documents:
            content.update(raw)
        found[f"mongo {name}"] = content.hexdigest()
    content = hashlib.sha256()
    for key, value in sorted(snapshot.etcd.items()):
        content.update(b"%d %s %d %s" % (len(key), key, len(value), value))
    return found | {"etcd": content.hexdigest()}


def differences(one: Snapshot, two: Snapshot, label: Callable[[Mapping[str, Any]], str]) -> tuple[str, ...]:
    """Names of the documents and keys in which two snapshots differ; of the collection where only its order does."""
    found = []
    for name in sorted({*one.mongo, *two.mongo}):
        left, right = one.mongo.get(name, ()), two.mongo.get(name, ())
        if left != right:
            labels = {f"{name} {label(bson.decode(raw))}" for raw in {*left} ^ {*right}}
            found += sorted(labels) or [f"{name} (in another order)"]
    keys = sorted(key for key in {*one.etcd, *two.etcd} if one.etcd.get(key) != two.etcd.get(key))
    return tuple(found + [key.decode("utf-8", "backslashreplace") for key in keys])


def _count(mongo: Mapping[str, tuple[bytes, ...]]) -> int:
    return sum(map(len, mongo.values()))


def _some(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
