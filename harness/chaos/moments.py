"""What is remembered of an experiment: moments, and calls with what their client was told."""

from concurrent.futures import Future
from dataclasses import dataclass

from harness.crashpoints.model import Told
from harness.faults.victim import HarnessTrouble


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment of the experiment. at: seconds of the relay's clock; seq, knock: where its history stood then."""

    name: str
    at: float
    seq: int
    knock: int


@dataclass(frozen=True, slots=True)
class Made:
    """A call that was made, and what the client was told. began, ended: seconds of the relay's clock."""

    call: str
    told: Told
    began: float
    ended: float


class Pending:
    """A call that is under way while the experiment goes on."""

    def __init__(self, name: str, future: "Future[Made]") -> None:
        self.name = name
        self._future = future

    @property
    def over(self) -> bool:
        """Whether it came to an end."""
        return self._future.done()

    def result(self, limit: float) -> Made:
        """What came of it. Raises HarnessTrouble when it is not over within `limit` seconds."""
        try:
            return self._future.result(limit)
        except TimeoutError:
            raise HarnessTrouble(f"{self.name} was not answered within {limit:g} s") from None


def held_mark(target: str) -> str:
    """Name of the mark where a link to a target, that is to flap once it was tried, began to refuse."""
    return f"held {target}"


def flaps_mark(target: str) -> str:
    """Name of the mark where it began to flap: whoever tried before was refused."""
    return f"flaps {target}"
