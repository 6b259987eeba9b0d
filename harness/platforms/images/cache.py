"""EMCO releases that were taken from their images, each in a folder as `--emco-bin` has it, with a manifest.

What lies there is run as programs, so it is held against the manifest's digests each time before it is.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock, Timeout

from harness.faults.victim import UsageError

MANIFEST = "manifest.json"
_SCHEMA = 1
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")  # as registries have it for tags
_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Taken:
    """A file of the cache."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Service:
    """Where a service was taken from. image: its name;  digest: of its configuration, which is the image's id"""

    image: str
    digest: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder of the cache holds. files: by their names from the folder."""

    version: str
    services: Mapping[str, Service]
    files: Mapping[str, Taken]
    schema: int = _SCHEMA


class Cache:
    """The releases of one user, below the cache folder."""

    def __init__(self, cache_folder: Path) -> None:
        self._folder = cache_folder / "emco"

    def place(self, version: str) -> Path:
        """Where a release lies, or will. Raises UsageError for what is no version."""
        if not _VERSION.fullmatch(version):
            raise UsageError(f"{version!r} is no version of EMCO: letters, digits, dots and dashes are expected")
        return self._folder / version

    def versions(self) -> tuple[str, ...]:
        """All releases that are there, whole or not."""
        return tuple(sorted(path.parent.name for path in self._folder.glob(f"[!.]*/{MANIFEST}")))

    def whole(self, version: str) -> tuple[Path, Manifest]:
        """The folder of a release, in which everything is as it was taken. Raises UsageError with what to do."""
        place = self.place(version)
        again = f"take it again by `emco-chaos get-emco {version} --replace`"
        if not place.is_dir():
            there = ", ".join(self.versions()) or "none"
            raise UsageError(
                f"EMCO {version} is not in the cache, there is {there}; get it by `emco-chaos get-emco {version}`"
            )
        try:
            manifest = msgspec.json.decode((place / MANIFEST).read_bytes(), type=Manifest)
        except (OSError, msgspec.DecodeError) as error:
            raise UsageError(f"EMCO {version} in the cache has no manifest that can be read; {again}") from error
        if manifest.version != version or manifest.schema != _SCHEMA:
            raise UsageError(f"EMCO {version} in the cache has the manifest of something else; {again}")
        if difference := _difference(place, manifest):
            raise UsageError(f"EMCO {version} in the cache is not as it was taken: {difference}; {again}")
        return place, manifest

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Have the cache for oneself. Raises UsageError when somebody else has it, OSError for trouble of the disk."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(self._folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UsageError("another `emco-chaos get-emco` is at work") from None
        try:
            yield
        finally:
            lock.release()

    def scratch(self, version: str) -> Path:
        """Where a release is put together, on the same disk; whatever an earlier try left there is for its maker to
        remove."""
        return self.place(version).with_name(f".{version}.partial")

    def old(self, version: str) -> Path:
        """Where a release goes that is replaced, until it is removed."""
        return self.place(version).with_name(f".{version}.old")


def write_manifest(folder: Path, version: str, services: Mapping[str, Service]) -> Manifest:
    """Write down what a folder holds."""
    files = {name: Taken(path.stat().st_size, _sha256(path)) for name, path in _files(folder)}
    manifest = Manifest(version, services, files)
    value: dict[str, Any] = asdict(manifest)
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=1) + b"\n")
    return manifest


def _difference(place: Path, manifest: Manifest) -> str:
    """What is not as the manifest says; empty when all is."""
    there = dict(_files(place))
    if missing := sorted(set(manifest.files) - set(there)):
        return f"{missing[0]} is missing"
    if strange := sorted(set(there) - set(manifest.files)):
        return f"{strange[0]} was not taken"
    for name, path in there.items():
        wanted = manifest.files[name]
        if path.is_symlink() or path.stat().st_size != wanted.size or _sha256(path) != wanted.sha256:
            return f"{name} was changed"
    return ""


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Everything in a folder that is no folder itself, but for the manifest."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name != MANIFEST and (path.is_symlink() or not path.is_dir()):
            yield name, path


def _sha256(path: Path) -> str:
    made = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            made.update(data)
    return made.hexdigest()
