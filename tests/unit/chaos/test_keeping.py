"""What is kept of an experiment: enough to judge it again, no secret, and never without a limit."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.chaos import current
from harness.chaos.attempts import tries
from harness.chaos.keeping import Keeper, bounded, keeper_of_test
from harness.chaos.running import run_on
from harness.chaos.stage import Stage
from harness.chaos.watching import Seen
from harness.evidence.encoding import from_plain
from harness.evidence.redaction import Redactor
from harness.evidence.run_folder import RunFolder, create_run_folder
from harness.wire.effects import Observation
from harness.wire.knocks import Knock

CONTROL = {"name": "emco", "provider": {"type": "python", "module": "harness.chaos.control"}}
EDGE = "p1+c2"
SECRET = "a-sentinel-of-the-test"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return create_run_folder(tmp_path, run="r", redactor=Redactor(salt=b"salt", known=(SECRET,)))


def step(module: str, func: str, **arguments: Any) -> dict[str, Any]:
    provider = {"type": "python", "module": f"harness.chaos.{module}", "func": func, "arguments": arguments}
    return {"type": "action", "name": func, "provider": provider}


def experiment(*method: dict[str, Any]) -> dict[str, Any]:
    return {"title": "t", "description": "d", "controls": [CONTROL], "method": list(method), "rollbacks": []}


def read(keeper: Keeper, name: str) -> Any:
    return json.loads((keeper.folder.path / keeper.place / name).read_text(encoding="utf-8"))


def test_what_was_seen_of_a_partition_can_be_judged_again_from_the_files(stage: Stage, folder: RunFolder) -> None:
    keeper = keeper_of_test(folder, "t.py::test_it")
    method = [
        step("actions", "run_workload", until="approve-dig1"),
        step("actions", "watch", group="dig1"),
        step("actions", "partition", target=EDGE, source="rsync"),
        step("actions", "call", name="instantiate-dig1"),
        step("actions", "wait_for_tries", target=EDGE, since=f"partition {EDGE}", times=4, limit=30),
    ]

    journal = run_on(stage, experiment(*method), keeper)

    history = read(keeper, "history.json")
    knocks = from_plain(history["knocks"], tuple[Knock, ...], where="history")
    assert knocks == stage.knocks(since=stage.marked("empty"))[: len(knocks)]
    broke = next(mark["at"] for mark in history["marks"] if mark["name"] == f"partition {EDGE}")
    assert len(tries([one for one in knocks if one.target == EDGE and one.at >= broke]).at) >= 4
    effects = from_plain(history["effects"], tuple[Observation, ...], where="history")
    assert effects[0] == stage.history(stage.marked("empty"))[0]
    looks = from_plain(history["looks"], dict[str, tuple[Seen, ...]], where="history")
    assert looks["dig1"][0] == stage.groups.watched("dig1")[0]
    assert history["made"][-1]["call"].endswith("instantiate-dig1")
    assert (read(keeper, "journal.json")["status"], journal["status"]) == ("completed", "completed")
    assert sorted(Path(name).name for name in keeper.files()) == ["activities.jsonl", "history.json", "journal.json"]


def test_activities_are_kept_as_they_end_and_what_was_seen_also_when_the_experiment_breaks_off(
    stage: Stage, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = keeper_of_test(folder, "t.py::test_it")

    def interrupt(name: str) -> None:
        lines = (folder.path / keeper.place / "activities.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["activity"] for line in lines] == ["remember"]
        raise KeyboardInterrupt

    method = [step("actions", "remember", name="x"), step("actions", "check_time", since="x", limit=1)]
    monkeypatch.setattr(stage, "marked", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_on(stage, experiment(*method), keeper)
    assert read(keeper, "history.json")["marks"][0]["name"] == "empty"


def test_each_experiment_of_a_test_has_a_place_of_its_own(folder: RunFolder) -> None:
    first = keeper_of_test(folder, "t.py::test_it")
    first.activity({"activity": "a"})
    second = keeper_of_test(folder, "t.py::test_it")
    assert second.place == f"{first.place}-2"
    assert keeper_of_test(folder, "t.py::test_another").place not in (first.place, second.place)


def test_no_secret_is_kept_and_nothing_without_a_limit(folder: RunFolder) -> None:
    keeper = Keeper(folder)
    keeper.activity({"output": [f"it says {SECRET}", "x" * 10_000], "arguments": {"data_key": "0123456789"}})
    keeper.journal({"run": [{"output": {"password": "hidden"}}], "said": SECRET})
    kept = "".join(keeper.files().values())
    assert SECRET not in kept
    assert "0123456789" not in kept
    assert "hidden" not in kept
    assert "... and 6000 more characters" in kept


def test_a_long_list_keeps_what_came_last_and_says_what_it_left_out() -> None:
    assert bounded({"a": list(range(5_003))})["a"][:2] == [{"left_out": 3}, 3]
    assert bounded(["x", 1, None, True]) == ["x", 1, None, True]


def test_without_a_keeper_nothing_is_kept(stage: Stage, tmp_path: Path) -> None:
    run_on(stage, experiment(step("actions", "mark", name="here")))
    current.keep({"activity": "none"})
    assert list(tmp_path.iterdir()) == []
