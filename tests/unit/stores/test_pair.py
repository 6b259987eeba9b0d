"""mongo and etcd as a pair, against real servers: read at rest, restored, proven."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import bson
import pytest

from harness.stores.backup import Backup, fingerprint, read_backup, write_backup
from harness.stores.etcd import Etcd
from harness.stores.mongo import Mongo, StoreError
from harness.stores.pair import (
    NotAtRest,
    Replace,
    Rest,
    RestoreFailed,
    RestoreRefused,
    differences,
    digests,
    make_backup,
    read_pair,
    restore_backup,
)
from harness.stores.snapshot import Snapshot

from .conftest import HOST, etcd_command, free_port, running

# pymongo leaves its monitor's socket to the garbage collector when it is closed while it connects.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SOON = Rest(pause=0.05, limit=0.2)
NOW = datetime(2026, 1, 14, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What pymongo left is collected here, and not while another test runs."""
    yield
    gc.collect()


def raw(*documents: dict[str, Any]) -> tuple[bytes, ...]:
    return tuple(bson.encode(document) for document in documents)


MONGO = {"emco.resources": raw({"_id": 2, "x": "b"}, {"_id": 1, "x": "a"}, {"_id": 3, "x": "c"})}
ETCD = {b"/context/1/": b'"1"', b"/bytes/\xff": b"\0"}


@asynccontextmanager
async def both(mongo_port: int, etcd_port: int) -> AsyncIterator[tuple[Mongo, Etcd]]:
    etcd = Etcd(HOST, etcd_port)
    try:
        async with Mongo(HOST, mongo_port) as mongo:
            yield mongo, etcd
    finally:
        await etcd.close()


def saved(mongo: Mapping[str, tuple[bytes, ...]] = MONGO, etcd: Mapping[bytes, bytes] = ETCD, **other: Any) -> Backup:
    return Backup("2026-01-14T12:00:00+00:00", {}, mongo, etcd, **other)


# -- backup ---------------------------------------------------------------------------------------------------------


async def test_a_backup_comes_back_byte_by_byte_in_natural_order(
    mongo_port: int, etcd_port: int, tmp_path: Path
) -> None:
    async with both(mongo_port, etcd_port) as (mongo, etcd):
        await mongo.restore(MONGO)
        await etcd.restore(ETCD)
        made = await make_backup(mongo, etcd, rest=SOON, clock=lambda: NOW, versions={"harness": "1"})
        assert (made.mongo, made.etcd, made.created) == (MONGO, ETCD, "2026-01-14T12:00:00+00:00")
        assert made.versions["harness"] == "1"
        assert made.versions["etcd"].startswith("3.")
        assert made.versions["mongo"]
        write_backup(tmp_path / "one", made)
        await mongo.restore({})
        await etcd.restore({})
        done = await restore_backup(read_backup(tmp_path / "one"), mongo, etcd)
        assert (done.documents, done.keys, done.replaced_documents) == (3, 2, 0)
        assert await mongo.snapshot() == MONGO
        assert await etcd.snapshot() == ETCD


async def test_what_moves_is_named_and_makes_no_backup(mongo_port: int, etcd_port: int) -> None:
    async with both(mongo_port, etcd_port) as (mongo, etcd):
        await mongo.restore(MONGO)

        async def write() -> None:
            number = 0
            while True:
                number += 1
                await etcd.restore({b"/moving/": str(number).encode()})

        writer = asyncio.create_task(write())
        with pytest.raises(NotAtRest, match=r"within 0\.2 s: 1 documents or keys moved \(/moving/\)"):
            await make_backup(mongo, etcd, rest=SOON, clock=lambda: NOW, versions={})
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        assert (await read_pair(mongo, etcd, replace(SOON, limit=30))).at_rest


async def test_what_is_still_to_be_done_is_no_rest(mongo_port: int, etcd_port: int) -> None:
    async with both(mongo_port, etcd_port) as (mongo, etcd):
        await etcd.restore(ETCD)
        rest = replace(SOON, at_work=lambda snapshot: ("an event is pending",) if snapshot.etcd else ())
        reading = await read_pair(mongo, etcd, rest)
        assert (reading.at_rest, reading.why()) == (False, "an event is pending")
        with pytest.raises(NotAtRest, match="an event is pending"):
            await make_backup(mongo, etcd, rest=rest, clock=lambda: NOW, versions={})
        await etcd.restore({})
        assert (await read_pair(mongo, etcd, rest)).at_rest


