"""Tries to reach a target, as they are noted."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Knock:
    """A source tried to reach a target: how retries are counted, whatever comes of them.

    kind:  `connect`, a connection was asked for; `send`, something was asked over a connection that was there before,
           on a link that keeps it, or its reply, back
    at:    seconds of the relay's clock
    asked: the first thing that was asked over a broken link, `GET /version`; empty where it is not plain HTTP, and
           where nothing could be asked
    """

    at: float
    source: str
    target: str
    kind: Literal["connect", "send"]
    asked: str = ""
