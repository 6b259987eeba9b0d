"""What a service needs of its image: the program, the folders beside it, its loader and shared libraries."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness.emco.services import SERVICES
from harness.platforms.images.archive import Archive, Image
from harness.platforms.images.elf import Elf, ElfError, read_elf
from harness.platforms.images.tree import File, ImageError, Tree
from harness.platforms.process.programs import LIBRARIES

PLACE = "/opt/emco"
"""Where EMCO's images have their services, each in a folder of its own."""
_FOLDERS = ("json-schemas", "ref-schemas")
_MOST_LIBRARIES = 200
_MOST_FILES = 10_000
_LARGEST = 1024**3
_USUAL = ("lib", "usr/lib", "lib64", "usr/lib64", "usr/local/lib")
_TRIPLETS = ("x86_64-linux-gnu", "aarch64-linux-gnu")
# glibc loads these when it is asked for a name, without being linked to them.
_LOADED_LATER = ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2")


@dataclass(slots=True)
class _Needs:
    """What is still wanted of libraries. Only their names are ours to choose: they are looked up in the image."""

    done: set[str]
    left: list[tuple[str, tuple[str, ...]]]


def take(archive: Archive, image: Image, service: str, folder: Path) -> None:
    """Put what a service needs into an empty folder, its program under the service's name.

    Raises ImageError when the image does not hold it, and OSError for trouble of the disk.
    """
    tree = archive.tree(image)
    home = f"{PLACE}/{service}"
    program = _program(tree, image, service)
    wanted = [(program, folder / service)]
    for name in _FOLDERS:
        for path, file in tree.files(f"{home}/{name}"):
            wanted.append((file, _place(folder / name, path)))
    present = {place.relative_to(folder).parts[0] for _, place in wanted}
    if missing := [name for name in _schemas(service) if name not in present]:
        raise ImageError(f"the service {service} is not whole: there is no {home}/{missing[0]}")
    _extract(archive, image, wanted)
    _libraries(archive, image, tree, service, folder)


def _schemas(service: str) -> tuple[str, ...]:
    return SERVICES[service].schemas


def _program(tree: Tree, image: Image, service: str) -> File:
    """Where EMCO names it otherwise than the service, and that is not known here, the entry point tells the name."""
    home = f"{PLACE}/{service}"
    names = [f"{home}/{SERVICES[service].binary}"]
    if image.entrypoint:
        names.append(f"{home}/{PurePosixPath(image.entrypoint[0]).name}")
    found = next((file for name in names if (file := tree.file(name)) is not None), None)
    if found is None:
        raise ImageError(f"the service {service} is not in it: there is no {names[0]}")
    return found


def _place(folder: Path, path: str) -> Path:
    """Names in a tree have no `..` and no empty parts; this is the second look."""
    place = folder.joinpath(*path.split("/"))
    if not place.is_relative_to(folder) or ".." in place.parts:
        raise ImageError(f"it holds an entry that leads out of its folder: {path[:100]!r}")
    return place


def _extract(archive: Archive, image: Image, wanted: list[tuple[File, Path]]) -> None:
    if len(wanted) > _MOST_FILES or sum(file.size for file, _ in wanted) > _LARGEST:
        raise ImageError(f"a service of more than {_MOST_FILES} files or {_LARGEST} bytes is not taken")
    for _, place in wanted:
        place.parent.mkdir(parents=True, exist_ok=True)
    archive.extract(image, wanted)
    for file, place in wanted:
        place.chmod(0o755 if file.executable else 0o644)


def _libraries(archive: Archive, image: Image, tree: Tree, service: str, folder: Path) -> None:
    """The loader and all libraries of a program that is linked to any, of whichever system its image is made of:
    with another loader than its own a program may not start, or worse."""
    elf = _read(folder / service, service)
    if not elf.loader:
        return
    place, search = folder / LIBRARIES, tuple(image.environment("LD_LIBRARY_PATH").split(":"))
    loader = tree.file(elf.loader)
    if loader is None:
        raise ImageError(f"the service {service} needs the loader {elf.loader}, which is not in it")
    _extract(archive, image, [(loader, place / PurePosixPath(elf.loader).name)])
    (place / PurePosixPath(elf.loader).name).chmod(0o755)
    home = f"{PLACE}/{service}"
    needs = _Needs({PurePosixPath(elf.loader).name}, [(name, _paths(elf, home)) for name in elf.needed])
    while needs.left:
        wanted = dict(_next(tree, needs, search, service))
        if len(needs.done) > _MOST_LIBRARIES:
            raise ImageError(f"the service {service} needs more than {_MOST_LIBRARIES} libraries")
        _extract(archive, image, [(file, place / name) for name, (file, _) in wanted.items()])
        for name, (_, at) in wanted.items():
            one = _read(place / name, name)
            needs.left += [(more, _paths(one, at)) for more in one.needed]
            if name == "libc.so.6":
                needs.left += [(more, ()) for more in _LOADED_LATER if _find(tree, more, (at,)) is not None]


def _next(tree: Tree, needs: _Needs, search: tuple[str, ...], service: str) -> Iterator[tuple[str, tuple[File, str]]]:
    """The libraries that are named and not there yet, each with the folder of the image that it lies in."""
    left, needs.left = needs.left, []
    for name, paths in left:
        if name in needs.done:
            continue
        needs.done.add(name)
        if "/" in name or name in ("", ".", ".."):
            raise ImageError(f"the service {service} needs a library with the name {name[:80]!r}")
        found = _find(tree, name, (*paths, *filter(None, search), *_usual()))
        if found is None:
            raise ImageError(f"the service {service} needs the library {name}, which is not in it")
        yield name, found


def _find(tree: Tree, name: str, folders: tuple[str, ...]) -> tuple[File, str] | None:
    for folder in folders:
        if ".." not in folder.split("/") and (file := tree.file(f"{folder}/{name}")) is not None:
            return file, folder
    return None


def _usual() -> tuple[str, ...]:
    return tuple(f"{one}{'/' + triplet if triplet else ''}" for triplet in ("", *_TRIPLETS) for one in _USUAL)


def _paths(elf: Elf, home: str) -> tuple[str, ...]:
    return tuple(path.replace("${ORIGIN}", home).replace("$ORIGIN", home) for path in elf.paths)


def _read(path: Path, name: str) -> Elf:
    try:
        return read_elf(path.read_bytes())
    except ElfError as error:
        raise ImageError(f"{name} cannot be used: {error}") from error
