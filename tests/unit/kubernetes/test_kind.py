"""What is refused before any cluster is made, and what is found again afterwards."""

import asyncio
import os
import sys
from contextlib import closing
from pathlib import Path

import pytest

from harness.faults.journal import UNDOERS, Journal, process_started
from harness.faults.victim import UsageError
from harness.platforms.commands import CommandFails, command
from harness.platforms.kind.clusters import KIND_UNDOERS, UNDO, ClusterSet, Sets, check_kind
from harness.platforms.kind.node import Exit
from harness.platforms.settings import KindSettings
from tests.unit.kubernetes.small_cluster import until


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with a docker and a kind on it that do nothing."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("docker", "kind"):
        (folder / name).write_text("#!/bin/sh\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/bin{os.pathsep}/usr/bin")
    return folder


def test_enough_of_everything_is_no_error(programs: Path) -> None:
    check_kind(KindSettings(edges=1), available_mib=1800)


def test_too_little_memory_is_refused_with_both_figures(programs: Path) -> None:
    with pytest.raises(UsageError, match="1799 MiB are available, a hub and 1 edges need 1800 MiB"):
        check_kind(KindSettings(edges=1), available_mib=1799)


def test_memory_is_needed_for_the_clusters_of_every_worker(programs: Path) -> None:
    check_kind(KindSettings(edges=1), available_mib=5400, workers=3)
    with pytest.raises(UsageError) as refused:
        check_kind(KindSettings(edges=1), available_mib=5399, workers=3)
    assert str(refused.value) == (
        "too little memory: 5399 MiB are available, 3 workers, each with a hub and 1 edges, need 5400 MiB"
    )


def test_the_name_of_a_workers_set_must_not_be_too_long_either(programs: Path) -> None:
    check_kind(KindSettings("a" * 37), available_mib=99999, workers=10)
    with pytest.raises(UsageError, match="at most 40, the -w10 of a worker included"):
        check_kind(KindSettings("a" * 37), available_mib=99999, workers=11)


def test_clusters_that_are_there_already_need_no_more_memory(programs: Path) -> None:
    check_kind(KindSettings(edges=1, reuse=True), available_mib=10)


