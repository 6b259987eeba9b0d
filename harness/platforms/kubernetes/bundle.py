"""The relay's code as one file that any Python runs: a zip of the decoders, the relay and what they import.

It fits into a ConfigMap, so that a stock Python image relays and no image has to be built for it.
"""

import importlib.util
import io
import zipfile
from pathlib import Path

import harness
from harness.faults.victim import HarnessTrouble

LARGEST = 900 * 1024  # a ConfigMap holds 1 MiB, and base64 is not counted
_PURE_PYTHON = ("hpack", "bson")  # what harness.wire imports; bson goes without its C code
_MAIN = "import sys\nfrom harness.wire.served import main\nmain(sys.argv[1:])\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # equal code makes an equal file


def relay_bundle() -> bytes:
    """`python FILE CONFIG` runs harness.wire.served. Raises HarnessTrouble when it grew too large for a ConfigMap."""
    root = Path(harness.__file__).parent
    files = {"__main__.py": _MAIN.encode(), "harness/__init__.py": b"", "harness/wire/__init__.py": b""}
    files |= {f"harness/wire/{path.name}": path.read_bytes() for path in sorted((root / "wire").glob("*.py"))}
    for package in _PURE_PYTHON:
        folder = _folder(package)
        files |= {f"{package}/{path.name}": path.read_bytes() for path in sorted(folder.glob("*.py"))}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as bundle:
        for name, data in files.items():
            bundle.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    if content.tell() > LARGEST:
        raise HarnessTrouble(f"the relay's code is {content.tell()} bytes, more than a ConfigMap holds")
    return content.getvalue()


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise HarnessTrouble(f"the package {package}, which the relay needs, is not installed")
    return Path(spec.origin).parent
