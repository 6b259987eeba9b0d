"""`chaos run` as a person calls it: no pytest, no EMCO given; everything comes up, and nothing stays."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHAOS = Path(sys.executable).with_name("chaos")
EXPERIMENT = ROOT / "scenarios" / "cluster_partition" / "experiment.yaml"
LEAKING = ROOT / "scenarios" / "crash_mid_call" / "experiment.yaml"
"""A crash after which, with EMCO's defects, the contexts of the first try are left."""


@pytest.fixture
def home(tmp_path: Path, homes: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, folder in homes.items():
        monkeypatch.setenv(name, str(folder))
    return tmp_path


def chaos(*arguments: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = [CHAOS, "--no-version-check", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100, check=False)


def changed(home: Path, story: Path = EXPERIMENT, **configuration: Any) -> Path:
    experiment = yaml.safe_load(story.read_text(encoding="utf-8"))
    experiment["configuration"] |= configuration
    file = home / "experiment.yaml"
    file.write_text(yaml.safe_dump(experiment), encoding="utf-8")
    return file


def undo_files(homes: Mapping[str, Path]) -> list[Path]:
    return list((homes["XDG_STATE_HOME"] / "emco-chaos" / "undo").glob("*"))


def test_an_experiment_is_valid(home: Path) -> None:
    assert chaos("validate", EXPERIMENT, cwd=home).returncode == 0


def test_it_runs_leaves_evidence_and_nothing_else(home: Path, homes: dict[str, Path]) -> None:
    done = chaos("run", EXPERIMENT, cwd=home)

    assert done.returncode == 0, done.stderr
    journal = json.loads((home / "journal.json").read_text(encoding="utf-8"))
    assert (journal["status"], journal["problems"]) == ("completed", [])
    (folder,) = (home / "reports" / "out").iterdir()
    lines = (folder / "activities.jsonl").read_text(encoding="utf-8").splitlines()
    kept = [json.loads(line) for line in lines]
    assert kept[0]["on"].endswith("on the reference EMCO (faithful)")
    assert "the edge is back" in [line.get("activity") for line in kept]
    assert kept[-1]["status"] == "completed"
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    assert len([knock for knock in history["knocks"] if knock["target"] == "p1+c2"]) >= 3
    assert history["made"][-1]["call"].endswith("instantiate-dig1")
    assert undo_files(homes) == []


def test_what_fails_is_told_by_the_exit_code(home: Path) -> None:
    done = chaos("run", changed(home, target="p9+c9"), cwd=home)

    assert done.returncode == 1
    journal = json.loads((home / "journal.json").read_text(encoding="utf-8"))
    assert "no link goes from 'rsync' to 'p9+c9'" in journal["problems"][0]


@pytest.mark.parametrize("accepted, code", [([], 1), (["I8-idle"], 1), (["I4-inert"], 0)])
def test_what_stores_and_edges_disagree_on_afterwards_fails_unless_it_is_accepted(
    home: Path, accepted: list[str], code: int
) -> None:
    done = chaos("run", changed(home, LEAKING, accepted=accepted), cwd=home)

    journal = json.loads((home / "journal.json").read_text(encoding="utf-8"))
    assert journal["agreement"]["broken"] == ["I4-inert"]
    assert done.returncode == code
    assert ["stores and edges do not agree" in problem for problem in journal["problems"]] == [True] * code
    said = (done.stdout + done.stderr).splitlines()
    assert "on the reference EMCO (faithful); what is seen is kept in" in "".join(said)
    assert [
        line for line in said[-4:] if "stores and edges do not agree afterwards: I4-inert" in line
    ] != [] or not code
    assert said[-1].endswith("this run was on the reference EMCO: it can never be a sign-off")


def test_an_invariant_that_is_accepted_has_to_be_one(home: Path) -> None:
    done = chaos("run", changed(home, accepted=["I99"]), cwd=home)

    assert done.returncode == 1
    assert "accepted: no invariant is named I99; there are I1-data," in done.stdout + done.stderr
    assert not (home / "reports").exists()


def test_wrong_settings_are_refused_before_anything_starts(home: Path, homes: dict[str, Path]) -> None:
    done = chaos("run", changed(home, emco_bin="/nowhere"), cwd=home)

    assert done.returncode == 1
    assert "there is no EMCO to experiment with: --emco-bin /nowhere" in done.stdout + done.stderr
    assert not (home / "reports").exists()
    assert undo_files(homes) == []


def test_a_misspelled_setting_is_refused_before_anything_starts(home: Path) -> None:
    done = chaos("run", changed(home, EXPERIMENT, **{"emco-bin": "/nowhere"}), cwd=home)

    assert done.returncode == 1
    assert "has 'emco-bin', which nothing in it reads: is 'emco_bin' meant?" in done.stdout + done.stderr
    assert "needs the control" not in done.stdout + done.stderr
    assert not (home / "reports").exists()


def test_sigterm_undoes_everything(home: Path, homes: dict[str, Path]) -> None:
    command: list[str | Path] = [CHAOS, "--no-version-check", "run", changed(home, tries=1000)]
    with subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "rsync tries again" in line:
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
        process.wait(60)

    assert "whatever is broken or down" in rest
    assert json.loads((home / "journal.json").read_text(encoding="utf-8"))["status"] == "interrupted"
    assert undo_files(homes) == []


def test_after_sigkill_rollback_removes_what_is_left(home: Path, homes: dict[str, Path]) -> None:
    command: list[str | Path] = [CHAOS, "--no-version-check", "run", changed(home, tries=1000)]
    with subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "rsync tries again" in line:
                break
        process.kill()
        process.wait(10)
    assert undo_files(homes)

    undone = subprocess.run(
        [sys.executable, "-m", "harness.cli", "rollback"], capture_output=True, text=True, timeout=60, check=False
    )

    assert undone.returncode == 0, undone.stderr
    assert undo_files(homes) == []
