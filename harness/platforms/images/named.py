"""The images of EMCO's services as a cluster runs them: found, or pulled, before anything is made."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.faults.victim import UsageError
from harness.platforms.commands import need
from harness.platforms.images.get import REPOSITORY, reference_of
from harness.platforms.images.sources import Archives

_ASK_LIMIT, _PULL_LIMIT = 30.0, 1800.0
_MOST_SHOWN = 300


@dataclass(frozen=True, slots=True)
class ServiceImage:
    """name: as pods have it;  digest: of its configuration;  archive: what holds it; None: the container daemon"""

    name: str
    digest: str
    archive: Path | None = None


def service_images(place: str, version: str, services: Sequence[str]) -> Mapping[str, ServiceImage]:
    """The image of every service. Raises UsageError for one that cannot be had.

    place: a repository, an archive of images, a folder of such; empty: where EMCO publishes them
    """
    wanted = {service: reference_of(service, version, _repository(place)) for service in services}
    return {service: _found(place, reference) for service, reference in wanted.items()}


def image_called(place: str, version: str, name: str) -> ServiceImage:
    """The same for what is no service, by the last part of its image's name."""
    return _found(place, f"{_repository(place).strip('/')}/{name}:{version}")


def _repository(place: str) -> str:
    return place if place and not _is_here(place) else REPOSITORY


def _is_here(place: str) -> bool:
    if not place:
        return False
    if Path(place).expanduser().exists():
        return True
    if place.startswith(("/", ".", "~")):
        raise UsageError(f"--emco-images {place}: there is no such file or folder")
    return False


def _found(place: str, reference: str) -> ServiceImage:
    if _is_here(place):
        return _archived(Archives(Path(place).expanduser(), option="--emco-images"), reference)
    need("docker", "the images of EMCO")
    return _daemons(reference)


def pulled_image(reference: str) -> ServiceImage:
    """An image of which charts say the whole name: the container daemon's. Raises UsageError where it cannot be had."""
    need("docker", "the images of EMCO's stores")
    return _daemons(reference)


def _archived(archives: Archives, reference: str) -> ServiceImage:
    path, image = archives.find(reference)
    name = next((name for name in image.names if ":" in name.rpartition("/")[2]), "")
    if not name:
        raise UsageError(f"the image for {reference} in {path} has no name with a tag, by which a pod could name it")
    return ServiceImage(name, image.digest, path)


def _daemons(reference: str) -> ServiceImage:
    """Of the container daemon, which pulls it when it has it not."""
    asked = ("docker", "image", "inspect", "--format", "{{.Id}}", reference)
    found = _run(*asked, limit=_ASK_LIMIT)
    if found.returncode != 0:
        pulled = _run("docker", "pull", "--quiet", reference, limit=_PULL_LIMIT)
        if pulled.returncode != 0:
            said = pulled.stderr.strip()[-_MOST_SHOWN:]
            raise UsageError(
                f"the image {reference} is not here and cannot be had; --emco-images names another place: {said}"
            )
        found = _run(*asked, limit=_ASK_LIMIT)
    return ServiceImage(reference, found.stdout.strip())


def _run(*command: str, limit: float) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"`{' '.join(command)}` did not end within {limit:g} s") from error