@pytest.mark.parametrize("missing", ["docker", "kind"])
def test_a_missing_program_is_named(programs: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (programs / missing).unlink()
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(UsageError, match=f"{missing} is not on PATH; the platform kind needs it"):
        check_kind(KindSettings(), available_mib=99999)


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a/b", "a b", "a" * 41])
def test_a_name_that_is_none_is_refused(programs: Path, name: str) -> None:
    with pytest.raises(UsageError, match="small letters, digits and dashes"):
        check_kind(KindSettings(name), available_mib=99999)


@pytest.mark.parametrize("edges", [-1, 9])
def test_a_number_of_edges_that_makes_no_sense_is_refused(edges: int) -> None:
    with pytest.raises(UsageError, match=f"{edges} edges: a number from 0 to 8"):
        KindSettings(edges=edges)


def test_a_set_is_found_again_once_it_is_kept_and_its_undo_is_taken_back(tmp_path: Path) -> None:
    sets, folder = Sets(tmp_path), tmp_path / "kind" / "x"
    folder.mkdir(parents=True)
    journal = Journal(tmp_path / "undo" / "1-1.undo", undoers={**UNDOERS, **KIND_UNDOERS})
    undos = (journal.record(UNDO, cluster="x-hub"), journal.record("folder", path=str(folder)))
    assert (sets.names(), sets.get("x")) == ((), None)
    sets.keep(ClusterSet("x", folder, 2), journal, undos)
    journal.close()
    found = sets.get("x")
    assert found == ClusterSet("x", folder, 2)
    assert [one.name for one in found.all] == ["x-hub", "x-edge-1", "x-edge-2"]
    assert found.hub.kubeconfig.parent == folder
    assert not journal.path.exists()


def test_a_set_that_somebody_uses_is_refused_to_others(tmp_path: Path) -> None:
    with (
        Sets(tmp_path).locked("x"),
        pytest.raises(UsageError, match="the clusters x are in use by another run"),
        Sets(tmp_path).locked("x"),
    ):
        pass
    with Sets(tmp_path).locked("x"):
        pass


def test_what_was_never_made_cannot_be_reused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no clusters x; make them by `emco-chaos up`"):
        asyncio.run(Sets(tmp_path).reuse(KindSettings("x")))


def test_a_set_of_a_worker_that_is_missed_is_made_with_those_of_the_workers_before_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no clusters x-w1; make them by `emco-chaos up --workers 2`"):
        asyncio.run(Sets(tmp_path).reuse(KindSettings("x").of_worker(1)))


def test_a_name_stands_for_the_sets_of_the_workers_of_its_runs_as_well_and_for_no_others(tmp_path: Path) -> None:
    sets = Sets(tmp_path)
    for name in ("x", "x-w0", "x-w11", "x-w", "x-w0-b", "y-w0", "xx-w0"):
        folder = tmp_path / "kind" / name
        folder.mkdir(parents=True)
        with closing(Journal(tmp_path / "1-1.undo")) as journal:
            sets.keep(ClusterSet(name, folder, 0), journal, ())
    assert sets.called("x") == ("x", "x-w0", "x-w11")
    assert sets.called("y") == ("y-w0",)
    assert sets.called("x-w0") == ("x-w0",)


def test_rollback_removes_exactly_the_containers_of_the_cluster(programs: Path, tmp_path: Path) -> None:
    said, made = tmp_path / "said", {"cluster": "x-hub", "set": str(tmp_path / "kind" / "x")}
    until_removed = f'grep -q "^rm" {said} || printf "c1\\nc2\\n"'
    script = f'#!/bin/sh\necho "$@" >> {said}\n[ "$1" = ps ] && {until_removed}\nexit 0\n'
    (programs / "docker").write_text(script, encoding="utf-8")
    assert KIND_UNDOERS[UNDO](made) == "cluster x-hub removed"
    listed = "ps --all --quiet --no-trunc --filter label=io.x-k8s.kind.cluster=x-hub"
    assert said.read_text().splitlines() == [listed, "rm --force --volumes c1 c2", listed]
    (programs / "docker").write_text("#!/bin/sh\n", encoding="utf-8")
    assert KIND_UNDOERS[UNDO](made) == "cluster x-hub was gone already"


def test_a_program_that_fails_is_an_error_with_what_it_said() -> None:
    script = "import sys; sys.stderr.write('no such thing'); sys.exit(3)"
    with pytest.raises(CommandFails, match="ended with exit code 3: no such thing"):
        asyncio.run(command(sys.executable, "-c", script, limit=10))


def test_a_program_that_takes_too_long_is_ended() -> None:
    with pytest.raises(CommandFails, match=r"did not end within 0\.2 s"):
        asyncio.run(command(sys.executable, "-c", "import time; time.sleep(60)", limit=0.2))


@pytest.mark.parametrize("status, signal", [(0, 0), (1, 0), (128, 0), (137, 9), (143, 15)])
def test_the_signal_is_read_from_a_containers_exit_status(status: int, signal: int) -> None:
    assert Exit("c", 1, status).signal == signal


async def test_a_program_that_is_given_up_ends_with_what_it_has_started_at_whatever_moment(tmp_path: Path) -> None:
    program = f"sleep 60 & echo $! >> {tmp_path / 'started'}; wait"
    for turn in range(12):  # from before it is there until after it waits
        task = asyncio.ensure_future(command("/bin/sh", "-c", program, limit=60))
        await asyncio.sleep(turn * 0.003)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)
    started = (tmp_path / "started").read_text().split() if (tmp_path / "started").exists() else []
    await until(lambda: not any(process_started(int(pid)) for pid in started))
