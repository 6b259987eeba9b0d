"""Backing up the EMCO of a stage, and bringing it back.

EMCO has no backup of its own. What can be had is a copy of mongo and etcd from a time in which none of its writers
wrote: the API's clients, which here is the experiment itself, and rsync. That there was such a time is proven three
times over: nothing is pending, both stores read the same twice, and no write passed the relays in between.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pymongo.errors import PyMongoError

from harness.background import at_rest
from harness.campaign import Campaign
from harness.emco.records import document_label, pending
from harness.faults.victim import HarnessTrouble, UsageError
from harness.stores.backup import Backup, BackupError, read_backup, read_manifest, write_backup
from harness.stores.mongo import StoreError
from harness.stores.pair import NotAtRest, Rest, Restored, RestoreFailed, RestoreRefused, make_backup, restore_backup
from harness.stores.snapshot import Snapshot

if TYPE_CHECKING:
    from harness.chaos.stage import Stage

T = TypeVar("T")

DATA_KEY = "data-key"
"""The name under which a backup holds EMCO's data key, as `emco-chaos backup` calls it."""
_FOLDER = "backups"
_LIMIT = 10.0  # seconds until the stores have to be at rest
_TROUBLE = (NotAtRest, RestoreRefused, RestoreFailed, BackupError, StoreError, PyMongoError)


def back_up(stage: "Stage", file: str, *, even_pending: bool = False) -> str:
    """Write mongo, etcd and the data key into a file that is not there yet; its path.

    What is in it is remembered as the snapshot `file`, the moment marked as `backup <file>`.

    file:         a name in a folder that goes with the environment, or an absolute path
    even_pending: take it although rsync has events pending, as long as it writes nothing meanwhile

    Raises HarnessTrouble where EMCO's writers are at work, or the file cannot be written.
    """
    if stage.under_way:
        raise HarnessTrouble(f"a backup needs writers at rest, and {stage.under_way[0]} is under way")
    path, stage.snapshots[file] = stage.act(partial(_back_up, file=file, even_pending=even_pending))
    stage.mark(f"backup {file}")
    return path


async def _back_up(campaign: Campaign, *, file: str, even_pending: bool) -> tuple[str, Snapshot]:
    lab = campaign.lab
    if not even_pending and (why := await at_rest(campaign)):
        raise HarnessTrouble(f"a backup needs writers at rest: {why}")
    try:
        backup = await _unwritten(campaign, at_work=_nothing if even_pending else pending)
        path = _path(campaign, file)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_backup(path, backup)
    except _TROUBLE as error:
        raise HarnessTrouble(str(error)) from error
    edges = (await lab.snapshot()).edges
    return str(path), Snapshot(lab.environment, backup.mongo, backup.etcd, edges)


async def _unwritten(campaign: Campaign, *, at_work: Callable[[Snapshot], tuple[str, ...]]) -> Backup:
    """A backup during which no write passed the relays. One that did makes it begin again, for as long as it may wait
    for rest at all: rsync may note at any moment what an edge reports. Raises HarnessTrouble with who wrote."""
    lab, key = campaign.lab, campaign.disruptions.data_key
    clock = asyncio.get_running_loop().time
    deadline = clock() + _LIMIT
    while True:
        began = lab.relay.seq()
        backup = await make_backup(
            lab.mongo,
            lab.etcd,
            clock=lambda: datetime.now(UTC),
            versions={"emco-chaos": version("emco-chaos")},
            rest=Rest(pause=0.2, limit=_LIMIT, label=document_label, at_work=at_work),
            extras={DATA_KEY: key.encode()} if key else None,
        )
        written = [seen for seen in lab.relay.since(began) if seen.target in campaign.disruptions.stores]
        if not written:
            return backup
        if clock() >= deadline:
            raise HarnessTrouble(f"a backup needs writers at rest, and meanwhile {written[0].source} wrote to a store")


def _nothing(_: Snapshot) -> tuple[str, ...]:
    return ()


