"""The undo journal: before anything outlives this process, how to undo it is on disk.

One JSON line for each thing made (`do`) and for each thing undone (`done`), written and synced before the act. A run
that ends well leaves an empty list; after a SIGKILL of the harness `emco-chaos rollback` plays what is left, newest
first. Every undo can be played twice.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Undo:
    """One act that undoes something: its kind (a key of UNDOERS) and its arguments."""

    number: int
    kind: str
    arguments: Mapping[str, str]


class UndoFails(Exception):
    """An undo could not be played now; the sentence says why. It stays in its journal."""


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What became of a journal: a sentence for each act that is undone, and one for each that could not be.

    failed: these are still in the journal
    """

    told: tuple[str, ...]
    failed: tuple[str, ...] = ()


class Journal:
    """Append-only file of undos, synced line by line. Not shared between processes: one file each.

    undoers: the kinds of undo that may be recorded, where platforms have kinds of their own; else UNDOERS
    """

    def __init__(self, path: Path, *, undoers: "Undoers | None" = None) -> None:
        self.path = path
        self._undoers = UNDOERS if undoers is None else undoers
        path.parent.mkdir(parents=True, exist_ok=True)
        # What an undo needs, as the specification of somebody's pod, may hold passwords.
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8")
        if (written := path.read_bytes()) and not written.endswith(b"\n"):
            self._file.write("\n")  # a line that a killed process left unfinished must not swallow the next
        self._next = 1 + max((undo.number for undo in _all(path)), default=0)

    def record(self, kind: str, **arguments: str) -> int:
        """Write and sync how to undo what comes next; returns the number for `done`."""
        if kind not in self._undoers:
            raise ValueError(f"undo of kind {kind!r} is not known; known: {', '.join(sorted(self._undoers))}")
        number = self._next
        self._next += 1
        self._write({"do": number, "kind": kind, **arguments})
        return number

    def done(self, number: int) -> None:
        """It was undone, nothing is left of it. Not synced: undoing it again does no harm."""
        self._file.write(json.dumps({"done": number}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close; the file is removed when nothing is left to undo."""
        self._file.close()
        if self.path.exists() and not left(self.path):
            self.path.unlink()

    def _write(self, line: Mapping[str, object]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fdatasync(self._file.fileno())


def left(path: Path) -> tuple[Undo, ...]:
    """What a journal says is still to undo, newest first. A torn last line (SIGKILL while writing) is no act yet."""
    done = {line["done"] for line in _lines(path) if "done" in line}
    return tuple(sorted((undo for undo in _all(path) if undo.number not in done), key=lambda undo: -undo.number))


def rollback(path: Path, *, undoers: "Undoers | None" = None) -> RolledBack:
    """Play what is left of a journal, each act whatever became of the others, and remove it when nothing is left.

    undoers: what plays each kind of undo, where platforms have kinds of their own
    """
    told, failed = [], []
    for undo in left(path):
        try:
            told.append(_played(undo, UNDOERS if undoers is None else undoers))
        except (UndoFails, OSError, subprocess.SubprocessError) as error:
            failed.append(f"{undo.kind} {' '.join(undo.arguments.values())[:_MOST_SHOWN]}: {error}")
        else:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"\n{json.dumps({'done': undo.number})}\n")  # the line before may be torn
    if not failed:
        path.unlink(missing_ok=True)
    return RolledBack(tuple(told), tuple(failed))


def _played(undo: Undo, undoers: "Undoers") -> str:
    if undo.kind not in undoers:
        raise UndoFails("this version does not know how that is undone")
    try:
        return undoers[undo.kind](undo.arguments)
    except KeyError as error:
        raise UndoFails(f"the journal does not say the {error} of it; another version wrote it") from error


def orphaned(folder: Path) -> tuple[Path, ...]:
    """The journals in a folder whose harness does not run any more: runs that were killed, and left something."""
    return tuple(path for path in sorted(folder.glob("*.undo")) if not owner_alive(path)) if folder.is_dir() else ()


def owner_alive(path: Path) -> bool:
    """Whether the harness that writes this journal still runs (its name begins `<pid>-<start time>.`)."""
    pid, _, started = path.name.partition(".")[0].partition("-")
    return pid.isdigit() and started != "" and process_started(int(pid)) == started


def process_started(pid: int) -> str:
    """Start time of a process in clock ticks since boot, which with the pid names it for good; '' when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return ""
    except ProcessLookupError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def _kill_process(arguments: Mapping[str, str]) -> str:
    pid, started, what = int(arguments["pid"]), arguments["started"], arguments["what"]
    gone = f"process {pid} ({what}) was gone already"
    if not started or process_started(pid) != started:
        return gone
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # ended meanwhile
        return gone
    return f"process {pid} ({what}) killed"


def _remove_tree(arguments: Mapping[str, str]) -> str:
    path = Path(arguments["path"])
    if not (path / MARKER).exists():
        return (
            f"folder {path} was gone already" if not path.exists() else f"folder {path} left: it is not the harness's"
        )
    shutil.rmtree(path)
    return f"folder {path} removed"


_MOST_SHOWN = 200
MARKER = ".emco-chaos"
"""Name of the file that marks a folder as made by the harness: nothing else is ever removed."""

Undoers = Mapping[str, Callable[[Mapping[str, str]], str]]
"""What plays each kind of undo and returns a sentence. Raises UndoFails, OSError or SubprocessError."""

UNDOERS: Undoers = {
    "process": _kill_process,
    "folder": _remove_tree,
}


def _lines(path: Path) -> list[dict[str, int]]:
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def _all(path: Path) -> tuple[Undo, ...]:
    undos = []
    for line in _lines(path):
        if "do" in line:
            arguments = {name: str(value) for name, value in line.items() if name not in ("do", "kind")}
            undos.append(Undo(line["do"], str(line["kind"]), arguments))
    return tuple(undos)
