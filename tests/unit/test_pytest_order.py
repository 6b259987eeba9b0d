"""The order in which pytest-xdist's workers get tests: those that wait beside those that compute."""

import pytest

from harness.pytest_order import place_of, spread

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
    [(1, ["slow-0"] * 3), (2, ["slow-0"] * 3), (3, ["slow-0"] * 3), (6, ["slow-0", "slow-1", "slow-0"])],
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


def test_a_group_counts_by_the_name_that_xdist_gives_it(pytester: pytest.Pytester) -> None:
    items = pytester.getitems(
        """
        import pytest

        def test_in_slow_tests(): pass

        @pytest.mark.xdist_group("one")
        def test_one(): pass

        @pytest.mark.xdist_group(name="slow-x")
        @pytest.mark.parametrize("number", range(2))
        def test_two(number): pass
        """
    )
    spread(items, workers=2)
    assert [item.name for item in items] == ["test_two[0]", "test_two[1]", "test_in_slow_tests", "test_one"]


def test_where_most_tests_are_slow_each_is_one_of_its_own(pytester: pytest.Pytester) -> None:
    items = pytester.getitems(
        """
        import pytest

        def test_quick(): pass

        @pytest.mark.emco_slow
        @pytest.mark.parametrize("number", range(2))
        def test_slow(number): pass
        """
    )
    spread(items, workers=2)
    assert [item.name for item in items] == ["test_slow[0]", "test_slow[1]", "test_quick"]
    assert [groups(item) for item in items] == [[], [], []]


def test_a_test_is_named_as_pytest_takes_it(pytester: pytest.Pytester) -> None:
    items = pytester.getitems(
        """
        import pytest

        class TestMany:
            @pytest.mark.parametrize("point", ["create@before:x", "a]@b"])
            def test_one(self, point): pass

        def test_two(): pass
        """
    )
    places = [item.nodeid for item in items]
    for item in items:
        item._nodeid = f"{item.nodeid}@slow-0"  # as pytest-xdist does
    assert [place_of(item) for item in items] == places
    assert places[1].endswith("::TestMany::test_one[a]@b]")
