"""What a source's tries to reach a target come to: how many, and how far apart. Pure functions over knocks.

rsync asks an edge for its version to see whether it is there, and beside that watches it; both knock. Where the request
was seen (reset, silent, one-way) that tells the two apart. Where nothing can be asked (refused, black hole) the way in
which they try again does: the loop that asks waits the same time again and again, a watch waits longer each time.
"""

import itertools
import math
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from harness.wire.knocks import Knock

REACHABLE = "GET /version"
"""How rsync asks whether an edge is there (client-go's ServerVersion)."""

_TOGETHER = 0.05  # seconds: connections asked for at the same time
_REPEATED = 1.5  # seconds: client-go itself asks again a second after a reset, ten times, before it says so
_SHORTEST = 0.5  # seconds: nobody tries again faster for long
_LOOSE, _LEAST_LOOSE, _MOST_LOOSE = 0.1, 0.15, 0.3  # share of the period, and seconds, that a try may be early or late
_FEWEST = 3
_OVER = 1.5  # times the period: a series in which the next try is that late has ended
_WAIT = 2.0  # seconds between two tries of rsync; no setting of it changes that


@dataclass(frozen=True, slots=True)
class Tries:
    """Tries to reach a target, as far as one can tell them from whatever else knocked.

    at:     when each began, seconds of the relay's clock
    others: knocks that are none of them: of a watch, or what a client repeats within one try
    """

    at: tuple[float, ...]
    others: int

    @property
    def spacing(self) -> tuple[float, ...]:
        """Seconds from each to the next."""
        return tuple(later - earlier for earlier, later in itertools.pairwise(self.at))

    @property
    def period(self) -> float:
        """Seconds between two tries as a rule (median); 0 for fewer than two."""
        return statistics.median(self.spacing) if len(self.at) > 1 else 0.0


def tries(knocks: Sequence[Knock]) -> Tries:
    """The tries among these knocks of one source on one target, in the order of time."""
    asked = [knock.at for knock in knocks if knock.asked == REACHABLE]
    if any(knock.asked for knock in knocks):
        began = bursts(asked, pause=_REPEATED)
        return Tries(began, len(knocks) - len(began))
    began = evenly_spaced(bursts([knock.at for knock in knocks], pause=_TOGETHER))
    return Tries(began, len(knocks) - len(began))


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


def beside_a_watch(moments: Sequence[float], *, lasts: float) -> tuple[float, ...]:
    """What is left of knocks when those are taken out that one watch can have made at the most.

    lasts: seconds that one waits for an answer; who asks alone does not ask again before. So what is left are tries,
    however unevenly a busy machine made them: at least so many there were.
    """
    left, free = [], -math.inf
    for at in sorted(moments):
        if at >= free:
            free = at + lasts
        else:
            left.append(at)
    return tuple(left)


def going_on(tries: Tries, now: float) -> bool:
    """Whether another try is to be expected: fewer than three are no series, and one that is long overdue has ended."""
    return len(tries.at) >= _FEWEST and now - tries.at[-1] < _OVER * tries.period + _WAIT


def bursts(moments: Sequence[float], *, pause: float) -> tuple[float, ...]:
    """Where each group of moments begins; groups lie at least `pause` apart."""
    ordered = sorted(moments)
    return tuple(at for before, at in zip([None, *ordered], ordered, strict=False) if _apart(before, at, pause))


def _apart(before: float | None, at: float, pause: float) -> bool:
    return before is None or at - before >= pause


def evenly_spaced(moments: Sequence[float]) -> tuple[float, ...]:
    """The longest run of moments the same time apart, give or take what a busy machine adds.

    Nothing where there is no such run of three; fewer moments than that say nothing, and all count.
    """
    best: tuple[float, ...] = ()
    for first, second in itertools.combinations(moments, 2):
        if second - first < _SHORTEST:
            continue
        run = _run(moments, first, second)
        if _weight(run) > _weight(best):
            best = run
    # The pauses of a watch double, so that three of its knocks may well be evenly spaced, with others between them;
    # but not as far apart as rsync's.
    enough = 2 * len(best) > len(moments) or _as_rsync(best)
    if len(best) > _FEWEST or (len(best) == _FEWEST and enough):
        return best
    return tuple(moments) if len(moments) < _FEWEST else ()


def _weight(run: Sequence[float]) -> tuple[bool, int, float]:
    """What speaks for a run: the pauses of rsync, its length, how far it reaches.

    Tries and the first knocks of a watch can together be as evenly spaced, and more of them: half as far apart.
    """
    return (_as_rsync(run), len(run), run[-1] - run[0]) if run else (False, 0, 0.0)


def _as_rsync(run: Sequence[float]) -> bool:
    pauses = [later - earlier for earlier, later in itertools.pairwise(run)]
    return len(run) >= _FEWEST and all(abs(pause - _WAIT) <= _MOST_LOOSE for pause in pauses)


def _run(moments: Sequence[float], first: float, second: float) -> tuple[float, ...]:
    period = second - first
    loose = min(max(_LEAST_LOOSE, _LOOSE * period), _MOST_LOOSE)
    run = [first, second]
    while True:
        due = run[-1] + period
        near = [at for at in moments if at > run[-1] and abs(at - due) <= loose]
        if not near:
            return tuple(run)
        run.append(min(near, key=lambda at: abs(at - due)))


def goes_on(seen: Tries, knocks: Sequence[Knock], *, after: float) -> int:
    """How many tries followed after a moment: in step with those before it, or evenly spaced by themselves.

    A single knock is a watch's, most likely: at least two tries in a row mean that somebody still tries; where they
    are not in step with those before (one was late, or did not come) three as far apart as rsync's, or four.
    """
    period = seen.period
    later = [knock for knock in knocks if knock.at > after]
    if any(knock.asked for knock in knocks):
        return len(bursts([knock.at for knock in later if knock.asked == REACHABLE], pause=_REPEATED))
    if not period:
        return len(later)
    run = _run([*seen.at, *(knock.at for knock in later)], seen.at[-1] - period, seen.at[-1])
    anew = tries(later).at
    enough = len(anew) > _FEWEST or _as_rsync(anew)
    return max(sum(at > after for at in run), len(anew) if enough else 0)
