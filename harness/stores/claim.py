"""Making two stores the harness's, or neither."""

from harness.stores.etcd import Etcd
from harness.stores.mongo import Mongo


async def claim_both(mongo: Mongo, etcd: Etcd) -> None:
    """Mark both. Raises StoreError, with neither marked, when one is not what it says or holds foreign content."""
    await mongo.check()
    await etcd.check()
    await mongo.check_claim()
    await etcd.check_claim()
    await mongo.claim()
    await etcd.claim()
