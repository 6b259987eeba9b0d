"""What a source's tries to reach a target come to: how many, and how far apart. Pure functions over knocks.

rsync asks an edge for its version to see whether it is there, and beside that watches it; both knock. Where the request
was seen (reset, silent, one-way) that tells the two apart. Where nothing can be asked (refused, black hole) the pauses
that each of them must keep do (harness.chaos.unravelling). Where neither tells it, the number is in doubt, and says so.
"""

import itertools
import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from harness.chaos.unravelling import PAUSE, readings
from harness.wire.knocks import Knock

REACHABLE = "GET /version"
"""How rsync asks whether an edge is there (client-go's ServerVersion)."""

CONNECTS = 30.0
"""Seconds that client-go waits for a connection where packets vanish."""

_TOGETHER = 0.05  # seconds: connections asked for at the same time
_REPEATED = 1.5  # seconds: client-go itself asks again a second after a reset, before it says so
_ASKED = 11  # times at the most within one try
_FEWEST = 3
_LATE = 0.5  # seconds that the pauses of a series are late on average at the most, to be shown rather than another
_OVER = 1.5  # times the period: a series in which the next try is that late has ended


@dataclass(frozen=True, slots=True)
class Tries:
    """Tries to reach a target, as far as one can tell them from whatever else knocked.

    at:     when each began, seconds of the relay's clock; the likeliest where there is doubt
    others: knocks that are none of them: of a watch, or what a client repeats within one try
    doubt:  None, or how many tries there were at least and at the most
    """

    at: tuple[float, ...]
    others: int
    doubt: tuple[int, int] | None = None

    @property
    def fewest(self) -> int:
        """So many there were for certain."""
        return self.doubt[0] if self.doubt else len(self.at)

    @property
    def most(self) -> int:
        """More there cannot have been."""
        return self.doubt[1] if self.doubt else len(self.at)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Seconds from each to the next."""
        return tuple(later - earlier for earlier, later in itertools.pairwise(self.at))

    @property
    def period(self) -> float:
        """Seconds between two tries as a rule (median); 0 for fewer than two."""
        return statistics.median(self.spacing) if len(self.at) > 1 else 0.0


def tries(knocks: Sequence[Knock], *, lasts: float = 0.0, ended: float | None = None) -> Tries:
    """The tries among these knocks of one source on one target, in the order of time.

    lasts: seconds until who knocks gives up waiting, where nobody answers
    ended: when the source said that it tries no more, which it does right after the last try
    """
    if _all_told(knocks, lasts):
        return _asked([knock.at for knock in knocks if knock.asked == REACHABLE], len(knocks))
    moments = [knock.at for knock in knocks]
    found = readings(moments, lasts=lasts, ended=ended, known=_known(knocks))
    if not found:
        return Tries((), len(moments), (0, len(bursts(moments, pause=_TOGETHER))))
    series = {n: one.at for n, one in found.items() if n >= _FEWEST and one.late <= _LATE * (n - 1)}
    at = series[max(series)] if series else found[min(found)].at
    return Tries(at, len(moments) - len(at), (min(found), max(found)) if len(found) > 1 else None)


def _all_told(knocks: Sequence[Knock], lasts: float) -> bool:
    """Whether it was seen of each what it asked: in a black hole that is so only over a connection that was there."""
    return any(knock.asked for knock in knocks) and (not lasts or all(knock.asked for knock in knocks))


def _known(knocks: Sequence[Knock]) -> Mapping[float, bool]:
    return {knock.at: knock.asked == REACHABLE for knock in knocks if knock.asked}


def _asked(moments: Sequence[float], knocks: int) -> Tries:
    """Tries that were seen to ask. One that is repeated, and late, may look like two."""
    began = bursts(moments, pause=_REPEATED)
    ordered = sorted(moments)
    repeats = any(_TOGETHER * 2 < later - earlier < _REPEATED for earlier, later in itertools.pairwise(ordered))
    fewest = math.ceil(len(moments) / _ASKED) if repeats else len(began)
    return Tries(began, knocks - len(began), (fewest, len(began)) if fewest < len(began) else None)


def tried(knocks: Sequence[Knock], edges: Collection[str]) -> int:
    """How often targets were tried, each by each source: edges as above; of others, connections asked for at the same
    time are one try."""
    series: dict[tuple[str, str], list[Knock]] = {}
    for knock in knocks:
        series.setdefault((knock.source, knock.target), []).append(knock)
    return sum(
        len(tries(found).at) if target in edges else len(bursts([one.at for one in found], pause=_TOGETHER))
        for (_, target), found in series.items()
    )


def going_on(tries: Tries, now: float) -> bool:
    """Whether another try is to be expected: fewer than three are no series, and one that is long overdue has ended."""
    return len(tries.at) >= _FEWEST and now - tries.at[-1] < _OVER * tries.period + PAUSE


def bursts(moments: Sequence[float], *, pause: float) -> tuple[float, ...]:
    """Where each group of moments begins; groups lie at least `pause` apart."""
    ordered = sorted(moments)
    return tuple(at for before, at in zip([None, *ordered], ordered, strict=False) if _apart(before, at, pause))


def _apart(before: float | None, at: float, pause: float) -> bool:
    return before is None or at - before >= pause


def goes_on(knocks: Sequence[Knock], *, after: float, lasts: float = 0.0) -> int | None:
    """How many tries followed after a moment, at least: knocks that cannot be a watch's. None: that cannot be told."""
    if _all_told(knocks, lasts):
        return _asked([knock.at for knock in knocks if knock.asked == REACHABLE and knock.at > after], 0).fewest
    found = readings([knock.at for knock in knocks], lasts=lasts, after=after, known=_known(knocks))
    return min(found) if found else None
