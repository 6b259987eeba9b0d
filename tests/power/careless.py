"""A plugin of pytest that makes mongo, backups and restores careless: what claims of them have to find.

`pytest -p tests.power.careless ...`. Defects of the harness's own parts are no switches of the reference, and nothing
of the product should have a setting for them: here they are put in from outside.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import bson
import pytest

from harness.chaos import backups
from harness.stores import backup, pair
from harness.stores.backup import Backup
from harness.stores.mongo import Mongo
from harness.stores.pair import Restored

_claim = Mongo.claim
_ORDER = b"/app/logical-cloud/cluster/p1+c1/resource/instruction/order/"


@pytest.hookimpl
def pytest_configure() -> None:
    """In this process, which ends with the run."""
    for module, name, careless in (
        (backups, "_all_down", _fine),
        (backups, "at_rest", _quiet),
        (backups, "pending", _nothing),
        (backups, "restore_backup", _restore_most),
        (backup, "hashlib", SimpleNamespace(sha256=_no_digest, scrypt=hashlib.scrypt)),
        (pair, "_check_replace", _quiet),
        (pair, "_check_secrets", _nothing),
        (Mongo, "claim", _claim_less),
    ):
        assert hasattr(module, name), f"{module.__name__} has no {name} any more"
        setattr(module, name, careless)


def _fine(_: Any) -> None:
    """Services run? Never mind."""


async def _quiet(*_: Any) -> str:
    """Somebody writes, or there is something already? No."""
    return ""


def _nothing(*_: Any) -> tuple[str, ...]:
    """Something is to be done, or another key in use? No."""
    return ()


def _no_digest(_: bytes = b"") -> Any:
    """All content has the same digest, and fits."""
    return SimpleNamespace(hexdigest=lambda: "0" * 64, update=lambda _: None)


async def _restore_most(whole: Backup, *stores: Any, **options: Any) -> Restored:
    """Put the last two records back in another order, and leave out that of a logical cloud's resources."""
    mongo: Mapping[str, tuple[bytes, ...]] = {
        name: (*documents[:-2], *reversed(documents[-2:])) for name, documents in whole.mongo.items()
    }
    etcd = {key: value for key, value in whole.etcd.items() if not key.endswith(_ORDER)}
    return await pair.restore_backup(replace(whole, mongo=mongo, etcd=etcd), *stores, **options)


async def _claim_less(mongo: Mongo) -> None:
    """A mongo that has lost its last five records when it is started again.

    Without --sync-on-commit, too, it loses what it acknowledged last, but not each time that it is killed.
    """
    documents = (await mongo.snapshot()).get("emco.resources", ())
    await _claim(mongo)
    ids = [bson.decode(raw)["_id"] for raw in documents[-5:]]
    await mongo._client["emco"]["resources"].delete_many({"_id": {"$in": ids}})
