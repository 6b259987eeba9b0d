"""Backup and restore of a stage's EMCO: a backup is of a moment of rest; a restore gives exactly that, or nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chaoslib.exceptions import ActivityFailed

from harness.background import request
from harness.campaign import Campaign
from harness.chaos import actions, backup_actions, backups, probes
from harness.chaos.stage import Stage
from harness.faults.victim import HarnessTrouble
from harness.stores.pair import make_backup

EDGE = "p1+c2"
RECORDS = "mongo/emco.resources.bson"


def wipe_stores() -> None:
    actions.wipe()
    actions.bring_up(services=False)


def test_what_is_restored_after_a_wipe_is_what_it_was_in_its_order(stage: Stage) -> None:
    actions.run_workload(until="instantiate-dig1")
    backup_actions.back_up("b")
    actions.request("orchestrator", "POST", "/v2/projects", {"metadata": {"name": "later"}}, expect=201)
    assert probes.changed_since("b") != []
    wipe_stores()

    restored = backup_actions.restore("b")

    there, then = stage.snapshot(), stage.remembered("b")
    assert (there.mongo, there.etcd) == (then.mongo, then.etcd)
    assert restored == f"{len(then.mongo['emco.resources'])} documents and {len(then.etcd)} keys"
    actions.bring_up()
    actions.wait_until_ready("dig1")
    assert probes.changed_since("b") == []
    assert probes.invariants_hold()


def test_a_backup_while_rsync_is_at_work_is_refused_unless_it_is_wanted(stage: Stage) -> None:
    actions.run_workload(until="approve-dig1")
    actions.partition(EDGE, source="rsync")
    actions.call("instantiate-dig1")
    actions.wait_for_tries(EDGE, since="empty", times=2)

    with pytest.raises(ActivityFailed, match=r"needs writers at rest: .*rsync has Instantiate pending"):
        backup_actions.back_up("b")

    backup_actions.back_up("b", even_pending=True)
    assert any(b'"status":"Pending"' in value for value in stage.remembered("b").etcd.values())


@pytest.fixture
def late(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let a client write right when a backup was made, the first so many times."""

    async def here(campaign: Campaign) -> Campaign:
        return campaign

    campaign = stage.act(here)

    def write(times: int) -> None:
        left = [f"late-{number}" for number in range(times)]

        async def make_and_write(*stores: Any, **how: Any) -> Any:
            backup = await make_backup(*stores, **how)
            if left:
                body = {"metadata": {"name": left.pop()}}
                assert (await request(campaign, "orchestrator", "POST", "/v2/projects", body)).status == 201
            return backup

        monkeypatch.setattr(backups, "make_backup", make_and_write)

    return write


def test_a_backup_during_which_somebody_wrote_is_made_again(stage: Stage, late: Callable[[int], None]) -> None:
    late(2)
    backup_actions.back_up("b")
    assert stage.snapshot().mongo == stage.remembered("b").mongo
    assert {"late-0", "late-1"} <= {one.get("project") for one in stage.remembered("b").documents("emco.resources")}


