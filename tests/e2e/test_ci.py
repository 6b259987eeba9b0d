""".ci/run with stand-ins for everything that it calls: what it passes, what it fails, what it says."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "run"
MAKE = """#!/bin/sh
case "$1" in
    kind-smoke) echo "smoke ran"; [ "$READY" ] && touch "$EMCO_CHAOS_KIND_READY"; exit "$SMOKE" ;;
    test) echo "== 9 passed in 9 s =="; exit "$TESTS" ;;
esac
"""
TIMED_OUT = 124


class Ci:
    """A tree of its own with the script in it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.programs = root / "bin"
        for folder in (root / ".ci", root / ".venv" / "bin", self.programs):
            folder.mkdir(parents=True)
        (root / ".ci" / "run").write_bytes(SCRIPT.read_bytes())
        self._put(self.programs / "make", MAKE)
        for program in ("docker", "kind"):
            self._put(self.programs / program, "#!/bin/sh\n")
        self._put(root / ".venv" / "bin" / "python", "#!/bin/sh\necho python:3.11-slim\n")
        self._put(root / ".venv" / "bin" / "emco-chaos", f"#!/bin/sh\necho $* >> {root / 'asked'}\n")

    def _put(self, path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def __call__(self, *, smoke: int = 0, tests: int = 0, ready: bool = True) -> "subprocess.CompletedProcess[str]":
        values = {"SMOKE": str(smoke), "TESTS": str(tests), "READY": "1" if ready else ""}
        path = f"{self.programs}{os.pathsep}/usr/bin{os.pathsep}/bin"
        return subprocess.run(
            ["/bin/bash", str(self._root / ".ci" / "run")],
            env={**values, "PATH": path, "EMCO_CHAOS_NODE_IMAGE": "node", "TMPDIR": str(self._root)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def asked(self) -> list[str]:
        """What the harness was asked to do."""
        path = self._root / "asked"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def ci(tmp_path: Path) -> Ci:
    return Ci(tmp_path)


def test_both_pass_and_the_closing_line_of_the_tests_comes_last(ci: Ci) -> None:
    ended = ci()
    assert (ended.returncode, ended.stderr, ci.asked()) == (0, "", [])
    assert ended.stdout.splitlines()[-2:] == ["smoke ran", "== 9 passed in 9 s =="]


@pytest.mark.parametrize("smoke, tests", [(2, 0), (0, 2), (2, 2)])
def test_a_failure_of_either_fails(ci: Ci, smoke: int, tests: int) -> None:
    ended = ci(smoke=smoke, tests=tests)
    assert ended.returncode == 2
    assert ("make kind-smoke FAILED" in ended.stderr) is (smoke != 0)
    assert ended.stdout.splitlines()[-1] == "== 9 passed in 9 s =="


def test_a_smoke_that_hangs_on_a_hub_that_was_ready_fails_and_leaves_nothing(ci: Ci) -> None:
    ended = ci(smoke=TIMED_OUT)
    assert ended.returncode == TIMED_OUT
    assert "left unfinished although its hub was ready: that is a failure" in ended.stderr
    assert ci.asked() == ["down --cluster emco-chaos-test", "rollback"]


def test_a_machine_on_which_the_hub_is_never_ready_fails_nothing_and_that_is_said(ci: Ci) -> None:
    ended = ci(smoke=TIMED_OUT, ready=False)
    assert ended.returncode == 0
    assert "its hub was never ready, this machine is too slow for it" in ended.stderr
    assert ci.asked() == ["down --cluster emco-chaos-test", "rollback"]


def test_a_hub_that_was_never_ready_hides_no_failing_test(ci: Ci) -> None:
    assert ci(smoke=TIMED_OUT, tests=2, ready=False).returncode == 2


@pytest.mark.parametrize("tests", [0, 2])
def test_without_docker_the_smoke_is_left_out_and_that_is_said(ci: Ci, tests: int) -> None:
    (ci.programs / "docker").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    ended = ci(smoke=2, tests=tests)
    assert ended.returncode == tests
    assert "(EMCO in pods) was left out: the container daemon does not answer" in ended.stderr
    assert ended.stdout.splitlines() == ["== 9 passed in 9 s =="]
