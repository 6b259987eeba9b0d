"""Snapshots on disk."""

from pathlib import Path

import bson
import pytest

from harness.stores.snapshot import Snapshot, SnapshotError, read_snapshot, write_snapshot

SNAPSHOT = Snapshot(
    "process/namespace",
    {"emco.resources": (bson.encode({"_id": 2}), bson.encode({"_id": 1}))},
    {b"/k\xff": b"\0"},
    {"p1+c1": ({"kind": "Pod", "n": 1}, {"kind": "Pod", "n": 0})},
)


def test_what_is_written_is_read_in_the_same_order(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "s.json", SNAPSHOT)
    assert read_snapshot(tmp_path / "s.json") == SNAPSHOT
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]


def test_documents_are_decoded(tmp_path: Path) -> None:
    assert SNAPSHOT.documents("emco.resources") == [{"_id": 2}, {"_id": 1}]
    assert SNAPSHOT.documents("emco.nothing") == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 1}', '{"format": 1, "environment": "e", "mongo": 3}']
)
def test_a_file_that_is_no_snapshot_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(SnapshotError, match=r"s\.json: no readable snapshot"):
        read_snapshot(tmp_path / "s.json")


def test_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"format": 7}')
    with pytest.raises(SnapshotError, match=r"snapshot format 7, this version reads 1; learn again"):
        read_snapshot(tmp_path / "s.json")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match=r"gone\.json: no readable snapshot"):
        read_snapshot(tmp_path / "gone.json")
