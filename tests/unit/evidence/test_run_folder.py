"""The run folder keeps every result that was appended, whatever happens to the process afterwards."""

import json
import os
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from harness.evidence.redaction import Redactor
from harness.evidence.run_folder import RunFolder, create_run_folder, file_name, read_lines, run_id, write_atomically


@dataclass(frozen=True)
class Line:
    number: int
    text: str = ""


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def new_folder(base: Path, run: str = "r1") -> RunFolder:
    return create_run_folder(base, run=run, redactor=Redactor(salt=b"x"))


def test_run_ids_are_in_utc_and_sort_by_time() -> None:
    local = datetime(2026, 1, 14, 10, 30, tzinfo=timezone(timedelta(hours=1)))
    assert run_id(local, "k3x9") == "20260114T093000Z-k3x9"
    with pytest.raises(ValueError, match="suffix"):
        run_id(datetime(2026, 1, 14, tzinfo=UTC), "../up")


def test_latest_points_to_the_run_that_was_made_so_last_and_a_run_is_never_reused(tmp_path: Path) -> None:
    new_folder(tmp_path, "r1").make_latest()
    second = new_folder(tmp_path, "r2")
    assert (tmp_path / "latest").resolve() == (tmp_path / "r1").resolve()
    second.make_latest()
    assert (tmp_path / "latest").resolve() == second.path.resolve()
    assert names(tmp_path) == ["latest", "r1", "r2"]
    with pytest.raises(FileExistsError):
        new_folder(tmp_path, "r2")


def test_a_folder_of_which_nothing_came_is_discarded_with_all_in_it(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    folder.write_text("worker-0.log", "")
    folder.discard()
    assert names(tmp_path) == []


def test_results_come_back_in_order_without_secrets(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    folder.append(Line(1, "password=s3nt1nel"))
    folder.append(Line(2))
    lines, problems = read_lines(folder.path / "results.jsonl", Line)
    assert ([line.number for line in lines], problems) == ([1, 2], ())
    assert b"s3nt1nel" not in (folder.path / "results.jsonl").read_bytes()


def test_half_a_line_of_a_killed_process_costs_neither_the_others_nor_the_next(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    results = folder.path / "results.jsonl"
    folder.append(Line(1))
    with results.open("ab") as file:
        file.write(b'{"number": 2, "te')
    folder.append(Line(3))
    lines, problems = read_lines(results, Line)
    assert (Line(1), Line(3)) == lines
    assert len(problems) == 1
    assert "results.jsonl:2: this is not JSON" in problems[0]


def test_lines_of_several_writers_never_mix(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)

    def write(first: int) -> None:
        for number in range(first, first + 10):
            folder.append(Line(number, "x" * 9000))

    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 100, 200, 300)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines, problems = read_lines(folder.path / "results.jsonl", Line)
    assert (len({line.number for line in lines}), problems) == (40, ())


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "summary.json"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["summary.json"])


def test_a_failure_has_its_own_folder_with_text_and_json(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    kept = folder.keep_failure("dcm/lc/create@after:mongo.x~2.crash", {"dcm.log": "token=abcdef", "d.json": [Line(1)]})
    assert names(kept) == ["d.json", "dcm.log"]
    assert json.loads((kept / "d.json").read_text()) == [{"number": 1, "text": ""}]
    assert "abcdef" not in (kept / "dcm.log").read_text()
    with pytest.raises(ValueError, match="plain file name"):
        folder.keep_failure("p", {"../x": ""})


def test_folder_names_are_readable_short_and_distinct() -> None:
    assert file_name("dcm/lc/create@after:mongo.x.crash").startswith("dcm_lc_create@after_mongo.x.crash-")
    assert file_name("a/b") != file_name("a_b")
    assert len(file_name("x" * 500)) < 140
    assert not file_name("../../etc").startswith(".")
