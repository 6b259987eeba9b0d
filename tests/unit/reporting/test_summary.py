from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.evidence.encoding import MalformedError, redacted
from harness.evidence.run_folder import RunFolder, create_run_folder
from harness.reporting.summary import read_summary, write_summary

if TYPE_CHECKING:
    from harness.evidence.redaction import Redactor
    from tests.unit.reporting.conftest import Make


@pytest.fixture
def folder(tmp_path: Path, redactor: Redactor) -> RunFolder:
    return create_run_folder(tmp_path, run="r1", redactor=redactor)


def test_there_and_back_but_for_the_secrets(make: Make, folder: RunFolder) -> None:
    path = write_summary(folder, make.usual())
    expected = redacted(make.usual(), folder.redactor)
    assert expected == read_summary(path)
    assert expected == read_summary(folder.path)
    assert "s3nt1nel" not in path.read_text()


def test_the_file_says_what_people_look_for(make: Make, folder: RunFolder) -> None:
    document = json.loads(write_summary(folder, make.usual()).read_text())
    assert document["schema"] == 2
    assert document["counts"]["by_outcome"]["stuck"] == 1
    assert document["counts"]["by_grade"]["pass"] == 2
    assert document["not_tested"] == ["orchestrator POST /v2/unknown"]
    assert document["performance"] == {"points_per_minute": 97.0}
    assert [call["worst"] for call in document["calls"]] == ["stuck", "needs-repair"]
    first = document["findings"][0]
    assert (first["id"], first["grade"]) == ("dcm/create@after:mongo.state.crash", "blocker")
    assert first["replay"] == "emco-chaos replay 'dcm/create@after:mongo.state.crash'"
    assert first["difference"][0]["where"].startswith("mongo emco.resources")
    result = document["results"][1]
    assert (result["id"], result["grade"], result["proof"]["injections"]) == (first["id"], "blocker", 1)


def test_a_run_of_schema_1_which_had_no_claims_is_still_read(make: Make, folder: RunFolder) -> None:
    path = write_summary(folder, make.usual())
    old = json.loads(path.read_text()) | {"schema": 1}
    del old["claims"]
    path.write_text(json.dumps(old))
    assert read_summary(path) == redacted(make.usual(schema=1), folder.redactor)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"schema": 3}, "this is schema 3, but only 1 and 2 are understood"),
        ({"extra": 1}, r"unknown key `extra` at \$"),
        ({"seed": "seven"}, r"Expected `int`, got `str` - at `\$\.seed`"),
        ({"status": "great"}, r"Invalid enum value 'great' - at `\$\.status`"),
        ({"results": [{"id": "x", "oops": 1}]}, r"unknown key `oops` at \$\.results\[0\]"),
    ],
)
def test_a_summary_that_is_not_one_is_refused(
    make: Make, folder: RunFolder, changes: dict[str, Any], message: str
) -> None:
    path = write_summary(folder, make.usual())
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(MalformedError, match=message):
        read_summary(path)


@pytest.mark.parametrize(
    "text, message", [("[]", "a summary is a JSON object"), ("{", "not JSON"), (None, "no summary")]
)
def test_a_file_that_is_no_summary_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "summary.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(MalformedError, match=message):
        read_summary(tmp_path)


def test_an_interrupted_run_with_nothing_in_it_can_be_written_and_read(make: Make, folder: RunFolder) -> None:
    summary = make.summary(status="interrupted", trouble="Ctrl-C", settings={})
    assert summary == read_summary(write_summary(folder, summary))
