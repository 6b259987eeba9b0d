"""The tables that take minutes run only when they are asked for: `-m long`, or `-m "long or not long"` for all."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes; skipped unless -m names it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skipped, not deselected: the end of every run says that they were not done, and how to do them."""
    if "long" in (config.option.markexpr or ""):
        return
    skip = pytest.mark.skip(reason="takes minutes; -m long runs it")
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(skip)
