"""Which tests a platform cannot show: they are skipped before anything is brought up, and say why."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.pytest_plugin import pytest_collection_modifyitems, pytest_runtest_setup


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


REFERENCE = pytest.mark.emco_reference("real rsync waits 120 s")


@pytest.mark.parametrize(
    "platform, options, skipped",
    [
        ("process", {}, False),
        ("kind", {}, False),
        ("process", {"emco_bin": "DIR"}, True),
        ("kind", {"emco_version": "22.09"}, True),
        ("kubernetes", {}, True),
    ],
)
def test_what_only_the_reference_can_do_is_skipped_with_real_emco(
    platform: str, options: dict[str, str], skipped: bool
) -> None:
    one = item(platform, REFERENCE)
    cast(Any, one).config.getoption = {"emco_platform": platform, **options}.get
    if skipped:
        with pytest.raises(pytest.skip.Exception, match="takes the reference EMCO: real rsync waits 120 s"):
            pytest_runtest_setup(one)
    else:
        pytest_runtest_setup(one)


@pytest.mark.parametrize(
    "platform, given, marks, limit",
    [
        ("kind", None, {}, 900),
        ("kubernetes", None, {}, 900),
        ("process", None, {}, None),
        ("kind", 50.0, {}, None),
        ("kind", None, {"timeout": pytest.mark.timeout(20).mark}, None),
    ],
)
def test_in_a_cluster_a_test_has_longer_unless_somebody_says_how_long(
    platform: str, given: float | None, marks: dict[str, pytest.Mark], limit: int | None
) -> None:
    added: list[Any] = []
    one = SimpleNamespace(get_closest_marker=marks.get, add_marker=added.append)
    options = {"emco_platform": platform, "timeout": given}
    config: Any = SimpleNamespace(
        option=SimpleNamespace(),
        getoption=lambda name, default=None: options.get(name, default),
        getini=lambda _: "",
        pluginmanager=SimpleNamespace(hasplugin=lambda name: name == "timeout"),
    )
    pytest_collection_modifyitems(config, cast(Any, [one]))
    assert [mark.mark.args[0] for mark in added] == ([limit] if limit else [])
