"""mongo as the harness itself talks to it: directly, past the relays."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

_SYSTEM = frozenset({"admin", "local", "config"})
MARKER = "emco_chaos"
"""Name of the database that marks a mongo as the harness's own: restore replaces all content of a marked one."""


class StoreError(Exception):
    """A store did not do what it was asked for; the sentence names the store and its address."""


class Mongo:
    """One connection to a standalone mongo, which has `limit` seconds to answer for the first time."""

    def __init__(self, host: str, port: int, *, uri: str = "", limit: float = 5.0) -> None:
        self.address = f"{host}:{port}"
        try:
            self._client: AsyncMongoClient[RawBSONDocument] = AsyncMongoClient(
                uri or f"mongodb://{host}:{port}/?directConnection=true",
                document_class=RawBSONDocument,
                serverSelectionTimeoutMS=round(limit * 1000),
                maxPoolSize=4,
                heartbeatFrequencyMS=60000,
            )
        except PyMongoError as error:
            raise StoreError(f"the address of the mongo at {self.address} is not understood: {error}") from error

    async def __aenter__(self) -> "Mongo":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def check(self, *, relayed: bool = True) -> Mapping[str, Any]:
        """What the server says of itself. Raises StoreError when it does not answer.

        relayed: services are to reach it through a relay; then a member of a replica set is refused, since drivers
        would go round the relay
        """
        hello = await self._command("hello")
        if relayed and "setName" in hello:
            raise StoreError(
                f"mongo at {self.address} is a member of the replica set {hello['setName']!r}: EMCO's driver would "
                "go round the relay to the members it advertises. Use a standalone mongo."
            )
        return hello

    async def version(self) -> str:
        """The server's version."""
        return str((await self._command("buildInfo")).get("version", "unknown"))

    async def _command(self, name: str) -> dict[str, Any]:
        try:
            return dict(await self._client.admin.command(name))
        except PyMongoError as error:
            why = str(error).partition(", Timeout:")[0]  # what follows is the driver's whole view of the topology
            raise StoreError(f"mongo at {self.address} does not answer: {why}") from error

    async def check_claim(self) -> None:
        """Whether it may be marked as the harness's. Raises StoreError when it holds anything of somebody else."""
        names = await self._names()
        if MARKER not in names and names:
            raise StoreError(
                f"mongo at {self.address} holds databases ({', '.join(names)}) and lacks the harness's marker: restore "
                f"would replace their content. Give an empty mongo, or create the database {MARKER!r} in it to opt in."
            )

    async def claim(self) -> None:
        """Mark the server as the harness's. Raises StoreError when it holds anything of somebody else."""
        await self.check_claim()
        await self.mark()

    async def marked(self) -> bool:
        """Whether it carries the harness's marker."""
        return MARKER in await self._names()

    async def mark(self) -> None:
        await self._client[MARKER]["marker"].replace_one({"_id": "marker"}, {"_id": "marker"}, upsert=True)

    async def unmark(self) -> None:
        await self._client.drop_database(MARKER)

    async def snapshot(self) -> dict[str, tuple[bytes, ...]]:
        """All documents of all databases but the system's and the marker, raw."""
        content: dict[str, tuple[bytes, ...]] = {}
        for database in await self._databases():
            for collection in await self._client[database].list_collection_names():
                documents = await self._client[database][collection].find({}).to_list(None)
                if documents:
                    content[f"{database}.{collection}"] = tuple(bytes(document.raw) for document in documents)
        return content

    async def restore(self, content: Mapping[str, tuple[bytes, ...]]) -> None:
        """Make the content exactly this, in this order.

        Order counts: EMCO reads "the" record of a key with a filter that its children's records match as well, and
        takes the first that comes. Documents at the beginning that are there already, byte by byte, are left alone.
        """
        now = await self.snapshot()
        for name in {*now, *content}:
            database, _, collection = name.partition(".")
            wanted, there = content.get(name, ()), now.get(name, ())
            same = _common_prefix(wanted, there)
            target = self._client[database][collection]
            if same < len(there):
                await target.delete_many({"_id": {"$in": [RawBSONDocument(raw)["_id"] for raw in there[same:]]}})
            if same < len(wanted):
                await target.insert_many([RawBSONDocument(raw) for raw in wanted[same:]])

    async def _databases(self) -> list[str]:
        return [name for name in await self._names() if name != MARKER]

    async def _names(self) -> list[str]:
        try:
            return [name for name in await self._client.list_database_names() if name not in _SYSTEM]
        except PyMongoError as error:
            raise StoreError(f"mongo at {self.address} may not be read: {error}") from error


def _common_prefix(one: tuple[bytes, ...], two: tuple[bytes, ...]) -> int:
    length = 0
    for left, right in zip(one, two, strict=False):
        if left != right:
            break
        length += 1
    return length
