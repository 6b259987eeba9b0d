"""The objects, their versions, and the history that watches are fed from.

Stored objects are values: every write puts a new dict in place and none is changed afterwards, so readers and events
may share them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from harness.platforms.edge_emulator.problems import expired

Json = dict[str, Any]


class Key(NamedTuple):
    """Where an object lives: one place whatever version it is asked for in. `namespace` is empty for cluster scope."""

    group: str
    plural: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Change:
    """One write. `old` is None for a creation; for a deletion `new` is the last state, with the deletion's version."""

    kind: Literal["created", "updated", "deleted"]
    key: Key
    old: Json | None
    new: Json
    version: int


Listener = Callable[[Change], None]


class Storage:
    """Objects by key, with one version counter that never goes back (not even on restore).

    history: how many changes a late watch can catch up on
    """

    def __init__(self, *, history: int = 10_000) -> None:
        self._objects: dict[Key, Json] = {}
        self._version = 0
        self._oldest = 0
        self._history: deque[Change] = deque(maxlen=history)
        self._listeners: list[Listener] = []
        self._untold: deque[Change] = deque()
        self._telling = False

    @property
    def version(self) -> int:
        """The version of the latest write."""
        return self._version

    def get(self, key: Key) -> Json | None:
        return self._objects.get(key)

    def items(self) -> Iterator[tuple[Key, Json]]:
        """All objects, in the order of their creation; safe against writes meanwhile."""
        return iter(list(self._objects.items()))

    def select(self, group: str, plural: str, namespace: str = "") -> list[tuple[Key, Json]]:
        """The objects of a resource, in a namespace or (empty) in all."""
        return [
            (key, obj)
            for key, obj in self._objects.items()
            if (key.group, key.plural) == (group, plural) and namespace in ("", key.namespace)
        ]

    def put(self, key: Key, obj: Json) -> Json:
        """Store `obj` (not copied) under the next version and tell the listeners. Returns it as stored."""
        old = self._objects.get(key)
        self._version += 1
        stored = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self._version)}}
        self._objects[key] = stored
        self._tell(Change("updated" if old else "created", key, old, stored, self._version))
        return stored

    def remove(self, key: Key) -> Json:
        """Take the object out and tell the listeners. Returns its last state. KeyError if there is none."""
        old = self._objects.pop(key)
        self._version += 1
        last = {**old, "metadata": {**old["metadata"], "resourceVersion": str(self._version)}}
        self._tell(Change("deleted", key, old, last, self._version))
        return last

    def replace_all(self, objects: Iterable[tuple[Key, Json]]) -> None:
        """Hold exactly these objects, versions included. Nobody is told; watches of before cannot be resumed."""
        self._objects = dict(objects)
        versions = [int(obj["metadata"]["resourceVersion"]) for obj in self._objects.values()]
        # Beyond all versions of both sides: whoever resumes from before is sent back to a new list.
        self._version = max([self._version, *versions]) + 1
        self._oldest = self._version
        self._history.clear()

    def since(self, version: int) -> list[Change]:
        """The changes after `version`. Raises ApiError (410 Expired) if it is not, or no longer, in the history."""
        if not self._oldest <= version <= self._version:
            raise expired(version, self._oldest)
        return [change for change in self._history if change.version > version]

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after each write from now on, in order of registration. Returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _tell(self, change: Change) -> None:
        if len(self._history) == self._history.maxlen:
            self._oldest = self._history[0].version
        self._history.append(change)
        self._untold.append(change)
        if self._telling:
            return  # a listener wrote: everybody hears of the first write before the second
        self._telling = True
        try:
            while self._untold:
                told = self._untold.popleft()
                for listener in tuple(self._listeners):
                    listener(told)
        finally:
            self._telling = False
