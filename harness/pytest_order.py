"""Which tests pytest-xdist's workers take first, with `--dist loadgroup`.

Slow tests wait, crash points compute. So slow ones are begun first and on a third of the workers only, while the others
take crash points; then the groups, the largest first: what comes last is short, and no worker is left alone with it.
xdist keeps to this order with `--no-loadscope-reorder`; by itself it goes by the size of the groups alone.
"""

from collections import Counter

import pytest

_GROUP = "xdist_group"
_SLOW = "emco_slow"
_LANE = "slow-"


def spread(items: list[pytest.Item], *, workers: int) -> None:
    """Bring tests into this order, in place; a slow test that is in no group yet gets one.

    All workers get the same, for the same tests.
    """
    lanes = max(1, workers // 3)
    slow = [item for item in items if item.get_closest_marker(_SLOW) and not item.get_closest_marker(_GROUP)]
    for number, item in enumerate(slow):
        item.add_marker(pytest.mark.xdist_group(f"{_LANE}{number % lanes}"))
    groups = {item: _group(item) for item in items}
    sizes = Counter(groups.values())
    items.sort(key=lambda item: (0, 0) if groups[item].startswith(_LANE) else (1, -sizes[groups[item]]))


def _group(item: pytest.Item) -> str:
    """What xdist keeps together: the tests of a group, or one test."""
    return "_".join(sorted(str(mark.args[0]) for mark in item.iter_markers(_GROUP) if mark.args)) or item.nodeid


def without_group(nodeid: str) -> str:
    """A test's id as pytest takes it: xdist adds `@group` to it."""
    if nodeid.endswith("]"):
        return nodeid
    if "]" in nodeid:
        return nodeid[: nodeid.rindex("]") + 1]
    place, _, name = nodeid.rpartition("::")
    return f"{place}::{name.partition('@')[0]}" if place else nodeid
