"""Stores of an installed EMCO: what they held comes back, by the run or by rollback, and marks of the run go."""

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import bson
import pytest

from harness.faults.journal import Journal, UndoFails, left, rollback
from harness.faults.victim import HarnessTrouble
from harness.platforms.kubernetes import stores
from harness.platforms.kubernetes.splice import Where
from harness.platforms.kubernetes.stores import CONTENT_UNDO, MARKS_UNDO, STORE_UNDOERS, KeptStores
from harness.stores.etcd import Etcd
from harness.stores.mongo import Mongo
from harness.stores.pair import Rest

from .conftest import HOST, connected

THEIRS = {"emco.resources": (bson.encode({"_id": 1, "project": "theirs"}),)}
KEYS = {b"/context/1/": b"theirs"}
OURS = {"emco.resources": (bson.encode({"_id": 2, "project": "ours"}),)}


class Place:
    """A cluster that has nothing but both stores."""

    def __init__(self, folder: Path, mongo_port: int, etcd_port: int) -> None:
        self.path, self.file = folder / "1-1.undo", folder / "1-1.stores.backup"
        self.where = Where(folder / "kubeconfig", "hub")
        self.cut: list[str] = []
        self._ports = mongo_port, etcd_port

    @contextlib.asynccontextmanager
    async def stores(self, _: Where | None = None) -> AsyncIterator[tuple[Mongo, Etcd]]:
        async with Mongo(HOST, self._ports[0]) as mongo, connected(self._ports[1]) as etcd:
            yield mongo, etcd

    async def cut_off(self, where: Where) -> None:
        async with self.stores() as (mongo, _):
            self.cut.append("with ours in it" if await mongo.snapshot() == OURS else "too late")

    @contextlib.contextmanager
    def journal(self) -> Iterator[Journal]:
        with contextlib.closing(Journal(self.path, undoers=STORE_UNDOERS)) as journal:
            yield journal

    def kept(self, journal: Journal) -> KeptStores:
        return KeptStores(self.where, journal, self.file, connect=self.stores, cut=self.cut_off)


@pytest.fixture
def place(tmp_path: Path, mongo_port: int, etcd_port: int) -> Place:
    return Place(tmp_path, mongo_port, etcd_port)


async def lent(place: Place, journal: Journal, *, mark: bool = True) -> KeptStores:
    """Stores that somebody opened, kept, and replaced by a run."""
    kept = place.kept(journal)
    async with place.stores() as (mongo, etcd):
        await mongo.restore(THEIRS)
        await etcd.restore(KEYS)
        if mark:
            await mongo.mark()
            await etcd.mark()
        await kept.before_marks(mongo, etcd)
        await kept.take(mongo, etcd)
        await mongo.restore(OURS)
        await etcd.restore({})
    return kept


async def test_what_they_held_is_in_a_file_of_its_owner_alone_before_anything_is_replaced(place: Place) -> None:
    with place.journal() as journal:
        await lent(place, journal)
        (undo,) = left(place.path)
        assert (undo.kind, undo.arguments["backup"]) == (CONTENT_UNDO, str(place.file))
        assert stat.S_IMODE(place.file.stat().st_mode) == 0o600


async def test_at_the_end_everybody_else_is_cut_off_and_they_hold_what_they_held(place: Place) -> None:
    with place.journal() as journal:
        kept = await lent(place, journal)
        await kept.put_back()
        await kept.unmark()
        assert place.cut == ["with ours in it"]
        async with place.stores() as (mongo, etcd):
            assert (await mongo.snapshot(), await etcd.snapshot()) == (THEIRS, KEYS)
            assert (await mongo.marked(), await etcd.marked()) == (True, True)  # by the user, before
    assert not place.file.exists()
    assert not place.path.exists()


async def test_what_was_put_back_once_is_not_put_back_over_what_came_later(place: Place) -> None:
    with place.journal() as journal:
        kept = await lent(place, journal)
        await kept.put_back()
        async with place.stores() as (mongo, _):
            await mongo.restore(OURS)
        await kept.put_back()
        async with place.stores() as (mongo, _):
            assert await mongo.snapshot() == OURS


async def test_a_store_that_the_run_itself_marked_is_unmarked(place: Place) -> None:
    """The next run would take everything that somebody has put there since for its own."""
    with place.journal() as journal:
        kept = place.kept(journal)
        async with place.stores() as (mongo, etcd):
            await mongo.mark()
            await etcd.unmark()
            await kept.before_marks(mongo, etcd)
            assert [(one.kind, one.arguments["stores"]) for one in left(place.path)] == [(MARKS_UNDO, "etcd")]
            await mongo.claim()
            await etcd.claim()
            await kept.unmark()
            assert (await mongo.marked(), await etcd.marked()) == (True, False)


def test_rollback_puts_back_and_unmarks_what_a_killed_run_left(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "open_stores", place.stores)
    monkeypatch.setattr(stores, "cut_off", place.cut_off)

    async def killed() -> None:
        with place.journal() as journal:
            kept = place.kept(journal)
            async with place.stores() as (mongo, etcd):
                await etcd.unmark()
                await mongo.unmark()
                await kept.before_marks(mongo, etcd)
                await mongo.claim()
                await etcd.claim()
                await kept.take(mongo, etcd)
                await mongo.restore(OURS)

    async def now() -> tuple[object, bool, bool]:
        async with place.stores() as (mongo, etcd):
            return await mongo.snapshot(), await mongo.marked(), await etcd.marked()

    asyncio.run(killed())
    told = rollback(place.path, undoers=STORE_UNDOERS)
    assert told.told == (
        "the stores of EMCO (hub) hold what they held before",
        "mongo and etcd (hub) do not carry the harness's mark any more",
    )
    assert place.cut == ["with ours in it"]
    assert asyncio.run(now()) == ({}, False, False)
    assert not place.file.exists()


async def test_stores_that_somebody_took_back_are_left_and_the_file_stays(place: Place) -> None:
    with place.journal() as journal:
        kept = await lent(place, journal)
        async with place.stores() as (mongo, _etcd):
            await mongo.unmark()
        with pytest.raises(HarnessTrouble, match=r"could not be put back: .* do not both carry the harness's marker"):
            await kept.put_back()
        assert [one.kind for one in left(place.path)] == [CONTENT_UNDO]
        assert place.file.exists()
        async with place.stores() as (mongo, _):
            assert await mongo.snapshot() == OURS


async def test_stores_on_which_somebody_is_at_work_are_not_lent(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_QUIET", Rest(pause=0.01, limit=0.05))
    with place.journal() as journal:
        kept = place.kept(journal)
        async with place.stores() as (mongo, etcd):
            read = etcd.snapshot
            number = iter(range(1000))

            async def moving() -> dict[bytes, bytes]:
                return {**await read(), b"/n": b"%d" % next(number)}

            monkeypatch.setattr(etcd, "snapshot", moving)
            with pytest.raises(HarnessTrouble, match="somebody else is at work on the stores of the installed EMCO"):
                await kept.take(mongo, etcd)
        assert not place.file.exists()


def test_an_undo_that_fails_says_where_the_content_is(place: Place) -> None:
    arguments = {"file": str(place.where.kubeconfig), "context": "hub", "backup": str(place.file)}
    with pytest.raises(UndoFails, match=r"could not be put back: .*1-1\.stores\.backup"):
        STORE_UNDOERS[CONTENT_UNDO](arguments)
