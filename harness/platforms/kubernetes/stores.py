"""The stores of an installed EMCO, which are somebody else's: kept in a file while a run replaces them, and put back.

They are reached at their own pods, not through the relay: what was theirs has to come back also when the relay, or the
harness that ran it, is gone. What they held, and which of them the run itself marked, is in the undo journal before
either is changed.
"""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from pymongo.errors import PyMongoError

from harness.faults.journal import Journal, UndoFails
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.edges.access import read_hub
from harness.platforms.edges.client import ApiClient, gone
from harness.platforms.edges.running import check_open
from harness.platforms.kubernetes.splice import Where
from harness.platforms.kubernetes.streams import Streams
from harness.platforms.kubernetes.wiring import EMCO_NAMESPACE, HARNESS_NAMESPACE, RELAY
from harness.stores.backup import BackupError, read_backup, write_backup
from harness.stores.etcd import Etcd
from harness.stores.mongo import Mongo, StoreError
from harness.stores.pair import NotAtRest, Rest, RestoreFailed, RestoreRefused, make_backup, restore_backup

Json = dict[str, Any]
STORES: Mapping[str, int] = MappingProxyType({"emco-mongo": 27017, "emco-etcd": 2379})
"""Services of the stores, with their ports."""

CONTENT_UNDO, MARKS_UNDO = "emco-stores", "emco-marks"
_NAMESPACE = f"/api/v1/namespaces/{EMCO_NAMESPACE}"
_RELAY = f"/apis/apps/v1/namespaces/{HARNESS_NAMESPACE}/deployments/{RELAY}"
_READY_LIMIT, _GONE_LIMIT, _PAUSE = 60.0, 60.0, 0.2
_QUIET = Rest(pause=0.5, limit=30.0)
_TROUBLE = (HarnessTrouble, StoreError, PyMongoError, BackupError, NotAtRest, RestoreFailed, RestoreRefused)

Connect = Callable[[Where], AbstractAsyncContextManager[tuple[Mongo, Etcd]]]
"""Reaches both stores of a cluster."""


@dataclass(frozen=True, slots=True)
class Passwords:
    """Of the stores' administrators, as EMCO's store charts keep them; empty where the stores ask for none."""

    mongo: str = field(default="", repr=False)
    etcd: str = field(default="", repr=False)

    def mongo_uri(self, host: str, port: int) -> str:
        """Empty where no password is asked for."""
        user = f"root:{quote(self.mongo, safe='')}"
        return f"mongodb://{user}@{host}:{port}/?directConnection=true&authSource=admin" if self.mongo else ""


async def read_passwords(api: ApiClient) -> Passwords:
    """As EMCO's store charts keep them in Secrets."""

    async def of(secret: str, key: str) -> str:
        found = await api.ask("GET", f"{_NAMESPACE}/secrets/{secret}", accept=(404,))
        return base64.b64decode((found.get("data") or {}).get(key, "")).decode()

    return Passwords(await of("emco-mongo", "rootPassword"), await of("emco-etcd", "etcd-root-password"))


async def check_stores(api: ApiClient) -> None:
    """Raises HarnessTrouble when the Services of the stores are not there as EMCO's charts have them."""
    for name, port in STORES.items():
        service = await api.ask("GET", f"{_NAMESPACE}/services/{name}", accept=(404,))
        if port not in [one.get("port") for one in _ports(service)]:
            raise HarnessTrouble(f"the namespace {EMCO_NAMESPACE} has no Service {name} with the port {port}")