def restore(stage: "Stage", file: str) -> Restored:
    """Make both stores what the file holds. All of it is verified before, and the stores are compared with it after.

    Raises HarnessTrouble, before anything is written: while services run, for a file that is not as it was written,
    for stores that are not empty, for another data key than EMCO's. Marks the moment as `restore <file>`.
    """
    restored = stage.act(partial(_restore, file=file))
    stage.mark(f"restore {file}")
    return restored


async def _restore(campaign: Campaign, *, file: str) -> Restored:
    _all_down(campaign)
    backup = _opened(campaign, file)
    key = campaign.disruptions.data_key
    if DATA_KEY in backup.extras and not key:
        raise HarnessTrouble("the backup was made with a data key and EMCO has none: what it holds could not be read")
    secrets = {DATA_KEY: key.encode()} if key else {}
    try:
        return await restore_backup(backup, campaign.lab.mongo, campaign.lab.etcd, replace="never", secrets=secrets)
    except _TROUBLE as error:
        raise HarnessTrouble(str(error)) from error


def restore_store(stage: "Stage", store: str, file: str) -> int:
    """Make one store what the file holds of it, whatever the other one holds: what a restore must not do, and people
    with a dump of each store can. How many documents or keys; they are read back and compared.

    Raises UsageError for what is no store, HarnessTrouble while services run, for a store that is not empty, and when
    it does not hold afterwards what the file holds.
    """
    if store not in ("mongo", "etcd"):
        raise UsageError(f"a store is mongo or etcd, not {store!r}")
    return stage.act(partial(_restore_store, store=store, file=file))


async def _restore_store(campaign: Campaign, *, store: str, file: str) -> int:
    _all_down(campaign)
    backup, lab = _opened(campaign, file), campaign.lab
    try:
        if await _one_of(campaign, store):
            raise HarnessTrouble(f"{store} is not empty")
        await (lab.mongo.restore(backup.mongo) if store == "mongo" else lab.etcd.restore(backup.etcd))
        there = await _one_of(campaign, store)
        wanted = backup.mongo if store == "mongo" else backup.etcd
        if there != wanted:
            raise HarnessTrouble(f"{store} was restored, and what was read back is not what {file} holds")
        return sum(map(len, backup.mongo.values())) if store == "mongo" else len(backup.etcd)
    except _TROUBLE as error:
        raise HarnessTrouble(str(error)) from error


async def _one_of(campaign: Campaign, store: str) -> Mapping[Any, Any]:
    return await (campaign.lab.mongo.snapshot() if store == "mongo" else campaign.lab.etcd.snapshot())


def corrupt(stage: "Stage", file: str, member: str) -> None:
    """Change one byte in the middle of a member of a backup. Raises HarnessTrouble when it has no such member."""
    stage.act(partial(_corrupt, file=file, member=member))


async def _corrupt(campaign: Campaign, *, file: str, member: str) -> None:
    path = _path(campaign, file)
    if member not in [one.name for one in _verified(lambda: read_manifest(path)).members]:
        raise HarnessTrouble(f"{file} has no member {member!r}")
    content = bytearray(path.read_bytes())
    header = content.index(member.encode() + b"\0")  # names stand in headers only, each at the beginning of one
    size = int(content[header + 124 : header + 135], 8)
    content[header + 512 + size // 2] ^= 0x01
    path.write_bytes(content)


async def remove_all(campaign: Campaign) -> None:
    """Remove the files that experiments made in the environment's own folder."""
    folder = campaign.lab.folder / _FOLDER
    for file in folder.glob("*"):
        file.unlink()


def _all_down(campaign: Campaign) -> None:
    if running := sorted(campaign.lab.running):
        raise HarnessTrouble(f"a restore needs services that are down, and {', '.join(running)} run: stop them first")


def _opened(campaign: Campaign, file: str) -> Backup:
    return _verified(lambda: read_backup(_path(campaign, file)))


def _verified(read: Callable[[], T]) -> T:
    try:
        return read()
    except BackupError as error:
        raise HarnessTrouble(str(error)) from error


def _path(campaign: Campaign, file: str) -> Path:
    return campaign.lab.folder / _FOLDER / file  # an absolute path stays what it is
