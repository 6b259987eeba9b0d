"""What is installed: everything that is needed is in a wheel, and Chaos Toolkit finds the extension."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness.chaos import actions, backup_actions, cluster_actions, edge_actions, probes, store_actions

ROOT = Path(__file__).parents[2]
PACKAGES = ("chaosemco", "fixtures", "harness", "reference")


def run(*command: str | Path, cwd: Path, path: Path | None = None) -> str:
    """Output of a command; path: a folder whose packages are taken first."""
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def discover(cwd: Path, path: Path | None = None) -> set[tuple[str, str]]:
    """Kind and full name of each activity that `chaos discover` finds."""
    chaos = Path(sys.executable).with_name("chaos")
    run(chaos, "--no-version-check", "discover", "--no-install", "--no-system-info", "emco-chaos", cwd=cwd, path=path)
    found = json.loads((cwd / "discovery.json").read_text(encoding="utf-8"))
    return {(one["type"], f"{one['mod']}.{one['name']}") for one in found["activities"]}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "reports"):
        ignore = shutil.ignore_patterns("__pycache__", "out")
        shutil.copytree(ROOT / name, folder / "source" / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source" / name)
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, folder / "source", cwd=folder)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as packed:
        packed.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_a_wheel_has_every_file_of_its_packages_and_no_other_package(wheel: Path) -> None:
    sources = {
        path.relative_to(ROOT)
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {path.relative_to(wheel) for path in wheel.rglob("*") if path.is_file()}
    assert {path for path in packed if not path.parts[0].endswith(".dist-info")} == sources


def test_reports_are_made_from_the_files_in_a_wheel(wheel: Path, tmp_path: Path) -> None:
    code = (
        "from harness.reporting import templates; "
        "print(templates.environment().loader.get_source(None, 'signoff.html.j2')[1])"
    )
    file = Path(run(sys.executable, "-c", code, cwd=tmp_path, path=wheel).strip())
    assert file == wheel / "harness" / "reporting" / "files" / "signoff.html.j2"
    assert not file.is_symlink()


def test_chaos_toolkit_discovers_actions_and_probes_as_what_they_are(wheel: Path, tmp_path: Path) -> None:
    modules = (actions, backup_actions, cluster_actions, edge_actions, store_actions)
    expected = {("action", f"{module.__name__}.{name}") for module in modules for name in module.__all__}
    expected |= {("probe", f"harness.chaos.probes.{name}") for name in probes.__all__}

    assert discover(tmp_path) == expected  # as it is installed here, editable
    assert discover(tmp_path, wheel) == expected
