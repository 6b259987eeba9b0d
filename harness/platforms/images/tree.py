"""The file system of a container image, put together from its layers without ever being written to a disk.

Names in an image belong to whoever built it: `..`, absolute names, links that lead anywhere. Here they are only keys of
a tree. Links are followed inside it as in a container, where its root is the top; what is taken out is the content of
regular files, written under names of our own.
"""

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from harness.faults.victim import UsageError

MOST_ENTRIES = 1_000_000
_MOST_LINKS = 40  # as Linux has it
_LONGEST_NAME = 4096
_HIDES, _HIDES_ALL = ".wh.", ".wh..wh..opq"


class ImageError(UsageError):
    """An image that cannot be used; the sentence says which and why."""


@dataclass(frozen=True, slots=True)
class File:
    """A regular file: the content of member number `member` of layer number `layer`."""

    layer: int
    member: int
    size: int
    executable: bool


@dataclass(frozen=True, slots=True)
class Symlink:
    target: str


@dataclass(frozen=True, slots=True)
class Other:
    """A device, a pipe."""


@dataclass(slots=True)
class Folder:
    entries: "dict[str, Node]" = field(default_factory=dict)


Node = File | Symlink | Other | Folder


class Tree:
    """What the layers that were added so far make together."""

    def __init__(self) -> None:
        self._root = Folder()
        self._layers = 0
        self._members = 0

    def add(self, members: Iterable[tarfile.TarInfo]) -> None:
        """Put the next layer on top. Raises ImageError for what no layer may hold."""
        listed = []
        for number, member in enumerate(members):
            self._members += 1
            if self._members > MOST_ENTRIES:
                raise ImageError(f"the image holds more than {MOST_ENTRIES} entries")
            listed.append((number, _parts(member.name), member))
        for _, parts, _ in listed:  # first: what a layer hides is below it, wherever in the layer that is said
            if parts and parts[-1].startswith(_HIDES):
                self._hide(parts)
        for number, parts, member in listed:
            if parts and not parts[-1].startswith(_HIDES):
                self._put(parts, self._node(number, member))
        self._layers += 1

    def file(self, path: str) -> File | None:
        """The regular file at a path, links followed; None when there is none."""
        found = self._at(_parts(path))
        return found if isinstance(found, File) else None

    def files(self, path: str) -> Iterator[tuple[str, File]]:
        """All regular files below a folder by their names from there; links to folders are not gone into."""
        found = self._at(_parts(path))
        if isinstance(found, Folder):
            yield from self._below(found, _parts(path), "")

    def _below(self, top: Folder, place: tuple[str, ...], prefix: str) -> Iterator[tuple[str, File]]:
        left = [(top, place, prefix)]
        while left:
            folder, place, prefix = left.pop()
            for name, node in sorted(folder.entries.items()):
                one = self._at((*place, name)) if isinstance(node, Symlink) else node
                if isinstance(one, File):
                    yield prefix + name, one
                elif isinstance(node, Folder):
                    left.append((node, (*place, name), f"{prefix}{name}/"))

    def _node(self, number: int, member: tarfile.TarInfo) -> Node:
        if member.isdir():
            return Folder()
        if member.issym():
            return Symlink(member.linkname)
        if member.islnk():
            found = self._at(_parts(member.linkname))
            if not isinstance(found, File):
                raise ImageError(
                    f"{member.name!r} is a hard link to {member.linkname!r}, which is no file of the image"
                )
            return found
        if member.isreg():
            return File(self._layers, number, member.size, bool(member.mode & 0o111))
        return Other()

    def _put(self, parts: tuple[str, ...], node: Node) -> None:
        folder = self._folder(parts[:-1])
        there = folder.entries.get(parts[-1])
        if not (isinstance(there, Folder) and isinstance(node, Folder)):
            folder.entries[parts[-1]] = node

    def _hide(self, parts: tuple[str, ...]) -> None:
        folder = self._at(parts[:-1])
        if not isinstance(folder, Folder):
            return
        if parts[-1] == _HIDES_ALL:
            folder.entries.clear()
        else:
            folder.entries.pop(parts[-1].removeprefix(_HIDES), None)

    def _folder(self, parts: tuple[str, ...]) -> Folder:
        """The folder at a path, made where it is missing, instead of whatever else is there."""
        folder = self._root
        for number, name in enumerate(parts):
            node = folder.entries.get(name)
            if isinstance(node, Symlink):
                node = self._at(parts[: number + 1])
            if not isinstance(node, Folder):
                node = folder.entries[name] = Folder()
            folder = node
        return folder

    def _at(self, parts: tuple[str, ...]) -> Node | None:
        """What a path leads to, links followed; None where it leads nowhere or round in circles."""
        left, way, links = list(reversed(parts)), [self._root], 0
        while left:
            name = left.pop()
            if name in ("", "."):
                continue
            if name == "..":
                way = way[:-1] or way  # above the root is the root
                continue
            node = way[-1].entries.get(name)
            if isinstance(node, Symlink):
                links += 1
                if links > _MOST_LINKS or len(node.target) > _LONGEST_NAME:
                    return None
                way = [self._root] if node.target.startswith("/") else way
                left += reversed(node.target.split("/"))
            elif isinstance(node, Folder):
                way.append(node)
            else:
                return node if not left else None
        return way[-1]


def _parts(name: str) -> tuple[str, ...]:
    """A name's parts, from the root. Raises ImageError when it leads out of the image."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts or "\0" in name or len(name) > _LONGEST_NAME:
        raise ImageError(f"the image holds an entry that leads out of it: {name[:100]!r}")
    return parts
