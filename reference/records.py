"""EMCO's records in mongo: one collection, flat key fields, one sub-document per tag, and a referential schema.

What a record's key is, who its parent is and what it refers to is in `reference.resources`; here is how that becomes
documents and commands. The order of the commands is EMCO's: an insert looks for the parent and for each reference and
then upserts by findAndModify; a removal counts children and referrers and then deletes.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from reference.encryption import SECRETS, Encryption
from reference.errors import ApiError, StoreError
from reference.mongo import Mongo

COLLECTION = "resources"
PENDING = "pending"
"""Where a call that needs several writes keeps its intention, from its first write to its last (`fixed` only)."""

Key = Mapping[str, str]


def key_id(key: Key) -> str:
    """The sorted names of the key's fields, as EMCO writes them: `{cluster,clusterProvider}`."""
    return "{" + ",".join(sorted(key)) + "}"


def reference(key: Key) -> dict[str, Any]:
    """How a record refers to the record of `key`."""
    return {"key": dict(key), "keyid": key_id(key)}


def _filter(key: Key) -> dict[str, Any]:
    # Records below this one carry its key fields, too: the names of the key make it this one.
    return {"$and": [dict(key), {"keyId": {"$eq": key_id(key)}}]}


class Records:
    """The records of one database.

    again:      writes, all idempotent, may be sent again when mongo went away
    encryption: of what is secret in them
    """

    def __init__(self, mongo: Mongo, *, again: bool, encryption: Encryption) -> None:
        self._mongo = mongo
        self._again = again
        self._encryption = encryption
        self.schema_loaded = asyncio.Event()

    async def find(self, key: Key, tag: str) -> Any:
        """The sub-document `tag` of one record; None when the record has none or is not there. Raises StoreError."""
        found = await self.find_all(key, tag)
        return found[0] if found else None

    async def exists(self, key: Key) -> bool:
        """Whether the record is there, with or without data. Raises StoreError."""
        return bool(await self.find_all(key, "data"))

    async def find_all(self, key: Key, tag: str, *, names: Sequence[str] = ()) -> list[Any]:
        """`tag` of every record that has these key values and, besides, the key fields `names`. Raises StoreError."""
        ident = key_id({**key, **dict.fromkeys(names, "")})
        documents = await self.query({**key, "keyId": ident}, {tag: 1, "_id": 0})
        return [document.get(tag) for document in documents]

    async def query(self, wanted: Mapping[str, Any], projection: Mapping[str, int]) -> list[dict[str, Any]]:
        """All documents of a filter. Raises StoreError."""
        reply = await self._mongo.command(
            {"find": COLLECTION, "filter": dict(wanted), "projection": dict(projection)}, again=self._again
        )
        cursor = reply["cursor"]
        documents: list[dict[str, Any]] = list(cursor["firstBatch"])
        while cursor["id"]:
            reply = await self._mongo.command({"getMore": cursor["id"], "collection": COLLECTION})
            cursor = reply["cursor"]
            documents.extend(cursor["nextBatch"])
        return documents

    def sealed(self, value: str) -> str:
        """A secret as it is stored."""
        return self._encryption.sealed(value)

    def opened(self, stored: str) -> str:
        """A secret as it was; what is stored where it cannot be read, as EMCO hands it on (D3)."""
        value = self._encryption.opened(stored)
        return stored if value is None else value

    async def check_readable(self) -> None:
        """Raises StoreError with a sentence when there is a secret that cannot be read."""
        for tag, member in SECRETS:
            for found in await self.query({tag: {"$exists": True}}, {tag: 1, "_id": 0}):
                if self._encryption.opened(str(found[tag].get(member) or "")) is None:
                    raise StoreError(f"the {tag} of a record was encrypted with another key than that in EMCO_DATA_KEY")

    async def insert(
        self,
        key: Key,
        data: Any,
        *,
        parent: Key | None,
        references: Sequence[Key] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Insert or replace `data` of a record (and the members `extra`, in the same write).

        Raises ApiError 409 when the parent is not there or the schema is not loaded yet; StoreError.
        """
        if not self.schema_loaded.is_set():
            raise ApiError(409, f"{key_id(key)} is not defined in the referential schema: it is not loaded yet")
        if parent is not None and not await self.exists(parent):
            raise ApiError(409, f"Parent resource not found: {_show(parent)}")
        for other in references:
            # A missing reference is noticed by EMCO and accepted.
            await self.exists(other)
        members = {"data": data, "keyId": key_id(key), "references": [reference(other) for other in references]}
        await self._upsert(key, {**members, **(extra or {})})

    async def set_tag(self, key: Key, tag: str, value: Any) -> None:
        """Insert or replace one sub-document other than data, without any check. Raises StoreError."""
        await self._upsert(key, {tag: value, "keyId": key_id(key)})

    async def set_members(self, key: Key, members: Mapping[str, Any], *, unset: Sequence[str] = ()) -> None:
        """Set and remove members of a record that is there, as one write. Raises StoreError."""
        update: dict[str, Any] = {"$set": {**members, "keyId": key_id(key)}}
        if unset:
            update["$unset"] = dict.fromkeys(unset, "")
        await self._mongo.command(
            {"findAndModify": COLLECTION, "query": _filter(key), "update": update, "new": True}, again=self._again
        )

    async def update_fields(self, key: Key, fields: Mapping[str, str]) -> None:
        """Add the fields by which records are looked up, in the separate write that EMCO makes. Raises StoreError."""
        statement = {"q": _filter(key), "u": {"$set": dict(fields)}, "multi": False, "upsert": False}
        await self._mongo.command({"update": COLLECTION, "updates": [statement]}, again=self._again)

    async def _upsert(self, key: Key, members: Mapping[str, Any]) -> None:
        command = {
            "findAndModify": COLLECTION,
            "query": _filter(key),
            "update": {"$set": dict(members)},
            "upsert": True,
            "new": True,
        }
        await self._mongo.command(command, again=self._again)

    async def check_removable(self, key: Key) -> None:
        """Raises ApiError 404 when the record is not there, 409 while it has children or is referred to; StoreError."""
        count = await self._count(key)
        if count == 0:
            raise ApiError(404, f"The requested resource not found: {_show(key)}")
        if count > 1:
            raise ApiError(409, f"Cannot delete parent without deleting child references first: {_show(key)}")
        wanted = {f"key.{name}": value for name, value in key.items()}
        if await self._count({"references": {"$elemMatch": {**wanted, "keyid": key_id(key)}}}):
            raise ApiError(409, f"Cannot delete without deleting or updating referencing resources: {_show(key)}")

    async def remove(self, key: Key) -> None:
        """Delete a record that has no children and no referrers. Raises as check_removable does."""
        await self.check_removable(key)
        await self._delete(key)

    async def discard(self, key: Key) -> None:
        """Delete a record, if it is there, without any check. Raises StoreError."""
        await self._delete(key)

    async def _delete(self, key: Key) -> None:
        command = {"delete": COLLECTION, "deletes": [{"q": _filter(key), "limit": 1}]}
        await self._mongo.command(command, again=self._again)

    async def _count(self, match: Mapping[str, Any]) -> int:
        pipeline = [{"$match": dict(match)}, {"$group": {"_id": 1, "n": {"$sum": 1}}}]
        reply = await self._mongo.command(
            {"aggregate": COLLECTION, "pipeline": pipeline, "cursor": {}}, again=self._again
        )
        batch = reply["cursor"]["firstBatch"]
        return int(batch[0]["n"]) if batch else 0


def _show(key: Key) -> str:
    return ", ".join(f"{name} {value}" for name, value in key.items())
