"""The order in which pytest-xdist's workers get tests: those that wait beside those that compute."""

import pytest

from harness.pytest_order import spread, without_group

TESTS = """
    import pytest

    def test_quick(): pass

    @pytest.mark.xdist_group("small")
    def test_small(): pass

    @pytest.mark.xdist_group("large")
    @pytest.mark.parametrize("number", range(3))
    def test_large(number): pass

    @pytest.mark.emco_slow
    @pytest.mark.parametrize("number", range(3))
    def test_slow(number): pass

    @pytest.mark.emco_slow
    @pytest.mark.xdist_group("small")
    def test_slow_in_a_group(): pass
"""


def groups(item: pytest.Item) -> list[str]:
    return [mark.args[0] for mark in item.iter_markers("xdist_group")]


@pytest.mark.parametrize(
    "workers, lanes",
    [(1, ["slow-0"] * 3), (2, ["slow-0"] * 3), (5, ["slow-0"] * 3), (6, ["slow-0", "slow-1", "slow-0"])],
)
def test_slow_tests_come_first_on_a_third_of_the_workers_and_then_the_largest_groups(
    pytester: pytest.Pytester, workers: int, lanes: list[str]
) -> None:
    items = pytester.getitems(TESTS)
    spread(items, workers=workers)
    assert [item.name for item in items] == [
        *(f"test_slow[{number}]" for number in range(3)),
        *(f"test_large[{number}]" for number in range(3)),
        "test_small",
        "test_slow_in_a_group",
        "test_quick",
    ]
    assert [group for item in items[:3] for group in groups(item)] == lanes
    assert [groups(item) for item in items[-3:]] == [["small"], ["small"], []]


@pytest.mark.parametrize(
    "given, place",
    [
        ("a@b/test_a.py::test_one", "a@b/test_a.py::test_one"),
        ("a@b/test_a.py::test_one@slow-0", "a@b/test_a.py::test_one"),
        ("test_a.py::test_one[create@before:x]", "test_a.py::test_one[create@before:x]"),
        ("test_a.py::test_one[create@before:x]@create", "test_a.py::test_one[create@before:x]"),
        ("test_a.py::test_one[a[b]]@slow-1", "test_a.py::test_one[a[b]]"),
        ("test_a.py", "test_a.py"),
    ],
)
def test_a_test_is_named_as_pytest_takes_it(given: str, place: str) -> None:
    assert without_group(given) == place