def test_differences_name_documents_keys_and_a_mere_order() -> None:
    one = Snapshot("", {"a.b": raw({"_id": 1}, {"_id": 2}), "a.c": raw({"_id": 1})}, {b"k": b"1"}, {})
    two = Snapshot("", {"a.b": raw({"_id": 2}, {"_id": 1})}, {b"k": b"2", b"l": b""}, {})
    assert differences(one, two, lambda document: f"#{document['_id']}") == (
        "a.b (in another order)", "a.c #1", "k", "l",
    )  # fmt: skip
    assert differences(one, one, str) == ()
    assert digests(one) == digests(one)
    assert digests(one)["mongo a.b"] != digests(two)["mongo a.b"]
    assert digests(Snapshot("", {}, {b"a": b"bc"}, {})) != digests(Snapshot("", {}, {b"ab": b"c"}, {}))


# -- restore --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["mongo", "etcd"])
async def test_stores_that_are_not_empty_are_refused_and_not_touched(
    mongo_port: int, etcd_port: int, where: str
) -> None:
    async with both(mongo_port, etcd_port) as (mongo, etcd):
        there: dict[str, Any] = {"mongo": {}, "etcd": {}}
        there[where] = {"other.things": raw({"_id": 7})} if where == "mongo" else {b"theirs": b"1"}
        await mongo.restore(there["mongo"])
        await etcd.restore(there["etcd"])
        refusals: list[Replace] = ["never", "marked"]
        for replaces in refusals:
            with pytest.raises(RestoreRefused, match="the stores are not empty"):
                await restore_backup(saved(), mongo, etcd, replace=replaces)
            assert (await mongo.snapshot(), await etcd.snapshot()) == (there["mongo"], there["etcd"])
        done = await restore_backup(saved(), mongo, etcd, replace="always")
        assert (done.replaced_documents, done.replaced_keys) == ((1, 0) if where == "mongo" else (0, 1))
        assert (await mongo.snapshot(), await etcd.snapshot()) == (MONGO, ETCD)


async def test_stores_with_the_marker_are_replaced_when_asked_for_and_keep_it(mongo_port: int, etcd_port: int) -> None:
    async with both(mongo_port, etcd_port) as (mongo, etcd):
        await mongo.claim()
        await etcd.claim()
        await mongo.restore({"other.things": raw({"_id": 7})})
        await etcd.restore({b"theirs": b"1"})
        await restore_backup(saved(), mongo, etcd, replace="marked")
        assert (await mongo.snapshot(), await etcd.snapshot()) == (MONGO, ETCD)
        assert await mongo.marked()
        assert await etcd.marked()
        await mongo.unmark()
        await etcd.unmark()
        assert not await mongo.marked()
        assert not await etcd.marked()
        assert (await mongo.snapshot(), await etcd.snapshot()) == (MONGO, ETCD)


async def test_a_wrong_secret_is_refused_before_anything_is_written(mongo_port: int, etcd_port: int) -> None:
    kept = saved(extras={"key": b"right"})
    known = saved(fingerprints={"key": fingerprint(b"right", salt=b"sixteen bytes...")})
    async with both(mongo_port, etcd_port) as (mongo, etcd):
        for backup, secrets, why in (
            (kept, {"key": b"wrong"}, "not the one in the backup"),
            (known, {"key": b"wrong"}, "not the one with which the backup was made"),
            (known, {}, "only its fingerprint is in it"),
        ):
            with pytest.raises(RestoreRefused, match=why):
                await restore_backup(backup, mongo, etcd, secrets=secrets)
            assert (await mongo.snapshot(), await etcd.snapshot()) == ({}, {})
        for backup in (kept, known):
            assert (await restore_backup(backup, mongo, etcd, replace="always", secrets={"key": b"right"})).notes == ()
        done = await restore_backup(saved(), mongo, etcd, replace="always", secrets={"key": b"any"})
        assert done.notes == (
            "the backup knows nothing of the secret key: whether it is the right one was not checked",
        )


