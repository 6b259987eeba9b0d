"""What the tests of whole sessions share: one cache, so that the workload is learned once."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCENARIO = ROOT / "scenarios" / "crash_mid_call"

Run = Callable[..., pytest.RunResult]


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders for cache and state of all sessions."""
    return {name: tmp_path_factory.mktemp(name) for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME")}


@pytest.fixture
def sessions(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, homes: dict[str, Path]) -> Run:
    """Runs pytest in a process of its own, with the shared cache."""
    for name, folder in homes.items():
        monkeypatch.setenv(name, str(folder))
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str | Path, timeout: float = 150) -> pytest.RunResult:
        return pytester.run(sys.executable, "-m", "pytest", *arguments, timeout=timeout)

    return run


@pytest.fixture
def scenario(sessions: Run, tmp_path: Path) -> Run:
    """Runs the scenario of this repository; the run's folder is made below tmp_path/out."""

    def run(*arguments: str | Path) -> pytest.RunResult:
        return sessions("-c", ROOT / "pytest.ini", "--emco-out", tmp_path / "out", SCENARIO, *arguments)

    return run