@contextlib.asynccontextmanager
async def open_stores(where: Where) -> AsyncIterator[tuple[Mongo, Etcd]]:
    """Both stores at their own pods, by port-forwards. Raises HarnessTrouble when no pod of them is ready."""
    access = read_hub(where.kubeconfig, where.context)
    async with contextlib.AsyncExitStack() as stack:
        api = ApiClient(where.context, access)
        stack.push_async_callback(api.close)
        await check_open(api, EMCO_NAMESPACE)
        passwords = await read_passwords(api)
        streams = Streams(access)
        stack.push_async_callback(streams.close)
        doors = []
        for name in STORES:
            pod, port = await behind(api, name, limit=_READY_LIMIT)
            doors.append(await streams.forward(lambda pod=pod: pod, port))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        (host, number), etcd_door = doors
        etcd = Etcd(*etcd_door, user="root" if passwords.etcd else "", password=passwords.etcd)
        stack.push_async_callback(etcd.close)
        mongo = await stack.enter_async_context(Mongo(host, number, uri=passwords.mongo_uri(host, number)))
        yield mongo, etcd


async def behind(api: ApiClient, name: str, *, limit: float) -> tuple[str, int]:
    """The pod, as a path in the API, and the port of it, to which a store's Service leads.

    Raises HarnessTrouble when it leads nowhere within `limit` seconds.
    """
    service = await api.ask("GET", f"{_NAMESPACE}/services/{name}")
    label = next((one.get("name") for one in _ports(service) if one.get("port") == STORES[name]), None)
    deadline = asyncio.get_running_loop().time() + limit
    while True:
        listed = await api.ask("GET", f"{_NAMESPACE}/endpoints/{name}", accept=(404,))
        for subset in listed.get("subsets") or ():
            port = next((one["port"] for one in subset.get("ports") or () if one.get("name") == label), None)
            pods = [one["targetRef"]["name"] for one in subset.get("addresses") or () if "targetRef" in one]
            if pods and port is not None:
                return f"{_NAMESPACE}/pods/{pods[0]}", int(port)
        if asyncio.get_running_loop().time() > deadline:
            raise HarnessTrouble(f"the Service {name} leads to no pod that is ready within {limit:g} s")
        await asyncio.sleep(_PAUSE)  # only the API server knows; bounded by the limit


def _ports(service: Json) -> list[Json]:
    return list((service.get("spec") or {}).get("ports") or ())


async def cut_off(where: Where) -> None:
    """Remove the relay, so that no service that was led to it reaches a store any more. Raises HarnessTrouble."""
    api = ApiClient(where.context, read_hub(where.kubeconfig, where.context))
    try:
        if (await api.ask("GET", _RELAY, accept=(404,))).get("kind") != "Deployment":
            return
        await check_open(api, HARNESS_NAMESPACE)
        await api.ask("DELETE", _RELAY, {"propagationPolicy": "Foreground"}, accept=(404,))
        await gone(api, _RELAY, limit=_GONE_LIMIT)
    finally:
        await api.close()


