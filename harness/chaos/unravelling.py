"""Which knocks at a closed door are tries and which are a watch's, where nothing was asked that would tell.

Both keep to rules that no load of the machine can break, as a timer never ends early: the loop that tries waits the
same pause after each try, a watch (client-go's reflector) twice as long each time. Load only makes pauses longer. So
every knock belongs to one of the two, in one of the ways that the rules allow; all of them are looked at. Where they
differ in the number of tries, nobody can tell it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TypeVar

PAUSE = 2.0
"""Seconds between two tries of rsync, from the end of one to the beginning of the next; nothing sets them."""

_LATEST = 2.0  # seconds that a pause may be too long: a later try is not told from one that did not come
_EXACT = 0.02  # seconds: what clocks and the reading of them add
_TOGETHER = 0.25  # seconds between the two looks of one try
_FIRST, _LONGEST = 0.8, 30.0  # seconds a watch waits, and twice that at the most
_ANSWERED = 2.0  # seconds longer than for a connection that one waits for an answer over one that was there
_ALONE = 3  # knocks
_ON_TIME, _MUCH = 0.1, 0.5  # seconds of lateness, all pauses together
_AT_ONCE = 0.3  # seconds after its last try at which who gives up says so
_STEPS = 7  # of a watch's pauses until they do not become longer


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read knocks. at: the tries of the longest series; late: seconds that all pauses are longer than they
    have to be."""

    at: tuple[float, ...]
    late: float


@dataclass(frozen=True, slots=True)
class _State:
    """What was taken for what: the last try of each series, the last knock of a watch and which of its pauses is next
    at the earliest. first: the first try, while the watch has not knocked."""

    series: tuple[float, ...] = ()
    watch: float | None = None
    step: int = 0
    first: float | None = None

    def tried(self, which: int, at: float) -> "_State":
        """The state after one more try."""
        series = _with(self.series, which, at) if which < len(self.series) else (*self.series, at)
        first = at if self.watch is None and self.first is None else self.first
        return _State(series, self.watch, self.step, first)


def readings(
    moments: Sequence[float],
    *,
    lasts: float = 0.0,
    ended: float | None = None,
    after: float | None = None,
    known: Mapping[float, bool] = MappingProxyType({}),
) -> Mapping[int, Reading]:
    """By the number of tries of the longest series, of the ways to read knocks that have it the one with the shortest
    pauses; none: nothing at all explains them.

    The simplest explanation counts: three tries or more and nobody else, as a watch that runs beside them knocks
    between two of them early on; a series and a watch; one in which rsync may look twice within a try, as it does when
    it loses an edge at work; two series and a watch, when it works on two contexts of an edge.

    lasts: seconds until who knocks gives up waiting for an answer
    ended: when the one that tries said that it does not any more: that is right after its last try
    after: the number is that of all tries after this moment
    known: of some of the moments, whether they are tries, as it was seen what was asked
    """
    ordered = tuple(sorted(moments))
    if len(ordered) >= _ALONE and (found := _Rules(lasts, ended, after, known, watch=False).read(ordered)):
        most = max(found)
        return {most: found[most]}
    for number, twice in ((1, False), (1, True), (2, True)):
        if found := _Rules(lasts, ended, after, known, number, twice).read(ordered):
            return _likely(found)
    return {}


def _likely(found: Mapping[int, Reading]) -> Mapping[int, Reading]:
    """Without readings that need much lateness where another one, with a series, needs none: on a machine that is late
    nothing that is read rightly is exact, and on one that is not nothing is late. Two or three moments fit by chance.
    """
    exact = any(one.late <= _ON_TIME and len(one.at) >= _ALONE for one in found.values())
    least = min(one.late for one in found.values())
    return {number: one for number, one in found.items() if one.late < least + _MUCH} if exact else found


_Count = tuple[int, ...]
_Told = tuple[float, tuple[tuple[float, ...], ...]]
T = TypeVar("T")


