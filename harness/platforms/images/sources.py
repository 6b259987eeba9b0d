"""Where images come from: a program that has or pulls them, or archives that lie here."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from harness.faults.victim import UsageError
from harness.platforms.commands import CommandFails, command
from harness.platforms.images.archive import Image, opened

_ASK_LIMIT, _PULL_LIMIT, _SAVE_LIMIT = 30.0, 1800.0, 600.0
_ENDINGS = (".tar", ".tar.gz", ".tgz")


class ImageSource(Protocol):
    """Whoever gives images as archives."""

    async def check(self) -> None:
        """Whether anything can be had. Raises UsageError."""

    async def archive(self, reference: str, scratch: Path) -> tuple[Path, Image]:
        """An archive and the image in it that is meant.

        reference: REPOSITORY/NAME:TAG;  scratch: an empty folder. Raises UsageError when there is no such image.
        """


class Daemon:
    """docker, or podman, which understands the same words."""

    def __init__(self, program: str) -> None:
        self._program = program

    async def check(self) -> None:
        try:
            await command(self._program, "version", limit=_ASK_LIMIT)
        except CommandFails as error:
            raise UsageError(
                f"{self._program} does not work: {error}; start it, or name archives of the images by --from"
            ) from error

    async def archive(self, reference: str, scratch: Path) -> tuple[Path, Image]:
        if not await self._has(reference):
            try:
                await command(self._program, "pull", "--quiet", reference, limit=_PULL_LIMIT)
            except CommandFails as error:
                raise UsageError(_missing(reference, str(error))) from error
        path = scratch / "image.tar"
        await command(self._program, "save", "--output", str(path), reference, limit=_SAVE_LIMIT)
        return path, _only(path, reference)

    async def _has(self, reference: str) -> bool:
        try:
            await command(self._program, "image", "inspect", reference, limit=_ASK_LIMIT)
        except CommandFails:
            return False
        return True


class Skopeo:
    """skopeo, which copies from a registry without any daemon."""

    async def check(self) -> None:
        """It either copies an image or says why not."""

    async def archive(self, reference: str, scratch: Path) -> tuple[Path, Image]:
        path = scratch / "image.tar"
        target = f"docker-archive:{path}:{reference}"
        try:
            await command("skopeo", "copy", "--quiet", f"docker://{reference}", target, limit=_PULL_LIMIT)
        except CommandFails as error:
            raise UsageError(_missing(reference, str(error))) from error
        return path, _only(path, reference)


class Archives:
    """Archives that lie here: one file, or all of a folder."""

    def __init__(self, place: Path, *, option: str = "--from") -> None:
        self._place = place
        self._option = option

    async def check(self) -> None:
        self._files()

    async def archive(self, reference: str, scratch: Path) -> tuple[Path, Image]:  # noqa: ARG002  it is here already
        return self.find(reference)

    def find(self, reference: str) -> tuple[Path, Image]:
        """As archive(). Raises UsageError."""
        seen: list[str] = []
        for path in self._files():
            with opened(path) as archive:
                images = archive.images()
            for image in images:
                names = image.names or (_name_of(path),)
                if any(is_meant(name, reference, path) for name in names):
                    return path, image
                seen += names
        there = ", ".join(sorted(set(seen))[:20]) or "none"
        raise UsageError(f"the image {reference} is in no archive of {self._place}; there are {there}")

    def _files(self) -> list[Path]:
        if self._place.is_file():
            return [self._place]
        there = self._place.iterdir() if self._place.is_dir() else ()
        found = sorted(path for path in there if path.is_file() and path.name.endswith(_ENDINGS))
        if not found:
            kinds = ", ".join(_ENDINGS)
            raise UsageError(
                f"{self._option} {self._place}: there is neither such a file nor a folder with files {kinds}"
            )
        return found


class FirstThatWorks:
    """Of several programs the first that works: a docker without its daemon stands beside a podman on many machines."""

    def __init__(self, sources: Sequence[ImageSource]) -> None:
        self._sources = sources
        self._chosen = sources[0]

    async def check(self) -> None:
        """Raises UsageError with what is wrong with the first, where none works."""
        troubles = []
        for source in self._sources:
            try:
                await source.check()
            except UsageError as error:
                troubles.append(error)
            else:
                self._chosen = source
                return
        raise troubles[0]

    async def archive(self, reference: str, scratch: Path) -> tuple[Path, Image]:
        return await self._chosen.archive(reference, scratch)


def is_meant(name: str, reference: str, path: Path) -> bool:
    """Whether a name in an archive is that of the wanted image: registries are none of its business.

    Some archives hold a tag alone, or no name; then the file is named as the image.
    """
    wanted, tag = reference.rpartition("/")[2].split(":")
    last = name.rpartition("/")[2]
    if ":" not in last:
        last = f"{_name_of(path).partition(':')[0]}:{last}" if last == tag else last
    return last in (f"{wanted}:{tag}", f"{wanted}-{tag}", wanted)


def _name_of(path: Path) -> str:
    for ending in _ENDINGS[::-1]:
        if path.name.endswith(ending):
            return path.name.removesuffix(ending)
    return path.name


def choose(archives: Path | None, programs: Sequence[str] = ("docker", "podman", "skopeo")) -> ImageSource:
    """The named archives, or the first program that is installed and works. Raises UsageError without any."""
    if archives is not None:
        return Archives(archives)
    found = [program for program in programs if shutil.which(program) is not None]
    if not found:
        raise UsageError(
            f"none of {', '.join(programs)} is on PATH; install one, or name archives of the images by --from"
        )
    sources = [Skopeo() if program == "skopeo" else Daemon(program) for program in found]
    return FirstThatWorks(sources) if len(sources) > 1 else sources[0]


def _missing(reference: str, said: str) -> str:
    return f"the image {reference} is not here and cannot be had; archives of images are named by --from: {said}"


def _only(path: Path, reference: str) -> Image:
    with opened(path) as archive:
        images = archive.images()
    if len(images) != 1:
        raise UsageError(f"{reference} was to be one image for this machine, there are {len(images)}")
    return images[0]
