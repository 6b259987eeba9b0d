"""What was learned, on disk: lessons and control states of a workload under one digest, snapshots stored once each."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.crashpoints.lab import Subject
from harness.crashpoints.learn import Controls, Lesson, Seen
from harness.crashpoints.model import Told
from harness.crashpoints.survey import Survey
from harness.stores.canonical import Mask
from harness.stores.snapshot import Snapshot, SnapshotError, read_snapshot, write_snapshot

_USED = "used"
_MOST_LIBRARIES = 20
_OLDEST = 60 * 24 * 3600.0
_IN_USE = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class _LessonRecord:
    """A lesson with its snapshots by name."""

    call: str
    before: str
    told: Told
    effects: tuple[Seen, ...]
    after: str


@dataclass(frozen=True, slots=True)
class _ControlsRecord:
    before: tuple[str, ...]
    after: tuple[str, ...]
    twice: str
    repeat: Told
    stays: tuple[str, ...]
    undone: str | None
    undo: tuple[Told, ...]
    redone: str | None
    redo: Told | None
    torn: str | None
    effects: tuple[tuple[Seen, ...], ...]
    masks: tuple[Mask, ...]
    there: dict[str, str]


class Library:
    """One folder for one digest and one environment; written by whoever learns, read by all workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._snapshots: dict[str, Snapshot] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # snapshots hold kubeconfigs and keys
        (folder / "snapshots").mkdir(exist_ok=True)
        (folder / _USED).touch()

    def lesson(self, index: int, subject: Subject) -> Lesson | None:
        """What was learned of call number `index`; None when it was not, or when it is another call."""
        path = self.folder / f"lesson-{index}.json"
        if not path.exists():
            return None
        record = msgspec.json.decode(path.read_bytes(), type=_LessonRecord)
        if record.call != subject.call.name:
            return None
        return Lesson(subject, self._get(record.before), record.told, record.effects, self._get(record.after))

    def keep_lesson(self, index: int, lesson: Lesson) -> None:
        before, after = self._put(lesson.before), self._put(lesson.after)
        record = _LessonRecord(lesson.subject.call.name, before, lesson.told, lesson.effects, after)
        _write(self.folder / f"lesson-{index}.json", record)

    def controls(self, name: str) -> Controls | None:
        """The control states of a call; None when they were not learned."""
        path = self._path("controls", name)
        if not path.exists():
            return None
        record = msgspec.json.decode(path.read_bytes(), type=_ControlsRecord)
        return Controls(
            before=tuple(map(self._get, record.before)),
            after=tuple(map(self._get, record.after)),
            twice=self._get(record.twice),
            repeat=record.repeat,
            stays=frozenset(record.stays),
            undone=self._get(record.undone) if record.undone else None,
            undo=record.undo,
            redone=self._get(record.redone) if record.redone else None,
            redo=record.redo,
            torn=self._get(record.torn) if record.torn else None,
            effects=record.effects,
            masks=record.masks,
            there={name: self._get(stored) for name, stored in record.there.items()},
        )

    def runs(self, name: str) -> tuple[tuple[Seen, ...], ...]:
        """The call's own effects in each of its control runs; nothing when these were not made."""
        path = self._path("controls", name)
        return msgspec.json.decode(path.read_bytes(), type=_ControlsRecord).effects if path.exists() else ()

    def keep_controls(self, name: str, controls: Controls) -> None:
        record = _ControlsRecord(
            before=tuple(map(self._put, controls.before)),
            after=tuple(map(self._put, controls.after)),
            twice=self._put(controls.twice),
            repeat=controls.repeat,
            stays=tuple(sorted(controls.stays)),
            undone=self._put(controls.undone) if controls.undone else None,
            undo=controls.undo,
            redone=self._put(controls.redone) if controls.redone else None,
            redo=controls.redo,
            torn=self._put(controls.torn) if controls.torn else None,
            effects=controls.effects,
            masks=controls.masks,
            there={name: self._put(snapshot) for name, snapshot in controls.there.items()},
        )
        _write(self._path("controls", name), record)

    def survey(self, name: str) -> Survey | None:
        """What others do because of a call; None when it was not looked at."""
        path = self._path("survey", name)
        return msgspec.json.decode(path.read_bytes(), type=Survey) if path.exists() else None

    def keep_survey(self, found: Survey) -> None:
        _write(self._path("survey", found.call), found)

    def _path(self, kind: str, name: str) -> Path:
        return self.folder / f"{kind}-{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"

    def _put(self, snapshot: Snapshot) -> str:
        name = _digest(snapshot)
        path = self.folder / "snapshots" / f"{name}.json"
        if not path.exists():
            write_snapshot(path, snapshot)
        self._snapshots[name] = snapshot
        return name

    def _get(self, name: str) -> Snapshot:
        if name not in self._snapshots:
            path = self.folder / "snapshots" / f"{name}.json"
            if not path.exists():
                raise SnapshotError(f"{path} is missing; remove {self.folder} and learn again")
            self._snapshots[name] = read_snapshot(path)
        return self._snapshots[name]


def prune(cache: Path, *, now: float) -> tuple[str, ...]:
    """Remove libraries that nobody has used for long, and beyond a number those unused longest; their names.

    One that was used within the last hours may be in use, and is left alone. now: wall clock in seconds
    """
    known = [(path, _used(path)) for path in cache.iterdir() if (path / "snapshots").is_dir()] if cache.is_dir() else []
    known.sort(key=lambda pair: -pair[1])
    old = [
        path
        for place, (path, used) in enumerate(known)
        if now - used > _OLDEST or (place >= _MOST_LIBRARIES and now - used > _IN_USE)
    ]
    for path in old:
        shutil.rmtree(path, ignore_errors=True)  # what another process removes at this moment is gone, too
    return tuple(path.name for path in old)


def _used(path: Path) -> float:
    """When it was opened last; Library() says so."""
    try:
        return (path / _USED).stat().st_mtime
    except FileNotFoundError:
        return path.stat().st_mtime


def _write(path: Path, record: object) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(record))
    temporary.replace(path)


def _digest(snapshot: Snapshot) -> str:
    content = hashlib.sha256(snapshot.environment.encode())
    for name in sorted(snapshot.mongo):
        content.update(name.encode())
        for raw in snapshot.mongo[name]:  # in their order: it counts when they are restored
            content.update(raw)
    for key in sorted(snapshot.etcd):
        content.update(b"%d %s %d %s" % (len(key), key, len(snapshot.etcd[key]), snapshot.etcd[key]))
    content.update(msgspec.json.encode(snapshot.edges, order="sorted"))
    return content.hexdigest()[:24]