def test_a_backup_during_which_somebody_always_writes_is_refused(
    stage: Stage, late: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    late(100)
    monkeypatch.setattr(backups, "_LIMIT", 1.0)
    with pytest.raises(ActivityFailed, match="needs writers at rest, and meanwhile orchestrator wrote to a store"):
        backup_actions.back_up("b")
    assert "b" not in stage.snapshots


def test_a_backup_while_a_call_is_under_way_is_refused(stage: Stage) -> None:
    actions.pause("orchestrator")
    actions.call("create-proj1", wait=False)

    with pytest.raises(ActivityFailed, match="needs writers at rest, and orchestrator/projects/create-proj1 is under"):
        backup_actions.back_up("b")


def test_a_backup_is_not_overwritten_and_goes_with_its_emco(stage: Stage, tmp_path: Path) -> None:
    own = Path(backup_actions.back_up("b"))
    kept = Path(backup_actions.back_up(str(tmp_path / "kept")))
    with pytest.raises(ActivityFailed, match="backups are not overwritten"):
        backup_actions.back_up("b")

    stage.empty()

    assert (own.exists(), kept.exists()) == (False, True)


def corrupted(_: Stage) -> str:
    backup_actions.corrupt("b", RECORDS)
    return rf"corrupted backup: member {RECORDS}: sha256 differs"


def not_empty(_: Stage) -> str:
    actions.bring_up()
    actions.run_workload(until="create-proj1")
    actions.crash("orchestrator")
    for service in ("clm", "dcm", "rsync"):
        actions.crash(service)
    return r"the stores are not empty: .*2 documents"


def services_run(_: Stage) -> str:
    actions.bring_up()
    return "a restore needs services that are down, and clm, dcm, orchestrator, rsync run"


def another_key(_: Stage) -> str:
    backup_actions.set_data_key("another")
    return "the secret data-key is not the one in the backup"


def no_key(_: Stage) -> str:
    backup_actions.set_data_key("")
    return "made with a data key and EMCO has none"


def no_file(_: Stage) -> str:
    Path(backup_actions.back_up("unused")).with_name("b").unlink()
    return "the backup cannot be read: No such file"


@pytest.mark.parametrize("spoil", [corrupted, not_empty, services_run, another_key, no_key, no_file])
def test_a_restore_that_would_do_harm_is_refused_and_touches_nothing(
    stage: Stage, spoil: Callable[[Stage], str]
) -> None:
    backup_actions.set_data_key("the key")
    actions.run_workload(until="create-p1")
    backup_actions.back_up("b")
    wipe_stores()
    sentence = spoil(stage)
    before = stage.snapshot()

    with pytest.raises(ActivityFailed, match=sentence):
        backup_actions.restore("b")

    assert stage.snapshot() == before


def test_one_store_alone_leaves_records_without_their_contexts_and_invariants_tell(stage: Stage) -> None:
    actions.run_workload(until="instantiate-lc1")
    backup_actions.back_up("b")
    wipe_stores()

    backup_actions.restore_store("mongo", "b")

    with pytest.raises(ActivityFailed, match="mongo is not empty"):
        backup_actions.restore_store("mongo", "b")
    assert [line.split(":")[0] for line in probes.broken_invariants()] == ["I4-dangling"]
    assert not probes.invariants_hold()
    backup_actions.restore_store("etcd", "b")
    assert probes.invariants_hold()


@pytest.mark.parametrize("store", ["mongo", "etcd"])
def test_one_store_is_read_back_after_its_restore(stage: Stage, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    actions.run_workload(until="create-p1")
    stage.act(lambda campaign: campaign.lab.etcd.restore({b"/a": b"1", b"/b": b"2"}))
    backup_actions.back_up("b")
    wipe_stores()

    async def half(campaign: Campaign) -> None:
        one = campaign.lab.mongo if store == "mongo" else campaign.lab.etcd
        restore = type(one).restore

        async def careless(self: object, content: dict[Any, Any]) -> None:
            await restore(self, {name: found[:-1] for name, found in content.items()})  # type: ignore[arg-type]

        monkeypatch.setattr(type(one), "restore", careless)

    stage.act(half)

    with pytest.raises(ActivityFailed, match=f"{store} was restored, and what was read back is not what b holds"):
        backup_actions.restore_store(store, "b")  # type: ignore[arg-type]


def test_what_is_no_store_is_not_restored(stage: Stage) -> None:
    with pytest.raises(ActivityFailed, match="store is 'mongodb'; it is mongo or etcd"):
        backup_actions.restore_store("mongodb", "b")  # type: ignore[arg-type]


def test_a_byte_of_what_is_not_there_cannot_be_changed(stage: Stage) -> None:
    backup_actions.back_up("b")
    with pytest.raises(ActivityFailed, match="b has no member 'mongo/none'"):
        backup_actions.corrupt("b", "mongo/none")


def test_time_is_measured_from_a_mark_and_a_limit_is_one(stage: Stage) -> None:
    actions.mark("now")
    assert 0 <= actions.check_time("now", 60) < 60
    with pytest.raises(ActivityFailed, match=r"s since 'now', more than 0 s"):
        actions.check_time("now", 0)
    with pytest.raises(ActivityFailed, match="nothing was marked 'never'"):
        actions.check_time("never", 60)


def test_a_snapshot_is_remembered_by_its_name(stage: Stage) -> None:
    actions.remember("one")
    actions.run_workload(until="create-proj1")
    assert probes.changed_since("one") == ["unexpected: mongo emco.resources {project} proj1"]
    with pytest.raises(ActivityFailed, match="no snapshot is named 'two'; there are begin, one"):
        probes.changed_since("two")


def test_what_must_be_refused_and_is_not_fails(stage: Stage) -> None:
    backup_actions.back_up("b")
    refused = backup_actions.must_be_refused("back_up", "not overwritten", {"file": "b"})
    assert refused.endswith("backups are not overwritten")
    with pytest.raises(ActivityFailed, match="back_up was refused, but not because of 'the moon'"):
        backup_actions.must_be_refused("back_up", "the moon", {"file": "b"})
    with pytest.raises(ActivityFailed, match="back_up was not refused"):
        backup_actions.must_be_refused("back_up", "anything", {"file": "c"})
    with pytest.raises(ActivityFailed, match="what can be refused is back_up, restore, restore_store, not 'wipe'"):
        backup_actions.must_be_refused("wipe", "anything")


def test_what_is_refused_must_not_change_anything(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    backup_actions.back_up("b")

    def refused_too_late(*_: object, **__: object) -> str:
        actions.run_workload(until="create-proj1")
        raise HarnessTrouble("no")

    monkeypatch.setattr(backups, "back_up", refused_too_late)
    with pytest.raises(ActivityFailed, match="was refused and changed something all the same: no"):
        backup_actions.must_be_refused("back_up", "no", {"file": "c"})


def test_unchanged_is_as_in_one_snapshot_or_as_in_another(stage: Stage) -> None:
    actions.remember("before")
    actions.run_workload(until="create-proj1")
    actions.remember("after")
    assert actions.check_unchanged("after") == "everything is as in 'after'"
    assert actions.check_unchanged("before", within="etcd") == "everything is as in 'before'"
    for nonsense in ("mongodb", "edges", "Etcd", "e"):
        with pytest.raises(ActivityFailed, match=f"within is one of mongo, etcd, edge, or empty.*, not '{nonsense}'"):
            actions.check_unchanged("before", within=nonsense)
    assert actions.check_unchanged("before", or_as_in="after") == "everything is as in 'after'"
    with pytest.raises(ActivityFailed, match=r"1 places are not as in 'before': unexpected: mongo .*proj1"):
        actions.check_unchanged("before")


def test_calls_are_attempted_whatever_they_are_answered(stage: Stage) -> None:
    told = actions.attempt(["create-c1", "create-proj1", "create-proj1"])
    assert told == ["create-c1 409", "create-proj1 201", "create-proj1 409"]
    assert actions.call_until_acknowledged("create-p1") == 1
    with pytest.raises(ActivityFailed, match="create-p1 was answered 409 for 0 s"):
        actions.call_until_acknowledged("create-p1", limit=0)
