"""Containers whose process ended without the harness's doing, in the order in which the node told of them.

The node is faster than the watch of pods: whose container it was is often known only later, so they are kept.
"""

_MOST_KEPT = 4096


class Exits:
    """Keeps the latest of them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._last = 0

    @property
    def now(self) -> int:
        """A moment: only what is told of later came after it."""
        return self._last

    def add(self, container: str) -> None:
        """The process of this container has ended."""
        self._last += 1
        self._numbers[container] = self._last
        if len(self._numbers) > _MOST_KEPT:
            del self._numbers[next(iter(self._numbers))]

    def forget(self, *containers: str) -> None:
        """Their ends mean nothing."""
        for one in containers:
            self._numbers.pop(one, None)

    def came(self, *containers: str, since: int) -> bool:
        """Whether the process of one of these containers ended after a moment."""
        return any(self._numbers.get(one, 0) > since for one in containers)
