"""A release out of its images into the cache, and what is refused of the cache."""

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.images import get
from harness.platforms.images.cache import Cache, Manifest
from harness.platforms.images.sources import Archives, Daemon, Skopeo, choose, is_meant
from harness.platforms.process.programs import find_binaries
from tests.unit.images.conftest import STATIC, docker_archive, dynamic, service_layer, tarred

SERVICES = ("orchestrator", "clm", "rsync")
Get = Callable[..., tuple[Path, Manifest]]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def fetch(cache: Cache) -> Get:
    def run(
        place: Path, services: Sequence[str] = SERVICES, version: str = "22.09", *, replace: bool = False
    ) -> tuple[Path, Manifest]:
        source = Archives(place)
        return asyncio.run(
            get.get_emco(version, services, source, cache, repository="r/e", replace=replace, tell=lambda _: None)
        )

    return run


def image(tmp_path: Path, *layers: bytes, environment: Sequence[str] = (), entrypoint: Sequence[str] = ()) -> Path:
    config = {"config": {"Env": list(environment), "Entrypoint": list(entrypoint)}}
    return docker_archive(tmp_path / "one.tar", {"emco-clm:22.09": layers}, config=config)


def left_over(cache: Cache) -> set[str]:
    return {path.name for path in cache.place("22.09").parent.iterdir()} - {".lock", "22.09"}


def test_what_is_taken_is_a_folder_of_binaries_with_a_manifest(archives: Callable[..., Path], fetch: Get) -> None:
    place, manifest = fetch(archives(*SERVICES))
    found = find_binaries(place, SERVICES)
    assert found["clm"].argv == (str(place / "clm" / "clm"),)
    assert set(manifest.files) == {
        "clm/clm",
        "clm/json-schemas/a.json",
        "orchestrator/orchestrator",
        "orchestrator/json-schemas/a.json",
        "orchestrator/ref-schemas/a.json",
        "rsync/rsync",
    }
    assert manifest.services["orchestrator"].image == "some.where/else/emco-orch:22.09"


def test_what_is_there_whole_is_left(archives: Callable[..., Path], fetch: Get, tmp_path: Path) -> None:
    first = fetch(archives(*SERVICES))
    assert fetch(tmp_path / "nowhere") == first


def test_a_service_that_is_not_there_yet_asks_for_replace(archives: Callable[..., Path], fetch: Get) -> None:
    fetch(archives("clm"), ["clm"])
    with pytest.raises(UsageError, match="without rsync, with clm; take all again by --replace"):
        fetch(archives("rsync"), ["clm", "rsync"])
    _, manifest = fetch(archives("rsync"), ["clm", "rsync"], replace=True)
    assert set(manifest.services) == {"clm", "rsync"}


def test_a_failure_leaves_what_was_there_and_nothing_else(
    archives: Callable[..., Path], fetch: Get, cache: Cache
) -> None:
    first = fetch(archives("clm"), ["clm"])
    with pytest.raises(UsageError, match=r"emco-rsync:22\.09 is in no archive of .*; there are .*emco-clm:22\.09"):
        fetch(archives("clm"), ["clm", "rsync"], replace=True)
    assert cache.whole("22.09") == first
    assert left_over(cache) == set()


def test_what_a_killed_try_left_is_removed(archives: Callable[..., Path], fetch: Get, cache: Cache) -> None:
    for left in (cache.scratch("22.09"), cache.old("22.09")):
        (left / "clm").mkdir(parents=True)
    fetch(archives("clm"), ["clm"])
    assert left_over(cache) == set()


