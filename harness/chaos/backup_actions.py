"""Actions that back EMCO up and bring it back. As those of harness.chaos.actions, each fails with a sentence.

- type: action
  name: the backup
  provider:
    type: python
    module: harness.chaos.backup_actions
    func: back_up
    arguments: {file: backup}
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from chaoslib.exceptions import ActivityFailed

from harness.campaign import Campaign
from harness.chaos import backups
from harness.chaos.current import stage
from harness.chaos.sentences import in_sentences
from harness.faults.victim import UsageError

__all__ = ["back_up", "corrupt", "must_be_refused", "restore", "restore_store", "set_data_key"]


@in_sentences
def back_up(file: str, even_pending: bool = False) -> str:  # noqa: FBT001, FBT002  an argument of YAML
    """Write mongo, etcd and the data key into a file, as of a moment in which nobody wrote. Fails where there is none.

    file: a name, of a file that goes with the EMCO of this experiment, or an absolute path; it must not be there yet
    even_pending: take it although rsync has events pending, as long as it writes nothing meanwhile
    """
    return backups.back_up(stage(), file, even_pending=even_pending)


@in_sentences
def restore(file: str) -> str:
    """Make both stores what a backup holds; services have to be down. Fails with nothing written when the file is not
    as it was written, when a store is not empty, or when EMCO has another data key."""
    restored = backups.restore(stage(), file)
    return f"{restored.documents} documents and {restored.keys} keys"


@in_sentences
def restore_store(store: Literal["mongo", "etcd"], file: str) -> str:
    """Make one store what a backup holds of it, whatever the other one holds: as people do who have a dump of each.

    file: empty leaves the store empty
    """
    if not file:
        return f"{store} stays empty"
    return f"{backups.restore_store(stage(), store, file)} {'documents' if store == 'mongo' else 'keys'}"


@in_sentences
def corrupt(file: str, member: str) -> str:
    """Change one byte in the middle of a member of a backup, `mongo/emco.resources.bson`, say."""
    backups.corrupt(stage(), file, member)
    return f"one byte of {member} in {file} is another one"


@in_sentences
def set_data_key(key: str) -> str:
    """What services are given as EMCO_DATA_KEY from their next start on; empty for none."""
    stage().act(partial(_set_data_key, key=key))
    return "from its next start on EMCO has a data key" if key else "from its next start on EMCO has no data key"


@in_sentences
def must_be_refused(
    action: str,
    because: str,
    arguments: dict[str, Any] | None = None,
    unchanged: bool = True,  # noqa: FBT001, FBT002  an argument of YAML
) -> str:
    """Do what must fail, back_up, restore or restore_store; the sentence with which it did.

    Fails when it works, when `because` is no part of that sentence, or, unless `unchanged` is false because EMCO is at
    work, when mongo, etcd or an edge changed.
    """
    known: Mapping[str, Callable[..., str]] = {
        "back_up": back_up,
        "restore": restore,
        "restore_store": restore_store,
    }
    if action not in known:
        raise UsageError(f"what can be refused is {', '.join(known)}, not {action!r}")
    before = stage().snapshot()
    try:
        done = known[action](**(arguments or {}))
    except ActivityFailed as refused:
        if because not in str(refused):
            raise AssertionError(f"{action} was refused, but not because of {because!r}: {refused}") from refused
        if unchanged and stage().snapshot() != before:
            raise AssertionError(f"{action} was refused and changed something all the same: {refused}") from refused
        return str(refused)
    raise AssertionError(f"{action} was not refused: {done}")


async def _set_data_key(campaign: Campaign, *, key: str) -> None:
    campaign.disruptions.set_data_key(key)