class KeptStores:
    """What a run owes to stores that are somebody else's.

    file: for what they hold, mode 600; made by `take`, removed once it is put back
    connect, cut: how the stores are reached, and how everybody else is kept from them
    """

    def __init__(
        self,
        where: Where,
        journal: Journal,
        file: Path,
        *,
        connect: Connect = open_stores,
        cut: "Callable[[Where], Any]" = cut_off,
    ) -> None:
        self._where = where
        self._journal = journal
        self._file = file
        self._connect = connect
        self._cut = cut
        self._content: int | None = None  # numbers of undos
        self._marks: tuple[int, tuple[str, ...]] | None = None

    async def before_marks(self, mongo: Mongo, etcd: Etcd) -> None:
        """Note which of them are about to get the harness's mark. Those that have it were opened by the user."""
        marked = {"mongo": await mongo.marked(), "etcd": await etcd.marked()}
        fresh = tuple(name for name in marked if not marked[name])
        if fresh:
            self._marks = self._journal.record(MARKS_UNDO, stores=" ".join(fresh), **_place(self._where)), fresh

    async def take(self, mongo: Mongo, etcd: Etcd) -> None:
        """Write down what they hold. Nobody may be at work on them. Raises HarnessTrouble, also when somebody is."""
        try:
            backup = await make_backup(mongo, etcd, clock=lambda: datetime.now(UTC), versions={}, rest=_QUIET)
        except NotAtRest as error:
            raise HarnessTrouble(
                f"somebody else is at work on the stores of the installed EMCO, past the relay: {error}"
            ) from error
        except (StoreError, PyMongoError) as error:
            raise HarnessTrouble(f"the stores of the installed EMCO cannot be read: {error}") from error
        try:
            write_backup(self._file, backup)
        except BackupError as error:
            raise HarnessTrouble(str(error)) from error
        self._content = self._journal.record(CONTENT_UNDO, backup=str(self._file), **_place(self._where))

    async def put_back(self) -> None:
        """Make them hold what they held. Raises HarnessTrouble; the undo then stays in the journal."""
        if self._content is None:
            return
        await self._cut(self._where)
        try:
            await _put_back(self._where, self._file, self._connect)
        except _TROUBLE as error:
            raise HarnessTrouble(_not_put_back(self._where, self._file, error)) from error
        self._journal.done(self._content)
        self._content = None
        self._file.unlink()

    async def unmark(self) -> None:
        """Take the mark from those that the run itself marked. Raises HarnessTrouble."""
        if self._marks is None:
            return
        number, fresh = self._marks
        try:
            await _unmark(self._where, fresh, self._connect)
        except _TROUBLE as error:
            raise HarnessTrouble(_still_marked(self._where, " ".join(fresh), error)) from error
        self._journal.done(number)
        self._marks = None


async def _put_back(where: Where, file: Path, connect: Connect) -> None:
    backup = read_backup(file)
    async with connect(where) as (mongo, etcd):
        # Marked they are as long as they are lent: without the mark somebody has taken them back meanwhile.
        await restore_backup(backup, mongo, etcd, replace="marked")


async def _unmark(where: Where, stores: tuple[str, ...], connect: Connect) -> None:
    async with connect(where) as (mongo, etcd):
        if "mongo" in stores:
            await mongo.unmark()
        if "etcd" in stores:
            await etcd.unmark()


def _place(where: Where) -> Mapping[str, str]:
    return {"file": str(where.kubeconfig.resolve()), "context": where.context}


def _not_put_back(where: Where, file: Path, error: Exception) -> str:
    return (
        f"what the stores of EMCO ({where.context}) held before the run could not be put back: {error}. It is in "
        f"{file}; `emco-chaos rollback` tries again, `emco-chaos restore` takes the file, too"
    )


def _still_marked(where: Where, stores: str, error: Exception) -> str:
    return f"the harness's mark could not be taken from {stores} ({where.context}): {error}"


def _undo_content(arguments: Mapping[str, str]) -> str:
    """For `emco-chaos rollback`: a sentence."""
    where, file = Where(Path(arguments["file"]), arguments["context"]), Path(arguments["backup"])

    async def undo() -> None:
        await cut_off(where)
        await _put_back(where, file, open_stores)

    try:
        asyncio.run(undo())
    except (UsageError, *_TROUBLE) as error:
        raise UndoFails(_not_put_back(where, file, error)) from error
    file.unlink()
    return f"the stores of EMCO ({where.context}) hold what they held before"


def _undo_marks(arguments: Mapping[str, str]) -> str:
    where, stores = Where(Path(arguments["file"]), arguments["context"]), arguments["stores"]
    try:
        asyncio.run(_unmark(where, tuple(stores.split()), open_stores))
    except (UsageError, *_TROUBLE) as error:
        raise UndoFails(_still_marked(where, stores, error)) from error
    return f"{' and '.join(stores.split())} ({where.context}) do not carry the harness's mark any more"


STORE_UNDOERS: Mapping[str, Callable[[Mapping[str, str]], str]] = MappingProxyType(
    {CONTENT_UNDO: _undo_content, MARKS_UNDO: _undo_marks}
)
"""For journals that hold stores of somebody else: what plays their undo."""
