"""A store that asks for a password, as EMCO's store charts set it up, is read with the one that their Secret keeps."""

from pathlib import Path

import pymongo
import pytest

from harness.platforms.kubernetes.stores import Passwords
from harness.stores.mongo import Mongo, StoreError
from tests.unit.stores.conftest import HOST, free_port, mongo_command, running

SECRET = "p/@%"


async def databases(port: int, uri: str) -> list[str]:
    async with Mongo(HOST, port, uri=uri) as mongo:
        await mongo.check()
        await mongo.claim()
        return sorted(await mongo.snapshot())


async def test_a_mongo_with_passwords_is_read_with_the_right_one_only(tmp_path: Path) -> None:
    port = free_port()
    with (
        running(mongo_command(tmp_path, port, "--standalone", "--sync-on-commit"), port),
        pymongo.MongoClient[dict[str, object]](HOST, port, directConnection=True) as client,
    ):
        client.admin.command("createUser", "root", pwd=SECRET, roles=["root"])
    with running(mongo_command(tmp_path, port, "--standalone", "--auth"), port):
        assert await databases(port, Passwords(mongo=SECRET).mongo_uri(HOST, port)) == []
        for wrong in ("", Passwords(mongo="other").mongo_uri(HOST, port)):
            with pytest.raises(StoreError) as refused:
                await databases(port, wrong)
            assert "other" not in str(refused.value)
