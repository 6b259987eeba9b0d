"""The harness' own way to mongo, against a real server."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pymongo
import pytest
from bson import Int64, ObjectId

from harness.stores.mongo import MARKER, Mongo, StoreError

from .conftest import HOST, free_port, mongo_command, running

# pymongo leaves its monitor's socket to the garbage collector when it is closed while it connects.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What pymongo left is collected here, and not while another test runs."""
    yield
    gc.collect()


def raw(*documents: dict[str, Any]) -> tuple[bytes, ...]:
    return tuple(bson.encode(document) for document in documents)


def write(port: int, database: str, collection: str, *documents: dict[str, Any]) -> None:
    with pymongo.MongoClient[dict[str, Any]](HOST, port, directConnection=True) as client:
        client[database][collection].insert_many(documents)


def read(port: int, database: str, collection: str) -> list[Any]:
    with pymongo.MongoClient[dict[str, Any]](HOST, port, directConnection=True) as client:
        return [document["_id"] for document in client[database][collection].find({})]


async def test_a_snapshot_holds_all_documents_as_they_are_and_not_the_marker(mongo_port: int) -> None:
    documents = ({"_id": ObjectId(b"twelve bytes"), "n": Int64(1), "deep": {"b": b"\0"}}, {"_id": "x"})
    write(mongo_port, "emco", "things", *documents)
    write(mongo_port, "scc", "things", {"_id": 1})
    async with Mongo(HOST, mongo_port) as mongo:
        with pytest.raises(StoreError):
            await mongo.claim()
        assert await mongo.snapshot() == {"emco.things": raw(*documents), "scc.things": raw({"_id": 1})}


@pytest.mark.parametrize(
    "now",
    [
        [],
        [1, 2, 3],
        [3, 2, 1],
        [1, 3],
        [1, 2, 3, 4],
        [4, 1, 2, 3],
        [2, 3],
    ],
    ids=str,
)
async def test_restore_gives_exactly_the_content_in_its_order(mongo_port: int, now: list[int]) -> None:
    wanted = {"emco.things": raw({"_id": 1, "v": "a"}, {"_id": 2, "v": "b"}, {"_id": 3, "v": "c"})}
    if now:
        write(mongo_port, "emco", "things", *({"_id": number, "v": "abcd"[number - 1]} for number in now))
    async with Mongo(HOST, mongo_port) as mongo:
        await mongo.restore(wanted)
        assert await mongo.snapshot() == wanted
    assert read(mongo_port, "emco", "things") == [1, 2, 3]


async def test_restore_replaces_a_document_that_changed_and_keeps_the_order(mongo_port: int) -> None:
    wanted = {"emco.things": raw({"_id": 1, "v": "a"}, {"_id": 2, "v": "b"}, {"_id": 3, "v": "c"})}
    write(mongo_port, "emco", "things", {"_id": 1, "v": "a"}, {"_id": 2, "v": "other"}, {"_id": 3, "v": "c"})
    async with Mongo(HOST, mongo_port) as mongo:
        await mongo.restore(wanted)
        assert await mongo.snapshot() == wanted


async def test_restore_removes_collections_and_databases_that_were_not_there(mongo_port: int) -> None:
    write(mongo_port, "emco", "more", {"_id": 1})
    write(mongo_port, "other", "things", {"_id": 1})
    async with Mongo(HOST, mongo_port) as mongo:
        await mongo.restore({"emco.things": raw({"_id": 1})})
        assert await mongo.snapshot() == {"emco.things": raw({"_id": 1})}
        await mongo.restore({})
        assert await mongo.snapshot() == {}


async def test_a_collection_with_a_dot_in_its_name_comes_back(mongo_port: int) -> None:
    wanted = {"emco.things.of.mine": raw({"_id": 1})}
    async with Mongo(HOST, mongo_port) as mongo:
        await mongo.restore(wanted)
        assert await mongo.snapshot() == wanted


async def test_an_empty_mongo_is_claimed_and_stays_claimed_when_it_is_full(mongo_port: int) -> None:
    async with Mongo(HOST, mongo_port) as mongo:
        await mongo.check()
        await mongo.claim()
        write(mongo_port, "emco", "things", {"_id": 1})
        await mongo.claim()
        await mongo.restore({})
        await mongo.claim()
    assert read(mongo_port, MARKER, "marker") == ["marker"]


async def test_a_mongo_of_somebody_else_is_refused_and_not_touched(mongo_port: int) -> None:
    write(mongo_port, "theirs", "things", {"_id": 1})
    async with Mongo(HOST, mongo_port) as mongo:
        with pytest.raises(StoreError, match=r"127\.0\.0\.1:\d+ holds databases \(theirs\) and lacks .* marker"):
            await mongo.claim()
    assert read(mongo_port, "theirs", "things") == [1]
    assert read(mongo_port, MARKER, "marker") == []


async def test_a_member_of_a_replica_set_is_refused(tmp_path: Path) -> None:
    port = free_port()
    with running(mongo_command(tmp_path, port), port):
        async with Mongo(HOST, port) as mongo:
            with pytest.raises(StoreError, match=r"is a member of the replica set '\w+'.*Use a standalone mongo"):
                await mongo.check()


async def test_a_mongo_that_does_not_answer() -> None:
    port = free_port()
    async with Mongo(HOST, port, limit=0.8) as mongo:
        with pytest.raises(StoreError, match=rf"mongo at 127\.0\.0\.1:{port} does not answer"):
            await mongo.check()


def test_an_address_that_is_none_for_mongo() -> None:
    with pytest.raises(StoreError, match=r"the address of the mongo at 127\.0\.0\.1:1 is not understood: Invalid URI"):
        Mongo(HOST, 1, uri="http://127.0.0.1:1")
