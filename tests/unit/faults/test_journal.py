"""The undo journal: what was made can be undone after the harness was killed, and nothing else is touched."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from harness.faults import journal
from harness.faults.journal import (
    MARKER,
    Journal,
    RolledBack,
    Undo,
    UndoFails,
    left,
    orphaned,
    owner_alive,
    process_started,
    rollback,
)
from harness.faults.victim import Death


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "undo" / "1-1.undo"


def note(file: Path, kind: str, /, **arguments: str) -> int:
    """Write one undo, as a harness that ends right after it."""
    with closing(Journal(file)) as undos:
        return undos.record(kind, **arguments)


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_the_undo_is_on_disk_before_the_act(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fdatasync", lambda _: synced.append(path.read_text(encoding="utf-8")))
    number = note(path, "folder", path="/x")
    assert [json.loads(text) for text in synced] == [{"do": number, "kind": "folder", "path": "/x"}]


def test_what_is_left_comes_newest_first_and_without_what_is_done(path: Path) -> None:
    with closing(Journal(path)) as undos:
        numbers = [undos.record("folder", path=f"/{name}") for name in "abc"]
        undos.done(numbers[1])
    assert left(path) == (Undo(3, "folder", {"path": "/c"}), Undo(1, "folder", {"path": "/a"}))


def test_an_unknown_kind_is_refused_before_anything_is_written(path: Path) -> None:
    with pytest.raises(ValueError, match="undo of kind 'volcano' is not known; known: folder, process"):
        note(path, "volcano")
    assert not path.exists()


def test_a_journal_with_nothing_left_is_removed_at_its_end(path: Path) -> None:
    undos = Journal(path)
    undos.done(undos.record("folder", path="/x"))
    undos.close()
    assert not path.exists()


def test_a_journal_with_something_left_stays(path: Path) -> None:
    note(path, "folder", path="/x")
    assert len(left(path)) == 1


def test_a_torn_last_line_is_no_act_yet(path: Path) -> None:
    note(path, "folder", path="/x")
    with path.open("a", encoding="utf-8") as file:
        file.write('{"do": 2, "kind": "fol')
    assert [undo.number for undo in left(path)] == [1]


def test_a_torn_line_does_not_swallow_what_is_written_after_it(path: Path) -> None:
    note(path, "folder", path="/x")
    with path.open("a", encoding="utf-8") as file:
        file.write('{"do": 2, "kind": "fol')
    assert note(path, "folder", path="/y") == 2
    assert [undo.arguments["path"] for undo in left(path)] == ["/y", "/x"]


def test_numbers_go_on_in_a_journal_that_is_opened_again(path: Path) -> None:
    first = note(path, "folder", path="/x")
    assert note(path, "folder", path="/y") == first + 1


def test_rollback_removes_a_marked_folder_and_the_journal(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / MARKER).touch()
    note(path, "folder", path=str(folder))
    assert rollback(path).told == (f"folder {folder} removed",)
    assert (folder.exists(), path.exists()) == (False, False)


def test_rollback_never_removes_a_folder_without_the_marker(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "letter").touch()
    note(path, "folder", path=str(folder))
    assert rollback(path).told == (f"folder {folder} left: it is not the harness's",)
    assert (folder / "letter").exists()


def test_rollback_of_a_folder_that_is_gone(path: Path, tmp_path: Path) -> None:
    note(path, "folder", path=str(tmp_path / "never"))
    assert rollback(path).told == (f"folder {tmp_path / 'never'} was gone already",)


def test_rollback_goes_newest_first(path: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        note(path, "folder", path=str(tmp_path / name))
    assert [sentence.split("/")[-1] for sentence in rollback(path).told] == [
        "two was gone already",
        "one was gone already",
    ]


def test_an_undo_that_fails_stays_in_the_journal_and_stops_no_other(path: Path, tmp_path: Path) -> None:
    def play(arguments: Mapping[str, str]) -> str:
        if arguments["why"]:
            raise (UndoFails, OSError, subprocess.TimeoutExpired)[int(arguments["why"]) - 1](arguments["why"], 1)
        return "undone"

    undoers = {"it": play}
    with closing(Journal(path, undoers=undoers)) as undos:
        for why in ("1", "", "2", "3", ""):
            undos.record("it", why=why)
    told = rollback(path, undoers=undoers)
    assert told.told == ("undone", "undone")
    assert [sentence.split()[1] for sentence in told.failed] == ["3:", "2:", "1:"]
    assert [undo.arguments["why"] for undo in left(path)] == ["3", "2", "1"]


def test_what_could_not_be_undone_is_tried_again_alone(path: Path) -> None:
    tries: list[str] = []

    def play(arguments: Mapping[str, str]) -> str:
        tries.append(arguments["name"])
        if arguments["name"] == "b" and tries.count("b") == 1:
            raise UndoFails("not now")
        return arguments["name"]

    with closing(Journal(path, undoers={"it": play})) as undos:
        for name in "abc":
            undos.record("it", name=name)
    assert rollback(path, undoers={"it": play}) == RolledBack(("c", "a"), ("it b: not now",))
    assert rollback(path, undoers={"it": play}) == RolledBack(("b",), ())
    assert not path.exists()


def test_what_another_version_wrote_is_kept(path: Path) -> None:
    def play(arguments: Mapping[str, str]) -> str:
        return arguments["name"]

    with closing(Journal(path, undoers={"new": play, "it": play})) as undos:
        undos.record("new", name="x")
        undos.record("it", other="x")
    told = rollback(path, undoers={"it": play})
    assert told.failed == (
        "it x: the journal does not say the 'name' of it; another version wrote it",
        "new x: this version does not know how that is undone",
    )
    assert len(left(path)) == 2


def test_rollback_kills_a_process(path: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    started = process_started(sleeper.pid)
    note(path, "process", pid=str(sleeper.pid), started=started, what="mongo")
    assert rollback(path).told == (f"process {sleeper.pid} (mongo) killed",)
    assert sleeper.wait(10) == -signal.SIGKILL


def test_rollback_twice_does_no_harm(path: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    note(path, "process", pid=str(sleeper.pid), started=process_started(sleeper.pid), what="mongo")
    written = path.read_bytes()
    rollback(path)
    sleeper.wait(10)
    path.write_bytes(written)
    assert rollback(path).told == (f"process {sleeper.pid} (mongo) was gone already",)


@pytest.mark.parametrize("started", ["1", ""], ids=["pid was given to another", "ended before it was looked at"])
def test_rollback_leaves_a_process_alone_that_is_not_the_one(
    path: Path, sleeper: "subprocess.Popen[bytes]", started: str
) -> None:
    note(path, "process", pid=str(sleeper.pid), started=started, what="mongo")
    assert rollback(path).told == (f"process {sleeper.pid} (mongo) was gone already",)
    assert sleeper.poll() is None


def test_rollback_of_a_process_that_is_gone_and_whose_start_was_never_seen(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait(10)
    note(path, "process", pid=str(process.pid), started="", what="mongo")
    assert rollback(path).told == (f"process {process.pid} (mongo) was gone already",)


def test_a_zombie_counts_as_gone(sleeper: "subprocess.Popen[bytes]") -> None:
    assert process_started(sleeper.pid) != ""
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert process_started(sleeper.pid) == ""


@pytest.mark.parametrize("suffix", ["undo", "folder.undo"])
def test_the_owner_is_alive_as_long_as_pid_and_start_time_are_those_in_the_name(tmp_path: Path, suffix: str) -> None:
    me = process_started(os.getpid())
    assert owner_alive(tmp_path / f"{os.getpid()}-{me}.{suffix}") is True
    assert owner_alive(tmp_path / f"{os.getpid()}-1{me}.{suffix}") is False


def test_a_file_with_another_name_has_no_owner(tmp_path: Path) -> None:
    assert owner_alive(tmp_path / "notes.undo") is False


def test_every_kind_can_be_undone() -> None:
    assert sorted(journal.UNDOERS) == ["folder", "process"]


def test_a_death_says_how() -> None:
    assert Death("rsync", 7, signal.SIGKILL, 0).describe() == "SIGKILL reaped (pid 7)"
    assert Death("rsync", 7, 0, 3).describe() == "exit code 3 (pid 7)"


def test_journals_of_killed_runs_are_told_from_those_of_runs_at_work(tmp_path: Path) -> None:
    assert orphaned(tmp_path / "none") == ()
    mine = process_started(os.getpid())
    for name in (f"{os.getpid()}-{mine}.a.undo", f"{os.getpid()}-1{mine}.b.undo", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in orphaned(tmp_path)] == [f"{os.getpid()}-1{mine}.b.undo"]


def test_a_journal_is_for_its_owner_alone(path: Path) -> None:
    """What an undo needs may hold passwords."""
    note(path, "folder", path="/x")
    assert path.stat().st_mode & 0o777 == 0o600
