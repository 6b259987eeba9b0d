"""Which tests a platform cannot show: they are skipped before anything is brought up, and say why."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.pytest_plugin import pytest_runtest_setup


def item(platform: str, mark: pytest.MarkDecorator, **parameters: str) -> pytest.Item:
    given = {"emco_platform": platform}
    config = SimpleNamespace(getoption=given.get, getini=lambda _: "")
    marks = {mark.mark.name: mark.mark}
    callspec = SimpleNamespace(params=parameters)
    made: Any = SimpleNamespace(config=config, get_closest_marker=marks.get, callspec=callspec)
    return cast(pytest.Item, made)


ALWAYS, SOME = pytest.mark.emco_own_stores, pytest.mark.emco_own_stores(kinds=("crashed", "paused"))


@pytest.mark.parametrize(
    "platform,mark,kind,skipped",
    [
        ("kubernetes", ALWAYS, "refused", True),
        ("kubernetes", SOME, "paused", True),
        ("kubernetes", SOME, "refused", False),
        ("kind", ALWAYS, "refused", False),
        ("process", SOME, "paused", False),
    ],
)
def test_stores_of_somebody_else_are_kept_from_tests_that_kill_or_freeze_them(
    platform: str, mark: pytest.MarkDecorator, kind: str, skipped: bool
) -> None:
    if skipped:
        with pytest.raises(pytest.skip.Exception, match="the stores of an installed EMCO are somebody else's"):
            pytest_runtest_setup(item(platform, mark, kind=kind))
    else:
        pytest_runtest_setup(item(platform, mark, kind=kind))
