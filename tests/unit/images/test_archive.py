"""Image archives, read without a container daemon."""

import contextlib
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.platforms.images.archive import Image, opened
from harness.platforms.images.elf import Elf, ElfError, read_elf
from harness.platforms.images.tree import ImageError
from tests.unit.images.conftest import STATIC, docker_archive, dynamic, oci_archive, service_layer, sha256, tarred

LAYERS = [tarred(service_layer("clm")), tarred([("opt/emco/clm/clm", b"newer")])]


def only(path: Path) -> Image:
    with opened(path) as archive:
        (image,) = archive.images()
    return image


def content(path: Path, file: str, to: Path) -> bytes:
    with opened(path) as archive:
        (image,) = archive.images()
        found = archive.tree(image).file(file)
        assert found is not None
        archive.extract(image, [(found, to / "x")])
    return (to / "x").read_bytes()


def test_dockers_form_is_read(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "a.tar", {"r/emco-clm:22.09": LAYERS})
    assert only(path).names == ("r/emco-clm:22.09",)
    assert content(path, "/opt/emco/clm/clm", tmp_path) == b"newer"


def test_ocis_form_is_read_with_compressed_layers_for_this_machine(tmp_path: Path) -> None:
    path = oci_archive(tmp_path / "a.tar", LAYERS, {"org.opencontainers.image.ref.name": "22.09"})
    assert only(path).names == ("22.09",)
    assert content(path, "/opt/emco/clm/clm", tmp_path) == b"newer"


def test_a_compressed_archive_is_read(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "a.tar", {"emco-clm:1": LAYERS})
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert content(path, "/opt/emco/clm/clm", tmp_path) == b"newer"


def test_the_id_of_an_image_is_the_digest_of_its_configuration(tmp_path: Path) -> None:
    config = json.dumps({"rootfs": {"diff_ids": [f"sha256:{sha256(layer)}" for layer in LAYERS]}}).encode()
    assert only(docker_archive(tmp_path / "a.tar", {"a:1": LAYERS})).digest == f"sha256:{sha256(config)}"


def test_a_changed_layer_is_refused(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "a.tar", {"emco-clm:1": LAYERS})
    path.write_bytes(path.read_bytes().replace(b"newer", b"other"))
    with pytest.raises(ImageError, match="is not what its digest says"), opened(path) as archive:
        archive.tree(archive.images()[0])


def test_an_image_for_another_machine_is_refused(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "a.tar", {"emco-clm:1": LAYERS}, config={"architecture": "s390x"})
    with pytest.raises(ImageError, match="is for linux/s390x, this machine is linux/"), opened(path) as archive:
        archive.tree(archive.images()[0])


@pytest.mark.parametrize(
    "data",
    [b"", b"no tar at all", gzip.compress(b"x", mtime=0)[:-3], tarred([("x", b"y")])],
    ids=["empty", "text", "cut off", "other files"],
)
def test_what_is_no_archive_of_images_is_said_with_its_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"a\.tar"), opened(path) as archive:
        archive.images()


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damage_is_an_image_error_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    path = docker_archive(folder / "a.tar", {"emco-clm:1": LAYERS})
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    said = []
    try:
        with opened(path) as archive:
            for image in archive.images():
                archive.tree(image)
    except ImageError as error:
        said.append(str(error))
    assert all("a.tar" in text for text in said)


def test_a_static_program_needs_nothing() -> None:
    assert read_elf(STATIC) == Elf("", (), ())


def test_loader_libraries_and_their_places_are_read() -> None:
    data = dynamic("/lib64/ld.so", ["liba.so.1", "libb.so"], runpath="/x:$ORIGIN/y")
    assert read_elf(data) == Elf("/lib64/ld.so", ("liba.so.1", "libb.so"), ("/x", "$ORIGIN/y"))


@given(st.binary(max_size=300), st.booleans())
def test_nonsense_is_an_elf_error_and_nothing_else(data: bytes, headed: bool) -> None:
    with contextlib.suppress(ElfError):
        read_elf(STATIC[:6] + data if headed else data)


@given(st.data())
def test_a_damaged_program_is_an_elf_error_and_nothing_else(data: st.DataObject) -> None:
    whole = bytearray(dynamic("/lib64/ld.so", ["liba.so.1"], runpath="/x"))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ElfError):
        read_elf(bytes(whole))
