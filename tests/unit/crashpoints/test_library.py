"""What was learned, on disk and back."""

import os
from dataclasses import replace
from pathlib import Path

import bson
import pytest

from harness.crashpoints.lab import Subject
from harness.crashpoints.learn import Controls, Lesson, Seen
from harness.crashpoints.library import Library, prune
from harness.crashpoints.model import Told
from harness.stores.canonical import Mask
from harness.stores.snapshot import Snapshot, SnapshotError

from .conftest import EXISTS, OK, create, remove, snapshot

SUBJECT = Subject(create("a"), (remove("a"),))
LESSON = Lesson(
    SUBJECT, snapshot({}), OK, (Seen("x", "svc", "mongo", "mongo", "mongo write x"),), snapshot({"a": "made"})
)
CONTROLS = Controls(
    before=(snapshot({}),),
    after=(snapshot({"a": "1"}), snapshot({"a": "2"})),
    twice=snapshot({"a": "3"}),
    repeat=EXISTS,
    undone=snapshot({"tombstone": "1"}),
    undo=(Told(204),),
    redone=snapshot({"a": "4"}),
    redo=OK,
    torn=snapshot({"b": "1"}),
    effects=(LESSON.effects, ()),
    masks=(Mask("varies", "^x$", "a.b", drop=True),),
    stays=frozenset({"q is pending"}),
)


def test_a_lesson_comes_back_as_it_was(tmp_path: Path) -> None:
    Library(tmp_path).keep_lesson(3, LESSON)
    assert Library(tmp_path).lesson(3, SUBJECT) == LESSON
    assert Library(tmp_path).lesson(2, SUBJECT) is None


def test_a_lesson_of_another_call_is_none(tmp_path: Path) -> None:
    Library(tmp_path).keep_lesson(3, LESSON)
    assert Library(tmp_path).lesson(3, Subject(remove("a"))) is None


@pytest.mark.parametrize(
    "controls", [CONTROLS, replace(CONTROLS, undone=None, redone=None, redo=None, torn=None)], ids=["all", "no inverse"]
)
def test_control_states_come_back_as_they_were(tmp_path: Path, controls: Controls) -> None:
    Library(tmp_path).keep_controls("a call/of mine", controls)
    assert Library(tmp_path).controls("a call/of mine") == controls
    assert Library(tmp_path).controls("another") is None
    assert (Library(tmp_path).runs("a call/of mine"), Library(tmp_path).runs("another")) == (controls.effects, ())


def test_control_states_of_runs_in_place_come_back(tmp_path: Path) -> None:
    controls = replace(CONTROLS, there={"twice": CONTROLS.twice, "undone": CONTROLS.before[0]})
    Library(tmp_path).keep_controls("a", controls)
    assert Library(tmp_path).controls("a") == controls


def test_equal_snapshots_are_stored_once(tmp_path: Path) -> None:
    library = Library(tmp_path)
    library.keep_lesson(0, LESSON)
    library.keep_lesson(1, replace(LESSON, before=LESSON.after))
    assert len(list((tmp_path / "snapshots").iterdir())) == 2


def test_the_order_of_documents_survives(tmp_path: Path) -> None:
    """EMCO takes the first record that fits: the same records in another order are another state to begin from."""
    one, two = bson.encode({"name": "a"}), bson.encode({"name": "b"})
    first = Snapshot("fake", {"db.records": (one, two)}, {}, {})
    second = Snapshot("fake", {"db.records": (two, one)}, {}, {})
    Library(tmp_path).keep_lesson(0, replace(LESSON, before=first, after=second))
    found = Library(tmp_path).lesson(0, SUBJECT)
    assert found is not None
    assert (found.before, found.after) == (first, second)


def test_a_missing_snapshot_is_named(tmp_path: Path) -> None:
    Library(tmp_path).keep_lesson(0, LESSON)
    for path in (tmp_path / "snapshots").iterdir():
        path.unlink()
    with pytest.raises(SnapshotError, match=r"\.json is missing; remove .* and learn again"):
        Library(tmp_path).lesson(0, SUBJECT)


def aged(cache: Path, name: str, seconds: float) -> Path:
    """A library that was opened so many seconds before NOW."""
    library = Library(cache / name)
    os.utime(library.folder / "used", (NOW - seconds, NOW - seconds))
    return library.folder


NOW = 1_800_000_000.0
HOUR, DAY = 3600.0, 24 * 3600.0


def test_libraries_unused_for_long_are_removed(tmp_path: Path) -> None:
    aged(tmp_path, "old", 61 * DAY)
    aged(tmp_path, "young", 59 * DAY)
    (tmp_path / "authority").mkdir()
    assert prune(tmp_path, now=NOW) == ("old",)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["authority", "young"]
    assert prune(tmp_path / "missing", now=NOW) == ()


def test_of_many_libraries_those_used_last_are_kept(tmp_path: Path) -> None:
    for number in range(22):
        aged(tmp_path, f"lib-{number:02}", DAY + number * HOUR)
    assert prune(tmp_path, now=NOW) == ("lib-20", "lib-21")
    Library(tmp_path / "lib-19")  # used now: another one is the oldest
    os.utime(tmp_path / "lib-19" / "used", (NOW, NOW))
    aged(tmp_path, "new", 2 * HOUR)
    assert prune(tmp_path, now=NOW) == ("lib-18",)


def test_a_library_that_may_be_in_use_is_left_alone(tmp_path: Path) -> None:
    for number in range(22):
        aged(tmp_path, f"lib-{number:02}", number * 60)
    assert prune(tmp_path, now=NOW) == ()
