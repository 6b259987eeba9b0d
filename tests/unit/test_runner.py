"""A worker that is taken down: what goes wrong then is told, and hides nothing that went wrong before."""

import asyncio
import json
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness import runner
from harness.platforms.settings import KindSettings, Settings
from harness.runner import WorkerTrouble, workers

READY = '{"event": "ready", "environment": "e"}'
USAGE, KEPT = '{"event": "trouble", "kind": "usage", "text": "no such file"}', "the stores could not be put back"
AT_END = f'{{"event": "trouble", "kind": "harness", "text": "{KEPT}"}}'


def program(folder: Path, *says: str, at_end: tuple[str, ...] = (), code: int = 0) -> str:
    """In Python's place: a worker that says this, takes its orders, and says that at the end of its input."""
    path = folder / "python"
    lines = [*(f"echo '{text}'" for text in says), "cat > /dev/null", *(f"echo '{text}'" for text in at_end)]
    path.write_text("\n".join(("#!/bin/sh", *lines, f"exit {code}", "")), encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "w.yaml").touch()
    return Settings(tmp_path / "w.yaml")


def used(settings: Settings, folder: Path, *, count: int = 1, fails: Exception | None = None) -> None:
    async def use() -> None:
        async with workers(settings, count, folder):
            if fails is not None:
                raise fails

    asyncio.run(use())


def test_a_worker_that_takes_all_down_says_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path, READY))
    used(settings, tmp_path)


def test_each_worker_on_kind_is_told_of_clusters_of_its_own(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(program(tmp_path, READY))
    keeps = path.read_text(encoding="utf-8").replace("cat >", f"cat > {tmp_path}/told-$3; cat >")
    path.write_text(keeps, encoding="utf-8")
    monkeypatch.setattr(sys, "executable", str(path))
    kind = replace(settings, platform="kind", kind=KindSettings("x"), workers=2)
    used(kind, tmp_path, count=2)
    told = [json.loads((tmp_path / f"told-w{number}").read_text(encoding="utf-8")) for number in range(2)]
    assert [(one["kind"]["name"], one["workers"]) for one in told] == [("x-w0", 1), ("x-w1", 1)]


def test_what_goes_wrong_while_a_worker_takes_its_environment_down_is_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path, READY, at_end=(AT_END,)))
    with pytest.raises(WorkerTrouble, match=f"^{KEPT}$") as told:
        used(settings, tmp_path)
    assert told.value.kind == "harness"


def test_trouble_before_stands_before_that_of_the_end(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path, READY, at_end=(AT_END,)))
    with pytest.raises(WorkerTrouble, match=f"^no relay; {KEPT}$"):
        used(settings, tmp_path, fails=WorkerTrouble("harness", "no relay"))


def test_what_the_user_has_to_mend_stays_his_also_when_two_workers_say_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path, USAGE))
    with pytest.raises(WorkerTrouble, match=r"^no such file$") as told:
        used(settings, tmp_path, count=2)
    assert told.value.kind == "usage"


def test_a_worker_that_dies_at_the_end_is_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path, READY, code=1))
    with pytest.raises(WorkerTrouble, match=r"^a worker ended \(exit 1\)"):
        used(settings, tmp_path)


def test_a_worker_that_does_not_end_in_time_is_killed_and_leads_to_rollback(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_CLOSE_LIMITS", {"process": 0.1})
    path = Path(program(tmp_path, READY))
    path.write_text(path.read_text(encoding="utf-8").replace("cat > /dev/null", "exec sleep 60"), encoding="utf-8")
    monkeypatch.setattr(sys, "executable", str(path))
    with pytest.raises(WorkerTrouble, match=r"within 0\.1 s, and was killed; `emco-chaos rollback`"):
        used(settings, tmp_path)
