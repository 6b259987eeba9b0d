"""The file system of an image, from its layers."""

import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.platforms.images.archive import opened
from harness.platforms.images.contents import take
from harness.platforms.images.tree import File, ImageError, Tree
from tests.unit.images.conftest import STATIC, docker_archive, entry, service_layer, tarred

FOLDER, LINK, HARD = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def tree(*layers: list[tarfile.TarInfo]) -> Tree:
    made = Tree()
    for layer in layers:
        made.add(layer)
    return made


def where(found: File | None) -> tuple[int, int] | None:
    return None if found is None else (found.layer, found.member)


def test_a_later_layer_replaces_a_file() -> None:
    assert where(tree([entry("a/b")], [entry("a/b")]).file("a/b")) == (1, 0)


def test_a_whiteout_hides_what_is_below_it_and_nothing_else() -> None:
    made = tree([entry("a/b/c"), entry("a/d")], [entry("a/.wh.b")])
    assert (where(made.file("a/b/c")), where(made.file("a/d"))) == (None, (0, 1))


def test_an_opaque_folder_hides_all_below_it_but_not_its_own_layer() -> None:
    made = tree([entry("a/old")], [entry("a/new"), entry("a/.wh..wh..opq")])
    assert (where(made.file("a/old")), where(made.file("a/new"))) == (None, (1, 0))


def test_a_whiteout_is_no_file() -> None:
    assert list(tree([entry("a/b")], [entry("a/.wh.b")]).files("a")) == []


def test_a_folder_over_a_folder_keeps_what_is_in_it_and_over_a_link_replaces_it() -> None:
    made = tree([entry("a/b"), entry("l", kind=LINK, link="a")], [entry("a", kind=FOLDER), entry("l", kind=FOLDER)])
    assert (where(made.file("a/b")), where(made.file("l/b"))) == ((0, 0), None)


@pytest.mark.parametrize("target", ["b", "/a/b", "./x/../b", "../../../../a/b"])
def test_links_are_followed_inside_the_image_whose_root_is_the_top(target: str) -> None:
    layer = [entry("a/b"), entry("a/x", kind=FOLDER), entry("a/l", kind=LINK, link=target)]
    assert where(tree(layer).file("a/l")) == (0, 0)


def test_a_link_in_a_circle_leads_nowhere() -> None:
    made = tree([entry("a", kind=LINK, link="b"), entry("b", kind=LINK, link="a")])
    assert made.file("a") is None
    assert made.file("a/x") is None


def test_an_entry_below_a_linked_folder_lands_in_the_folder_it_leads_to() -> None:
    made = tree([entry("usr/lib", kind=FOLDER), entry("lib", kind=LINK, link="usr/lib")], [entry("lib/x")])
    assert where(made.file("usr/lib/x")) == (1, 0)


def test_a_hard_link_is_the_file_that_it_names() -> None:
    assert where(tree([entry("a/b")], [entry("c", kind=HARD, link="a/b")]).file("c")) == (0, 0)


@pytest.mark.parametrize("target", ["../../etc/passwd", "nothing", "folder"])
def test_a_hard_link_to_no_file_of_the_image_is_refused(target: str) -> None:
    with pytest.raises(ImageError):
        tree([entry("folder", kind=FOLDER), entry("c", kind=HARD, link=target)])


@pytest.mark.parametrize("name", ["../x", "a/../../x", "a/.."])
def test_a_name_that_leads_out_is_refused(name: str) -> None:
    with pytest.raises(ImageError, match="leads out of it"):
        tree([entry(name)])


def test_devices_are_no_files() -> None:
    made = tree([entry("a")], [entry("a", kind=tarfile.CHRTYPE)])
    assert made.file("a") is None


names = st.lists(
    st.sampled_from(["opt", "emco", "clm", "json-schemas", "lib", "..", ".", "", ".wh.clm", "etc"]), max_size=6
)
paths = st.tuples(st.sampled_from(["", "/", "opt/emco/clm/", "../"]), names).map(lambda one: one[0] + "/".join(one[1]))
entries = st.builds(
    entry,
    paths,
    kind=st.sampled_from([tarfile.REGTYPE, FOLDER, LINK, HARD, tarfile.CHRTYPE, tarfile.FIFOTYPE]),
    link=paths,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(entries, max_size=6), max_size=4))
def test_whatever_layers_hold_nothing_is_written_but_plain_files_in_the_folder(
    tmp_path_factory: pytest.TempPathFactory, layers: list[list[tarfile.TarInfo]]
) -> None:
    around = tmp_path_factory.mktemp("around")
    folder = around / "folder"
    folder.mkdir()
    contents = [tarred(service_layer("clm")), *map(tarred, layers)]
    path = docker_archive(around / "image.tar", {"emco-clm:1": contents})
    try:
        with opened(path) as archive:
            take(archive, archive.images()[0], "clm", folder)
    except ImageError:
        pass
    assert {one.name for one in around.iterdir()} == {"folder", "image.tar"}
    for one in folder.rglob("*"):
        assert not one.is_symlink()
        assert one.is_file() or one.is_dir()
    program = folder / "clm"
    assert not program.exists() or program.read_bytes() in (STATIC, b"")


def test_the_property_above_finds_a_program_where_nothing_is_done_to_it(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "image.tar", {"emco-clm:1": [tarred(service_layer("clm"))]})
    (tmp_path / "folder").mkdir()
    with opened(path) as archive:
        take(archive, archive.images()[0], "clm", tmp_path / "folder")
    assert (tmp_path / "folder" / "clm").read_bytes() == STATIC
