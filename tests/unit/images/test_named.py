"""The images of services as a cluster runs them, found before anything is made."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.faults.victim import UsageError
from harness.platforms.images.named import ServiceImage, service_images
from tests.unit.images.conftest import oci_archive, service_layer, tarred


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A docker on PATH that does as the script says; the file holds what it was asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/bin{os.pathsep}/usr/bin")

    def make(script: str) -> Path:
        asked = tmp_path / "asked"
        (folder / "docker").write_text(f'#!/bin/sh\necho "$@" >> {asked}\n{script}\n')
        (folder / "docker").chmod(0o755)
        return asked

    return make


def test_an_image_that_is_here_is_not_pulled(docker: Callable[[str], Path]) -> None:
    asked = docker("echo sha256:1")
    found = service_images("r/e", "22.09", ["clm"])
    assert found == {"clm": ServiceImage("r/e/emco-clm:22.09", "sha256:1")}
    assert "pull" not in asked.read_text()


def test_an_image_that_is_not_here_is_pulled_from_where_emco_publishes_it(docker: Callable[[str], Path]) -> None:
    asked = docker('if [ "$1" = image ] && ! grep -q pull $0.pulled; then exit 1; fi\necho "$1" >> $0.pulled')
    service_images("", "22.09", ["rsync"])
    name = "registry.gitlab.com/project-emco/core/emco-base/emco-rsync:22.09"
    assert f"pull --quiet {name}" in asked.read_text()


def test_an_image_that_cannot_be_had_is_named_with_the_reason(docker: Callable[[str], Path]) -> None:
    docker("echo no such host >&2; exit 1")
    sentence = (
        r"image r/e/emco-clm:22\.09 is not here and cannot be had; --emco-images names another place: no such host"
    )
    with pytest.raises(UsageError, match=sentence):
        service_images("r/e", "22.09", ["clm"])


def test_archives_are_taken_with_the_names_that_they_give(archives: Callable[..., Path]) -> None:
    folder = archives("clm", "rsync")
    found = service_images(str(folder), "22.09", ["clm", "rsync"])
    assert (found["clm"].name, found["clm"].archive) == ("some.where/else/emco-clm:22.09", folder / "emco-clm.tar")
    assert found["clm"].digest.startswith("sha256:")


def test_an_archive_whose_image_no_pod_could_name_is_refused(tmp_path: Path) -> None:
    layers = [tarred(service_layer("clm"))]
    path = oci_archive(tmp_path / "emco-clm.tar", layers, {"org.opencontainers.image.ref.name": "22.09"})
    with pytest.raises(UsageError, match="has no name with a tag, by which a pod could name it"):
        service_images(str(path), "22.09", ["clm"])


@pytest.mark.parametrize("place", ["/no/where", "./no/where", "~/no/where"])
def test_archives_that_are_not_there_are_no_repository(place: str) -> None:
    with pytest.raises(UsageError, match="there is no such file or folder"):
        service_images(place, "22.09", ["clm"])