def _with(values: tuple[T, ...], place: int, value: T) -> tuple[T, ...]:
    return (*values[:place], value, *values[place + 1 :])


@dataclass(frozen=True, slots=True)
class _Rules:
    lasts: float
    ended: float | None
    after: float | None
    known: Mapping[float, bool]
    series: int = 1
    twice: bool = False
    watch: bool = True

    def read(self, moments: tuple[float, ...]) -> Mapping[int, Reading]:
        @cache
        def rest(place: int, state: _State) -> Mapping[_Count, _Told]:
            """By the numbers of tries from here on: how late at least, and the tries of each series."""
            if place == len(moments):
                late = self._ends(state)
                return {} if late is None else {(0,) * self.series: (late, ((),) * self.series)}
            best: dict[_Count, _Told] = {}
            at = moments[place]
            for following, which, late in self._steps(state, at):
                for number, (later, tries) in rest(place + 1, following).items():
                    counts = which is not None and (self.after is None or at > self.after)
                    counted = _with(number, which, number[which] + 1) if which is not None and counts else number
                    told = tries if which is None else _with(tries, which, (at, *tries[which]))
                    if counted not in best or late + later < best[counted][0]:
                        best[counted] = (late + later, told)
            return best

        found: dict[int, Reading] = {}
        for numbers, (late, tries) in rest(0, _State()).items():
            number = max(numbers) if self.after is None else sum(numbers)
            if number not in found or late < found[number].late:
                found[number] = Reading(max(tries, key=len), late)
        return found

    def _ends(self, state: _State) -> float | None:
        """How late it was said that it tries no more; None: a try would have followed before."""
        if self.ended is None:
            return 0.0
        lags = [self.ended - last for last in state.series if -_EXACT <= self.ended - last < PAUSE]
        return max(0.0, min(lags) - _AT_ONCE) if lags else None

    def _steps(self, state: _State, at: float) -> list[tuple[_State, int | None, float]]:
        """What a knock may be: the state after it, in which series it is a try, and seconds that it is late."""
        found: list[tuple[_State, int | None, float]] = []
        shortest = self.lasts + PAUSE
        longest = shortest + _LATEST + (_ANSWERED if self.lasts else 0.0)
        for which, last in enumerate(state.series):
            if shortest - _EXACT <= at - last <= longest + _EXACT:
                found.append((state.tried(which, at), which, max(0.0, at - last - shortest)))
            elif self.twice and at - last <= _TOGETHER:
                found.append((state, None, 0.0))
        if len(state.series) < self.series:
            found.append((state.tried(len(state.series), at), len(state.series), 0.0))
        if at in self.known:
            found = [one for one in found if one[1] is not None] if self.known[at] else []
        if self.watch and not self.known.get(at):
            found += [(_State(state.series, at, step), None, late) for step, late in self._of_watch(state, at)]
        return found

    def _of_watch(self, state: _State, at: float) -> list[tuple[int, float]]:
        """Which of its pauses may be next when it knocks, and how late that is."""
        if state.watch is None:
            return [(self._begins_at(state, at), 0.0)]
        found: list[tuple[int, float]] = []
        for step in range(state.step, _STEPS):
            least = _pause(step)
            gap = at - state.watch - self.lasts
            if least - _EXACT <= gap <= 2 * least + _LATEST:
                found.append((min(step + 1, _STEPS - 1), max(0.0, gap - 2 * least)))
        return found

    def _begins_at(self, state: _State, at: float) -> int:
        """A watch begins with the tries at the latest: one that has not knocked since is in a longer pause."""
        waited = at - state.first - self.lasts if state.first is not None else 0.0
        if waited <= _LATEST:
            return 0
        step = next((step for step in range(_STEPS) if 2 * _pause(step) + _LATEST >= waited), _STEPS)
        return min(step + 1, _STEPS - 1)


def _pause(step: int) -> float:
    return min(_FIRST * 2.0**step, _LONGEST)
