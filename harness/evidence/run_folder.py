"""The folder of one run: everything that it kept, written so that a crash of the harness loses nothing.

    reports/out/<run>/           results.jsonl      one line per result, synced as it comes
                                 failures/<point>/  difference, logs, snapshots of one point
                                 summary.json, index.html, ...
    reports/out/latest           link to the newest run that has a summary

Whatever is written passes the run's redactor. Files appear whole or not at all: written beside their place, synced,
renamed.
"""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from harness.evidence.encoding import MalformedError, from_json, to_json
from harness.evidence.redaction import Redactor

RESULTS = "results.jsonl"
SUMMARY = "summary.json"
LATEST = "latest"

T = TypeVar("T")


def run_id(now: datetime, suffix: str) -> str:
    """`20260114T093000Z-k3x9`: sorts by time; the suffix keeps runs of the same second apart."""
    if not re.fullmatch(r"[a-z0-9]{1,16}", suffix):
        raise ValueError(f"a run's suffix is 1 to 16 of a-z and 0-9, not {suffix!r}")
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{suffix}"


def file_name(point_id: str) -> str:
    """A readable name for a point's folder, valid on every file system; different ids never share one."""
    readable = re.sub(r"[^A-Za-z0-9.@~-]+", "_", point_id).strip("._")[:120]
    return f"{readable}-{hashlib.sha256(point_id.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where one run writes. Several processes may append results to the same folder at once."""

    path: Path
    redactor: Redactor

    @property
    def run(self) -> str:
        """The run's id."""
        return self.path.name

    def write_text(self, name: str, text: str) -> Path:
        """Write one file, without secrets, atomically; its path."""
        path = self.path / name
        write_atomically(path, self.redactor.text(text).encode("utf-8", "replace"))
        return path

    def write_json(self, name: str, value: Any) -> Path:
        """Write one value as indented JSON, without secrets, atomically; its path."""
        path = self.path / name
        write_atomically(path, to_json(value, self.redactor, indent=True) + b"\n")
        return path

    def append(self, value: Any, name: str = RESULTS) -> None:
        """Add one value as a line of JSON and sync it. When this returns, the line survives any crash."""
        line = to_json(value, self.redactor) + b"\n"
        path = self.path / name
        fresh = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            # A line that a killed process left unfinished must not swallow this one.
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            while line:
                line = line[os.write(descriptor, line) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if fresh:
            _sync_directory(path.parent)

    def make_latest(self) -> None:
        """Let `latest` beside this folder point to it: to be done once there is something that others can read."""
        base = self.path.parent
        link = base / f".{LATEST}.{self.run}"
        link.symlink_to(self.run, target_is_directory=True)
        try:
            link.replace(base / LATEST)
        except OSError:
            link.unlink()
            raise

    def discard(self) -> None:
        """Remove the folder with all that is in it, where no run came of it."""
        shutil.rmtree(self.path)

    def keep_failure(self, point_id: str, files: Mapping[str, Any]) -> Path:
        """Keep what explains one point, in a folder of its own; text as it is, other values as JSON. Its path."""
        folder = self.path / "failures" / file_name(point_id)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            if Path(name).name != name:
                raise ValueError(f"{name!r} is not a plain file name")
            relative = str(folder.relative_to(self.path) / name)
            if isinstance(content, str):
                self.write_text(relative, content)
            else:
                self.write_json(relative, content)
        return folder


def create_run_folder(base: Path, *, run: str, redactor: Redactor) -> RunFolder:
    """Create base/<run>. Raises FileExistsError if there is a run of this id already."""
    path = base / run
    path.mkdir(parents=True)
    return RunFolder(path=path, redactor=redactor)


def read_lines(path: Path, kind: type[T]) -> tuple[tuple[T, ...], tuple[str, ...]]:
    """All values of a results file, and a sentence for every line that is not one.

    A process that was killed while it wrote leaves half a line; that must not cost the others.
    """
    values: list[T] = []
    problems: list[str] = []
    for number, line in _lines(path):
        try:
            values.append(from_json(line, kind, where=f"{path}:{number}"))
        except MalformedError as error:
            problems.append(str(error))
    return tuple(values), tuple(problems)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if line.strip():
            yield number, line


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the place, sync, rename: a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
