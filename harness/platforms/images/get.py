"""Takes a release of EMCO from its images into the cache: all of it or nothing."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.emco.services import SERVICES
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.images.archive import opened
from harness.platforms.images.cache import Cache, Manifest, Service, write_manifest
from harness.platforms.images.contents import take
from harness.platforms.images.sources import ImageSource
from harness.platforms.images.tree import ImageError

REPOSITORY = "registry.gitlab.com/project-emco/core/emco-base"
"""Where EMCO publishes its images."""
USUAL = ("orchestrator", "clm", "dcm", "ncm", "rsync")


def reference_of(service: str, version: str, repository: str) -> str:
    """Name of a service's image. Raises UsageError for a service without any."""
    info = SERVICES.get(service)
    if info is None or not info.image:
        raise UsageError(f"{service!r} is no service with an image; there are {', '.join(sorted(SERVICES))}")
    return f"{repository.strip('/')}/{info.image}:{version}"


async def get_emco(
    version: str,
    services: Sequence[str],
    source: ImageSource,
    cache: Cache,
    *,
    repository: str,
    replace: bool,
    tell: Callable[[str], None],
) -> tuple[Path, Manifest]:
    """Take services of a release into the cache; what is there already, whole, is left.

    replace: take it again;  tell: is told of each service that was taken. Raises UsageError for what the user can do
    something about, and HarnessTrouble when the disk does not take it. Nothing is left half done.
    """
    references = {service: reference_of(service, version, repository) for service in services}
    place = cache.place(version)
    try:
        with cache.locked():
            if place.exists() and not replace:
                return _there(cache, version, services)
            await source.check()
            return await _get(version, references, source, cache, tell)
    except OSError as error:
        raise HarnessTrouble(f"EMCO {version} cannot be put into the cache: {error.strerror or error}") from error


def _there(cache: Cache, version: str, services: Sequence[str]) -> tuple[Path, Manifest]:
    place, manifest = cache.whole(version)
    if missing := [service for service in services if service not in manifest.services]:
        there = ", ".join(sorted(manifest.services))
        raise UsageError(
            f"EMCO {version} is in the cache without {', '.join(missing)}, with {there}; take all again by --replace"
        )
    return place, manifest


async def _get(
    version: str, references: dict[str, str], source: ImageSource, cache: Cache, tell: Callable[[str], None]
) -> tuple[Path, Manifest]:
    place, partial, old = cache.place(version), cache.scratch(version), cache.old(version)
    for left in (partial, old):  # of a try that was killed
        _remove(left)
    partial.mkdir()
    try:
        taken = {}
        for service, reference in references.items():
            taken[service] = await _take(service, reference, source, partial)
            tell(f"{service}: {reference}, {taken[service].digest[:19]}")
        manifest = write_manifest(partial, version, taken)
        _synced(partial)
        _exchange(partial, place, old)
    finally:
        _remove(partial)
    return place, manifest


def _exchange(made: Path, place: Path, old: Path) -> None:
    """Put what was made in its place, where something may be already."""
    if place.exists():
        place.rename(old)
    try:
        made.rename(place)
    except OSError:
        if old.exists():
            old.rename(place)
        raise
    _remove(old)


async def _take(service: str, reference: str, source: ImageSource, folder: Path) -> Service:
    scratch = folder / ".image"
    scratch.mkdir()
    path, image = await source.archive(reference, scratch)
    (folder / service).mkdir()
    try:
        with opened(path) as archive:
            take(archive, image, service, folder / service)
    except ImageError as error:
        raise UsageError(f"the image {reference} cannot be used: {error}") from error
    shutil.rmtree(scratch)
    return Service(next(iter(image.names), reference), image.digest)


def _synced(folder: Path) -> None:
    """What is renamed into its place is on the disk before."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
