"""Which tests pytest-xdist's workers take first, with `--dist loadgroup`.

Slow tests wait, crash points compute. So slow ones are begun first and on a third of the workers only, while the others
take crash points; then the groups, the largest first: what comes last is short, and no worker is left alone with it.
xdist keeps to this order with `--no-loadscope-reorder`; by itself it goes by the size of the groups alone.
It adds `@group` to the names of tests in JUnit and in pytest's cache, so that of a slow test depends on the number of
workers.
"""

from collections import Counter
from collections.abc import Sequence

import pytest

_GROUP = "xdist_group"
_SLOW = "emco_slow"


def spread(items: list[pytest.Item], *, workers: int) -> None:
    """Bring tests into this order, in place. Slow tests that are in no group yet get one, a lane for a third of the
    workers, where there is enough else for the others; xdist never takes a group apart.

    items: all that were collected, before -k and -m choose: xdist writes down the groups before that. All workers get
    the same for the same ones.
    """
    slow = [item for item in items if item.get_closest_marker(_SLOW) and not item.get_closest_marker(_GROUP)]
    lanes = max(1, workers // 3)
    if len(slow) * workers <= lanes * len(items):
        _into_lanes(slow, lanes)
    groups = {item: _group(item) for item in items}
    sizes = Counter(groups.values())
    first = set(slow)
    items.sort(key=lambda item: (0, 0) if item in first else (1, -sizes[groups[item]]))


def _into_lanes(slow: Sequence[pytest.Item], lanes: int) -> None:
    for number, item in enumerate(slow):
        item.add_marker(pytest.mark.xdist_group(f"slow-{number % lanes}"))


def _group(item: pytest.Item) -> str:
    """What xdist keeps together, as it names it: the tests of a group, or one test."""
    names = {
        str(mark.args[0] if mark.args else mark.kwargs.get("name", "default")) for mark in item.iter_markers(_GROUP)
    }
    return "_".join(sorted(names)) or item.nodeid


def place_of(item: pytest.Item) -> str:
    """A test as pytest takes it on its command line: xdist adds `@group` to its nodeid, and to that alone."""
    return f"{item.parent.nodeid}::{item.name}" if item.parent is not None else item.nodeid
