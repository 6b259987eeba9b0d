"""A release out of archives, as a user: taken, refused when it was changed."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.images.conftest import docker_archive, service_layer, tarred

PROGRAM = Path(sys.executable).parent / "emco-chaos"
SERVICES = {"orchestrator": "emco-orch", "clm": "emco-clm", "dcm": "emco-dcm", "rsync": "emco-rsync"}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def harness(tmp_path: Path) -> Run:
    """Runs emco-chaos with folders of its own; no container program is on PATH."""
    homes = {name: str(tmp_path / name) for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "PATH")}

    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        command = [str(PROGRAM), *map(str, arguments)]
        return subprocess.run(
            command, env={**os.environ, **homes}, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )

    return run


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    folder = tmp_path / "archives"
    folder.mkdir()
    for service, image in SERVICES.items():
        layer = tarred(service_layer(service, schemas=("json-schemas", "ref-schemas")))
        docker_archive(folder / f"{image}.tar", {f"registry.test/{image}:9.9": [layer]})
    return folder


def test_a_release_is_taken_from_archives_and_refused_once_it_was_changed(
    harness: Run, archives: Path, tmp_path: Path
) -> None:
    taken = harness("get-emco", "9.9", "--from", archives, "--services", ",".join(SERVICES))
    assert (taken.returncode, taken.stderr) == (0, "")
    assert "use it by --emco 9.9" in taken.stdout
    (program,) = tmp_path.glob("XDG_CACHE_HOME/**/clm/clm")
    program.write_bytes(b"something else")
    refused = harness("run", "--emco", "9.9")
    assert refused.returncode == 2
    assert "clm/clm was changed; take it again by `emco-chaos get-emco 9.9 --replace`" in refused.stderr


@pytest.mark.parametrize(
    "arguments,said",
    [
        (["run", "--emco", "9.8"], "EMCO 9.8 is not in the cache"),
        (["run", "--emco", "9.8", "--emco-bin", "."], "one of them is enough"),
        (["get-emco", "9.8"], "none of docker, podman, skopeo is on PATH"),
        (["get-emco", "../9.8", "--from", "."], "'../9.8' is no version of EMCO"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(harness: Run, arguments: list[str], said: str) -> None:
    refused = harness(*arguments)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
