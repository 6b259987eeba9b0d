"""Image archives, as `docker save`, `podman save` and `skopeo copy` write them, read without a container daemon.

Two forms: docker's (manifest.json) and OCI's (index.json), plain or compressed tar files of JSON and of layers, which
are tar files again. What is read is held against the digests that the archive itself gives.
"""

import gzip
import hashlib
import json
import platform
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from harness.platforms.images.tree import File, ImageError, Tree

_LARGEST_JSON = 16 * 1024 * 1024
_MOST_LAYERS = 500
_MOST_IMAGES = 1000
_LARGEST_LAYER = 16 * 1024**3
_CHUNK = 1024 * 1024
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAMED_BY_DIGEST = re.compile(r"(?:.*/)?([0-9a-f]{64})(?:\.json)?")
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_BAD_TAR = (tarfile.TarError, EOFError, gzip.BadGzipFile, ValueError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Image:
    """One image of an archive.

    names:  as it was tagged, or its tag alone
    digest: of its configuration, which is its id
    layers: names of the archive's members, the lowest first
    """

    names: tuple[str, ...]
    digest: str
    layers: tuple[str, ...]
    config: Mapping[str, Any]

    def environment(self, name: str) -> str:
        """A variable that its containers have."""
        for line in (self.config.get("config") or {}).get("Env") or ():
            key, _, value = str(line).partition("=")
            if key == name:
                return value
        return ""

    @property
    def entrypoint(self) -> tuple[str, ...]:
        return tuple(map(str, (self.config.get("config") or {}).get("Entrypoint") or ()))


class Archive:
    """An open archive. Raises ImageError, in every method, for what is no such archive or not what its digests say."""

    def __init__(self, path: Path, tar: tarfile.TarFile) -> None:
        self._path = path
        self._tar = tar
        self._members = {member.name.removeprefix("./"): member for member in tar.getmembers()}

    def images(self) -> tuple[Image, ...]:
        """All images for this machine."""
        if "manifest.json" in self._members:
            listed = self._json("manifest.json")
            found = [self._docker_image(one) for one in _list(listed)]
        elif "index.json" in self._members:
            found = list(self._oci_images(self._json("index.json"), (), depth=0))
        else:
            raise ImageError("it holds neither manifest.json nor index.json: it is no archive of images")
        if len(found) > _MOST_IMAGES:
            raise ImageError(f"it holds more than {_MOST_IMAGES} images")
        return tuple(found)

    def tree(self, image: Image) -> Tree:
        """The image's file system; every layer is held against the digest that the image's configuration gives it."""
        _check_machine(image)
        wanted = _list((image.config.get("rootfs") or {}).get("diff_ids"))
        if len(wanted) != len(image.layers) or len(wanted) > _MOST_LAYERS:
            raise ImageError(f"it has {len(image.layers)} layers and digests for {len(wanted)}")
        made = Tree()
        for name, digest in zip(image.layers, wanted, strict=True):
            with self._layer(name) as (layer, hashed):
                made.add(layer)
                if hashed() != digest:
                    raise ImageError(f"the layer {name} is not what its digest says: it was damaged or changed")
        return made

    def extract(self, image: Image, wanted: Iterable[tuple[File, Path]]) -> None:
        """Write the content of files to places on disk, whose folders are there. Raises OSError for trouble of it."""
        places: dict[int, dict[int, list[Path]]] = {}
        for file, place in wanted:
            places.setdefault(file.layer, {}).setdefault(file.member, []).append(place)
        for number, members in places.items():
            with self._layer(image.layers[number]) as (layer, _):
                for member, entry in enumerate(layer):
                    for place in members.get(member, ()):
                        _copy(layer.extractfile(entry), place)

    @contextmanager
    def _layer(self, name: str) -> "Iterator[tuple[tarfile.TarFile, Callable[[], str]]]":
        """A layer to be read once from its beginning, and what tells the digest of all of it."""
        content = self._open(name)
        head = content.read(4)
        content.seek(0)
        if head == _ZSTD:
            raise ImageError(
                f"the layer {name} is compressed by zstd, which is not read here; save it by docker or podman"
            )
        plain: Any = gzip.GzipFile(fileobj=content) if head.startswith(_GZIP) else content
        hashing = _Hashing(plain)
        with content, tarfile.open(fileobj=hashing, mode="r|") as layer:  # type: ignore[call-overload]  # needs only read()
            yield layer, hashing.digest

    def _open(self, name: str) -> IO[bytes]:
        member = self._members.get(name)
        for _ in range(8):  # old versions of docker save equal layers once, and link to them
            if member is None or not member.issym():
                break
            place = [*name.split("/")[:-1], *member.linkname.split("/")]
            name = "/".join(_straight(place))
            member = self._members.get(name)
        content = self._tar.extractfile(member) if member is not None and member.isreg() else None
        if content is None:
            raise ImageError(f"it names a file {name!r}, which it does not hold")
        return content

    def _json(self, name: str) -> Any:
        return _parsed(name, self._bytes(name))

    def _bytes(self, name: str) -> bytes:
        with self._open(name) as content:
            data = content.read(_LARGEST_JSON + 1)
        if len(data) > _LARGEST_JSON:
            raise ImageError(f"{name} is larger than {_LARGEST_JSON} bytes")
        return data

    def _docker_image(self, one: Any) -> Image:
        if not isinstance(one, dict) or not isinstance(one.get("Config"), str):
            raise ImageError("manifest.json does not name a configuration")
        layers = tuple(map(str, _list(one.get("Layers"))))
        return self._image(tuple(map(str, _list(one.get("RepoTags")))), one["Config"], layers)

    def _oci_images(self, index: Any, names: tuple[str, ...], *, depth: int) -> Iterator[Image]:
        if depth > 4 or not isinstance(index, dict):
            raise ImageError("its index cannot be read")
        for one in _list(index.get("manifests")):
            if not isinstance(one, dict) or not _for_this_machine(one.get("platform")):
                continue
            annotated = one.get("annotations") or {}
            named = names + tuple(str(annotated[name]) for name in _NAMES if name in annotated)
            manifest = self._json(_blob(one.get("digest")))
            if isinstance(manifest, dict) and "manifests" in manifest:
                yield from self._oci_images(manifest, named, depth=depth + 1)
            elif isinstance(manifest, dict) and isinstance(manifest.get("config"), dict):
                layers = tuple(_blob(layer.get("digest")) for layer in _list(manifest.get("layers")))
                yield self._image(named, _blob(manifest["config"].get("digest")), layers)

    def _image(self, names: tuple[str, ...], config: str, layers: tuple[str, ...]) -> Image:
        data = self._bytes(config)
        digest = hashlib.sha256(data).hexdigest()
        named = _NAMED_BY_DIGEST.fullmatch(config)
        if named is not None and named.group(1) != digest:
            raise ImageError(f"the configuration {config} is not what its digest says: it was damaged or changed")
        parsed = _parsed(config, data)
        if not isinstance(parsed, dict):
            raise ImageError(f"the configuration {config} is no JSON object")
        return Image(names, f"sha256:{digest}", layers, parsed)


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open an archive. Raises ImageError, which names it, also for what is wrong with it later on."""
    try:
        with tarfile.open(path) as tar:
            yield Archive(path, tar)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile) or error.filename == str(path):
            raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
        raise
    except _BAD_TAR as error:
        raise ImageError(f"{path}: is no archive of images, or damaged: {error}") from error


class _Hashing:
    """Reads through to a stream, and knows the digest of all of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self._read = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        self._read += len(data)
        if self._read > _LARGEST_LAYER:
            raise ImageError(f"a layer is larger than {_LARGEST_LAYER} bytes")
        return data

    def digest(self) -> str:
        """Of the stream up to its end, which is read now."""
        while self.read(_CHUNK):
            pass
        return f"sha256:{self._hash.hexdigest()}"


def _copy(content: IO[bytes] | None, place: Path) -> None:
    if content is None:
        raise ImageError(f"{place.name} has no content")
    with place.open("xb") as file:
        while data := content.read(_CHUNK):
            file.write(data)


def _check_machine(image: Image) -> None:
    wanted = image.config.get("architecture")
    if wanted and not _for_this_machine({"architecture": wanted, "os": image.config.get("os", "linux")}):
        system = f"{image.config.get('os', 'linux')}/{wanted}"
        raise ImageError(f"the image {' '.join(image.names)} is for {system}, this machine is linux/{_machine()}")


def _for_this_machine(wanted: Any) -> bool:
    if not isinstance(wanted, dict):
        return True
    return wanted.get("architecture") in (None, _machine()) and wanted.get("os") in (None, "linux")


def _machine() -> str:
    return _MACHINES.get(platform.machine(), platform.machine())


def _blob(digest: Any) -> str:
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ImageError(f"{str(digest)[:80]!r} is no digest")
    return "blobs/" + digest.replace(":", "/")


def _parsed(name: str, data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{name} is no JSON: {error}") from error


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _straight(parts: Iterable[str]) -> list[str]:
    way: list[str] = []
    for part in parts:
        if part == "..":
            way = way[:-1]
        elif part not in ("", "."):
            way.append(part)
    return way