def test_trouble_of_the_disk_is_said_and_leaves_nothing(
    archives: Callable[..., Path], fetch: Get, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Manifest:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(get, "write_manifest", full)
    with pytest.raises(HarnessTrouble, match=r"EMCO 22\.09 cannot be put into the cache: No space left on device"):
        fetch(archives("clm"), ["clm"])
    assert not cache.place("22.09").exists()
    assert left_over(cache) == set()


@pytest.mark.parametrize(
    "layer,said",
    [
        ([("opt/emco/dcm/dcm", STATIC)], "the service clm is not in it: there is no /opt/emco/clm/clm"),
        ([("opt/emco/clm/clm", STATIC)], "the service clm is not whole: there is no /opt/emco/clm/json-schemas"),
        (service_layer("clm", b"#!/bin/sh"), "clm cannot be used: it is no program for 64-bit Linux"),
        (service_layer("clm", dynamic("/lib/ld.so", [])), "needs the loader /lib/ld.so, which is not in it"),
        (
            [*service_layer("clm", dynamic("/lib/ld.so", ["liba.so"])), ("lib/ld.so", STATIC)],
            "needs the library liba.so, which is not in it",
        ),
        (
            [*service_layer("clm", dynamic("/lib/ld.so", ["../liba.so"])), ("lib/ld.so", STATIC)],
            "needs a library with the name '../liba.so'",
        ),
    ],
)
def test_an_image_that_lacks_something_is_refused(
    tmp_path: Path, fetch: Get, layer: list[tuple[str, bytes]], said: str
) -> None:
    with pytest.raises(UsageError) as refused:
        fetch(image(tmp_path, tarred(layer)), ["clm"])
    assert said in str(refused.value)


def test_a_program_brings_its_loader_and_all_libraries(tmp_path: Path, fetch: Get) -> None:
    layer = [
        *service_layer("clm", dynamic("/lib/ld-x.so.2", ["libgit.so.1", "libc.so.6"])),
        ("lib/ld-x.so.2", STATIC),
        ("opt/emco/libgit.so.1", dynamic("", ["libssl.so"], runpath="$ORIGIN/ssl")),
        ("opt/emco/ssl/libssl.so", dynamic("", ["libc.so.6"])),
        ("usr/lib/x86_64-linux-gnu/libc.so.6", dynamic("", ["ld-x.so.2"])),
        ("usr/lib/x86_64-linux-gnu/libnss_dns.so.2", dynamic("", [])),
        ("usr/lib/libother.so", STATIC),
    ]
    place, manifest = fetch(image(tmp_path, tarred(layer), environment=["LD_LIBRARY_PATH=/nowhere:/opt/emco"]), ["clm"])
    libraries = {name for name in manifest.files if name.startswith("clm/lib/")}
    assert {name.rpartition("/")[2] for name in libraries} == {
        "ld-x.so.2", "libgit.so.1", "libssl.so", "libc.so.6", "libnss_dns.so.2",
    }  # fmt: skip
    loader = place / "clm" / "lib" / "ld-x.so.2"
    expected = (str(loader), "--library-path", str(loader.parent), str(place / "clm" / "clm"))
    assert find_binaries(place, ("clm",))["clm"].argv == expected


def test_a_program_that_is_not_named_as_its_service_is_found_by_the_entry_point(tmp_path: Path, fetch: Get) -> None:
    layer = [("opt/emco/clm/controller", STATIC), ("opt/emco/clm/json-schemas/a", b"")]
    place, _ = fetch(image(tmp_path, tarred(layer), entrypoint=["./controller"]), ["clm"])
    assert (place / "clm" / "clm").read_bytes() == STATIC


def test_a_later_layer_decides(tmp_path: Path, fetch: Get) -> None:
    newer = STATIC + b"newer"
    place, _ = fetch(image(tmp_path, tarred(service_layer("clm")), tarred([("opt/emco/clm/clm", newer)])), ["clm"])
    assert (place / "clm" / "clm").read_bytes() == newer


def change(place: Path) -> None:
    (place / "clm" / "clm").write_bytes(b"x" * len(STATIC))


def lose(place: Path) -> None:
    (place / "clm" / "json-schemas" / "a.json").unlink()


def add(place: Path) -> None:
    (place / "clm" / "lib").mkdir()
    (place / "clm" / "lib" / "ld-evil.so").touch()


def link(place: Path) -> None:
    other = place.parent.parent / "same"
    (place / "clm" / "clm").rename(other)
    (place / "clm" / "clm").symlink_to(other)


def unlist(place: Path) -> None:
    (place / "manifest.json").unlink()


@pytest.mark.parametrize(
    "harm,said",
    [
        (change, "clm/clm was changed"),
        (lose, "clm/json-schemas/a.json is missing"),
        (add, "clm/lib/ld-evil.so was not taken"),
        (link, "clm/clm was changed"),
        (unlist, "no manifest that can be read"),
    ],
)
def test_a_changed_or_partial_cache_is_refused_with_what_to_do(
    archives: Callable[..., Path], fetch: Get, cache: Cache, harm: Callable[[Path], None], said: str
) -> None:
    place, _ = fetch(archives("clm"), ["clm"])
    harm(place)
    with pytest.raises(UsageError) as refused:
        cache.whole("22.09")
    assert said in str(refused.value)
    assert "take it again by `emco-chaos get-emco 22.09 --replace`" in str(refused.value)


def test_a_release_that_is_not_there_says_how_to_get_it(
    archives: Callable[..., Path], fetch: Get, cache: Cache
) -> None:
    fetch(archives("clm"), ["clm"])
    with pytest.raises(UsageError, match=r"there is 22\.09; get it by `emco-chaos get-emco 22\.06`"):
        cache.whole("22.06")


@pytest.mark.parametrize("version", ["", "..", ".x", "a/b", "a b", "x" * 200])
def test_no_version_leads_out_of_the_cache(cache: Cache, version: str) -> None:
    with pytest.raises(UsageError, match="is no version of EMCO"):
        cache.place(version)


def test_a_service_without_an_image_is_refused(archives: Callable[..., Path], fetch: Get) -> None:
    with pytest.raises(UsageError, match="'mongo' is no service with an image"):
        fetch(archives("clm"), ["mongo"])


@pytest.mark.parametrize(
    "name,file,meant",
    [
        ("r/e/emco-clm:22.09", "x.tar", True),
        ("emco-clm:22.09", "x.tar", True),
        ("localhost:5000/emco-clm:22.09", "x.tar", True),
        ("r/e/emco-clm:22.06", "emco-clm.tar", False),
        ("r/e/emco-clm-old:22.09", "x.tar", False),
        ("22.09", "emco-clm.tar.gz", True),
        ("22.09", "emco-dcm.tar", False),
        ("emco-clm", "emco-clm.tar", True),
    ],
)
def test_which_image_of_an_archive_is_meant(name: str, file: str, meant: bool) -> None:
    assert is_meant(name, "r/e/emco-clm:22.09", Path(file)) is meant


def installed(folder: Path, *programs: str) -> Path:
    for name in programs:
        (folder / name).write_text("#!/bin/sh\necho no daemon here >&2\nexit 1\n")
        (folder / name).chmod(0o755)
    return folder


def test_what_is_installed_gives_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(installed(tmp_path, "skopeo")))
    assert isinstance(choose(None), Skopeo)
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("PATH", str(installed(tmp_path / "other", "podman")))
    assert isinstance(choose(None), Daemon)


def test_with_nothing_installed_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"none of docker, podman, skopeo is on PATH; .* by --from"):
        choose(None)


def test_a_daemon_that_does_not_work_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{installed(tmp_path, 'docker')}:/bin:/usr/bin")
    with pytest.raises(UsageError, match=r"docker does not work: .*no daemon here; start it, or .* by --from"):
        asyncio.run(choose(None).check())


def test_where_the_first_does_not_work_the_next_gives_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = installed(tmp_path, "docker", "podman")
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")
    with pytest.raises(UsageError, match="docker does not work"):
        asyncio.run(choose(None).check())
    (folder / "podman").write_text('#!/bin/sh\n[ "$1" = version ] || { echo "podman is asked: $*" >&2; exit 1; }\n')
    source = choose(None)
    asyncio.run(source.check())
    with pytest.raises(UsageError, match=r"podman is asked: pull --quiet r/e/emco-clm:22\.09"):
        asyncio.run(source.archive("r/e/emco-clm:22.09", tmp_path))


def test_archives_that_are_not_there_are_said(tmp_path: Path, fetch: Get) -> None:
    with pytest.raises(UsageError, match="there is neither such a file nor a folder with files"):
        fetch(tmp_path / "nowhere")
