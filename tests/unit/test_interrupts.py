"""An interrupt at a moment that pytest cannot show waits for the next one."""

import signal
import time
from collections.abc import Iterator

import pytest

from harness.pytest_support import interrupt


@pytest.fixture(autouse=True)
def handled() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, interrupt)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_says_what_it_was() -> None:
    with pytest.raises(KeyboardInterrupt, match="ended by SIGINT"):
        signal.raise_signal(signal.SIGINT)


def test_inside_of_code_without_lines_it_comes_a_little_later() -> None:
    """As the compiler makes it for the end of a `with`: pytest's own traceback fails on it."""
    lineless = compile("raised(number)", "lineless", "exec").replace(co_linetable=b"")
    exec(lineless, {"raised": signal.raise_signal, "number": signal.SIGINT})  # noqa: S102  the code is above
    with pytest.raises(KeyboardInterrupt, match="ended by SIGINT"):
        time.sleep(30)
