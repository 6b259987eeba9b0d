"""The seam between faults and whatever can be a victim: an OS process today, a pod through the same Protocol."""

import signal as signals
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Death:
    """How a victim ended, as its parent learned it by reaping.

    signal:   number of the signal that ended it, 0 when it exited by itself
    code:     exit code, 0 when a signal ended it
    unreaped: what was done to it and seen of its end, where nobody within reach could reap it; its pid is 0 then, its
              signal and code are 0 where nobody told of them
    overlap:  seconds for which a replacement may have run beside it
    """

    victim: str
    pid: int
    signal: int
    code: int
    unreaped: str = ""
    overlap: float = 0.0

    @property
    def was_killed(self) -> bool:
        """Whether it was killed, rather than ended by itself."""
        return self.signal == signals.SIGKILL or self.unreaped != ""

    def describe(self) -> str:
        """`SIGKILL reaped (pid 4711)` or `exit code 1 (pid 4711)`, or what was seen where nobody reaped it."""
        if self.unreaped:
            return self.unreaped
        how = f"{signals.Signals(self.signal).name} reaped" if self.signal else f"exit code {self.code}"
        return f"{how} (pid {self.pid})"


class Victim(Protocol):
    """Something that can be crashed and started again."""

    @property
    def name(self) -> str:
        """The service's name, as used by the relay's links."""

    async def crash(self) -> Death:
        """Kill it at once (SIGKILL) and return what was reaped. Raises HarnessTrouble when it was not running."""

    async def start(self) -> None:
        """Start it and return when it answers by its protocol. Raises ServiceDown with its log when it does not."""


class HarnessTrouble(Exception):
    """The harness, not the system under test, is at fault: the outcome is unknown."""


class UsageError(Exception):
    """Wrong settings or files; nothing was started. Ends with exit code 2."""


class ServiceDown(Exception):
    """A service did not come up, or went down without being asked to; carries the tail of its log."""

    def __init__(self, name: str, sentence: str, log: str) -> None:
        super().__init__(f"{name}: {sentence}")
        self.name = name
        self.log = log
