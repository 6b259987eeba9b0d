"""Both stores become the harness's, or neither: a refusal leaves no mark."""

import pytest

from harness.stores.claim import claim_both
from harness.stores.mongo import Mongo, StoreError

from .conftest import HOST, connected


async def test_both_are_marked(mongo_port: int, etcd_port: int) -> None:
    async with Mongo(HOST, mongo_port) as mongo, connected(etcd_port) as etcd:
        await claim_both(mongo, etcd)
        assert (await mongo.marked(), await etcd.marked()) == (True, True)


async def test_an_etcd_that_is_refused_leaves_no_mark_in_mongo(mongo_port: int, etcd_port: int) -> None:
    async with Mongo(HOST, mongo_port) as mongo, connected(etcd_port) as etcd:
        await etcd.unmark()
        await etcd.restore({b"/somebody/elses": b"1"})
        with pytest.raises(StoreError, match=r"etcd at .* lacks the harness's marker"):
            await claim_both(mongo, etcd)
        assert (await mongo.marked(), await etcd.marked()) == (False, False)