async def test_a_restore_that_ends_in_the_middle_says_what_was_written(mongo_port: int, etcd_port: int) -> None:
    twice = {"emco.resources": raw({"_id": 1, "x": "a"}, {"_id": 1, "x": "b"})}
    async with both(mongo_port, etcd_port) as (mongo, etcd):
        with pytest.raises(RestoreFailed, match=r"Written: etcd \(2 keys\), mongo in part\. .*restore again") as caught:
            await restore_backup(saved(mongo=twice), mongo, etcd)
        assert "uplicate" in str(caught.value)
        assert await etcd.snapshot() == ETCD


class Interrupted(Etcd):
    """A real etcd; whoever restores is interrupted when it is written."""

    async def restore(self, content: Mapping[bytes, bytes]) -> None:
        await super().restore(content)
        raise asyncio.CancelledError


class Meddled(Etcd):
    """A real etcd to which somebody else writes at the same time."""

    async def restore(self, content: Mapping[bytes, bytes]) -> None:
        await super().restore({**content, b"/theirs/": b"1"})


@pytest.mark.parametrize(
    "kind, says",
    [
        (Interrupted, r"Written: etcd in part\..*it was interrupted"),
        (Meddled, r"Written: etcd \(2 keys\), mongo \(3 documents\)\..*read back differs in 1 places \(/theirs/\)"),
    ],
)
async def test_a_restore_that_was_disturbed_is_none(
    mongo_port: int, etcd_port: int, kind: type[Etcd], says: str
) -> None:
    etcd = kind(HOST, etcd_port)
    try:
        async with Mongo(HOST, mongo_port) as mongo:
            with pytest.raises(RestoreFailed, match=says):
                await restore_backup(saved(), mongo, etcd)
    finally:
        await etcd.close()


async def test_a_store_that_is_not_there_is_said_before_anything_is_written(mongo_port: int) -> None:
    async with both(mongo_port, free_port()) as (mongo, etcd):
        with pytest.raises(StoreError, match="does not answer"):
            await restore_backup(saved(), mongo, etcd)
        assert await mongo.snapshot() == {}


async def test_values_larger_than_one_request_may_be_are_restored(mongo_port: int, etcd_port: int) -> None:
    large = {f"/manifest/{number}".encode(): bytes([number]) * 300_000 for number in range(9)}
    async with both(mongo_port, etcd_port) as (mongo, etcd):
        await restore_backup(saved(etcd=large), mongo, etcd)
        assert await etcd.snapshot() == large


# -- an etcd that asks for a user -----------------------------------------------------------------------------------


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[int]:
    """An etcd in which root has a password."""
    port = free_port()
    with running(etcd_command(tmp_path, port), port):
        asyncio.run(_guard(port))
        yield port


async def _guard(port: int) -> None:
    async with aiohttp.ClientSession(f"http://{HOST}:{port}") as session:
        for path, body in (
            ("user/add", {"name": "root", "password": "s3nt1nel"}),
            ("role/add", {"name": "root"}),
            ("user/grant", {"user": "root", "role": "root"}),
            ("enable", {}),
        ):
            async with session.post(f"/v3/auth/{path}", json=body) as answer:
                assert answer.status == 200, await answer.text()


async def test_user_and_password_open_it_and_a_token_that_ended_is_renewed(guarded: int) -> None:
    etcd = Etcd(HOST, guarded, user="root", password="s3nt1nel")
    try:
        await etcd.restore(ETCD)
        assert await etcd.snapshot() == ETCD
        etcd._token = "ended.1"
        assert await etcd.snapshot() == ETCD
    finally:
        await etcd.close()


@pytest.mark.parametrize("user, password", [("", ""), ("root", "wr0ngone"), ("nobody", "s3nt1nel")])
async def test_without_the_right_password_it_is_refused_and_no_password_is_shown(
    guarded: int, user: str, password: str
) -> None:
    etcd = Etcd(HOST, guarded, user=user, password=password)
    try:
        with pytest.raises(StoreError, match=r"answered 4\d\d") as caught:
            await etcd.snapshot()
        assert not password or password not in str(caught.value)
    finally:
        await etcd.close()
