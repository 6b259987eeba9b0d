"""What was seen around a broken link, as one value, and what can be read from it. Nothing is asked anew."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from harness.chaos.attempts import CONNECTS, Tries, goes_on, tries
from harness.chaos.moments import flaps_mark, held_mark
from harness.chaos.stage import Stage
from harness.chaos.watching import Seen
from harness.platforms.disruptions import Partition
from harness.wire.effects import Observation
from harness.wire.knocks import Knock

_ARRIVES = ("one-way", "slow", "flapping")  # kinds of broken links over which something arrives
_MOMENT = 5.0  # seconds; where everything is fast it is a tenth of one
_TURN = 0.15  # share of the time between two turns of a flapping link
_QUEUE = "AppContextEventQueue/"
_REPORT = "/resourcebundlestates"


@dataclass(frozen=True, slots=True)
class Recording:
    """A partition, from the moment at which the links broke.

    target: the pattern of the edges that were lost, or `git`;  how: the way in which
    edges:  all of them;  marks: moments by name, the latest of each
    seen:   what was new of the group, look by look, the first from before the links broke
    knocks, effects: rsync's on edges and the target, since then
    """

    group: str
    target: str
    how: Partition
    edges: tuple[str, ...]
    marks: Mapping[str, float]
    seen: tuple[Seen, ...]
    knocks: tuple[Knock, ...]
    effects: tuple[Observation, ...]

    # -- moments ----------------------------------------------------------------------------------------------------

    @property
    def broke(self) -> float:
        """When the links broke, seconds of the relay's clock."""
        return self.marks[f"partition {self.target}"]

    @property
    def healed(self) -> float | None:
        """When they were healed; None when they were not."""
        return self.marks.get(f"heal {self.target}")

    @property
    def end(self) -> float:
        """The last moment of which anything is known."""
        last = (*self.marks.values(), *(one.at for one in self.seen), *(one.at for one in self.knocks))
        return max(last)

    def after_heal(self, mark: str) -> float | None:
        """Seconds from healing to a later mark; None where there is none."""
        at = self.marks.get(mark)
        return None if at is None or self.healed is None else max(0.0, at - self.healed)

    # -- the edges --------------------------------------------------------------------------------------------------

    @property
    def lost(self) -> tuple[str, ...]:
        """The edges whose links broke, or what else stands behind them."""
        return tuple(edge for edge in self.edges if fnmatchcase(edge, self.target)) or (self.target,)

    @property
    def others(self) -> tuple[str, ...]:
        """The edges that were there all the time."""
        return tuple(edge for edge in self.edges if edge not in self.lost)

    def knocks_at(self, edge: str, *, since: float = 0.0, until: float | None = None) -> tuple[Knock, ...]:
        """What knocked at an edge while its links were broken, or from and until other moments."""
        first = max(self.broke, since)
        last = until if until is not None else self.healed if self.healed is not None else self.end
        return tuple(one for one in self.knocks if one.target == edge and first <= one.at < last)

    def tries_of(
        self, edge: str, *, since: float = 0.0, until: float | None = None, ended: float | None = None
    ) -> Tries:
        """Tries to reach it meanwhile. ended: when rsync said that it tries no more."""
        return tries(self.knocks_at(edge, since=since, until=until), lasts=self._lasts, ended=ended)

    def tries_after(self, edge: str, at: float, *, until: float | None = None) -> int | None:
        """How many tries of a lost edge followed after a moment and before another one, at least; None: unknown."""
        return goes_on(self.knocks_at(edge, until=until), after=at, lasts=self._lasts)

    @property
    def _lasts(self) -> float:
        return CONNECTS if self.how.kind == "black-hole" else 0.0

    def events_written(self, *, until: float) -> float | None:
        """When rsync last wrote into its queues of events before a moment: that one of them is over, say."""
        wrote = [one for one in self.effects if one.target not in self.edges and _QUEUE in one.effect.describe()]
        return max((one.requested for one in wrote if one.requested < until), default=None)

    def arrived(self, edge: str) -> tuple[Observation, ...]:
        """Writes that reached an edge while its links were broken."""
        last = self.healed if self.healed is not None else self.end
        return tuple(
            one for one in self.effects if one.target == edge and self.broke <= one.requested < last and one.forwarded
        )

    def written(self) -> tuple[Observation, ...]:
        """Writes that reached any edge since the links broke, but for those of what edges report by."""
        return tuple(
            one
            for one in self.effects
            if one.target in self.edges and one.forwarded and _REPORT not in dict(one.effect.key).get("path", "")
        )

    def proof(self) -> str:
        """Why we may say that the links were broken and something ran into it; empty when we may not."""
        if self.healed is None:
            return ""
        if self.how.kind == "slow":
            return self._proof_of_slowness()
        if held_mark(self.target) in self.marks:
            return self._proof_of_flapping()
        knocks = {edge: sum(map(self._met, self.knocks_at(edge))) for edge in self.lost}
        if not knocks or not all(knocks.values()):
            return ""
        if self.how.kind not in _ARRIVES and any(self.arrived(edge) for edge in self.lost):
            return ""
        told = ", ".join(f"{edge} {number}" for edge, number in knocks.items())
        nothing = "" if self.how.kind in _ARRIVES else "; nothing arrived there"
        return f"{self.how.kind} for {self.healed - self.broke:.1f} s, knocks at {told}{nothing}"

    def _met(self, knock: Knock) -> bool:
        """Whether it fell into a time at which the link was broken: where it flaps it is healthy every other time.
        At rest, that is: a call finds it refused (`_proof_of_flapping`).

        Near the turns, which drift a little, nobody can say.
        """
        if self.how.kind != "flapping":
            return True
        turns, since = divmod(knock.at - self.broke, self.how.seconds)
        return turns % 2 == 0 and _TURN <= since / self.how.seconds <= 1 - _TURN

    def _proof_of_flapping(self) -> str:
        """It refused until rsync itself had tried: not its watch, which a link may refuse and let the tries through."""
        if self.healed is None or (until := self.marks.get(flaps_mark(self.target))) is None:
            return ""
        tried = {edge: self.tries_of(edge, until=until).fewest for edge in self.lost}
        if not all(tried.values()):
            return ""
        told = ", ".join(f"{edge} {number}" for edge, number in tried.items())
        return f"flapping for {self.healed - self.broke:.1f} s, tries refused before the first turn at {told}"

    def _proof_of_slowness(self) -> str:
        """Each of the edges has taken a write that was late."""
        took = {
            edge: max((one.answered - one.requested for one in self.arrived(edge) if one.answered), default=0.0)
            for edge in self.lost
        }
        if not took or min(took.values()) < 0.9 * self.how.seconds:
            return ""
        return f"slow, {self.how.seconds:g} s for each piece; a write took {min(took.values()):.2f} s"

    # -- the workload -----------------------------------------------------------------------------------------------

    def settled_s(self, edge: str, *, until: float | None = None) -> float | None:
        """Seconds from the break until an edge held what it held at the last look, or the last one before a moment.

        None when that is what it held at the first one.
        """
        looks = [one for one in self.seen if until is None or one.at < until]
        final = looks[-1].edges[edge]
        if final == looks[0].edges[edge]:
            return None
        settled = looks[-1].at
        for one in reversed(looks):
            if one.edges[edge] != final:
                break
            settled = one.at
        return settled - self.broke

    def said(self, edge: str) -> Iterator[tuple[float, float, str]]:
        """What EMCO said of its connection to an edge while it was lost: from, to, the word."""
        last = self.healed if self.healed is not None else self.end
        looks = [one for one in self.seen if one.at < last]
        for number, one in enumerate(looks):
            until = looks[number + 1].at if number + 1 < len(looks) else last
            if until > self.broke:
                yield max(one.at, self.broke), until, one.status.connectivity.get(edge, "")

    def said_for_s(self, edge: str, word: str) -> float:
        """For how many seconds EMCO said that of an edge while it was lost."""
        return sum(until - since for since, until, said in self.said(edge) if said == word)

    def first_said(self, edge: str, word: str) -> float | None:
        """When EMCO first said that of a lost edge; None when it never did."""
        return next((since for since, _, said in self.said(edge) if said == word), None)

    def lies(self) -> tuple[str, ...]:
        """What EMCO reported of resources for longer than a moment that was not so on the edges, a sentence each.

        A moment, because it cannot write down at once what it has done.
        """
        since: dict[str, float] = {}
        told: dict[str, None] = {}
        for one in self.seen:
            now = set(_wrong(one))
            told.update({wrong: None for wrong, at in since.items() if one.at - at > _MOMENT})
            since = {wrong: since.get(wrong, one.at) for wrong in now}
        told.update({wrong: None for wrong, at in since.items() if self.end - at > _MOMENT})
        return tuple(told)

    def premature(self, status: str, reached: Callable[[Seen], bool]) -> float | None:
        """When EMCO first gave a group a status while the edges had not reached what it means.

        The status that it had at the first look is what it says of the call before, until it gives it another one.
        """
        changed = self.seen[0].status.deployed != status
        for one in self.seen:
            changed = changed or one.status.deployed not in (status, "")
            if changed and one.status.deployed == status and not reached(one):
                return one.at
        return None

    def created_twice(self) -> tuple[str, ...]:
        """Objects of the workload that were created more than once on an edge, a line each.

        Where the request does not tell the name of what it creates, two of one kind count as one and the same.
        """
        made: dict[tuple[str, str], int] = {}
        for one in self.effects:
            path = dict(one.effect.key).get("path", "")
            if one.effect.op == "POST" and one.ok and _REPORT not in path:
                thing = f"{path}/{one.effect.value}".rstrip("/")
                made[one.target, thing] = made.get((one.target, thing), 0) + 1
        return tuple(f"{thing} on {edge}: {times} times" for (edge, thing), times in made.items() if times > 1)


def _wrong(seen: Seen) -> Iterator[str]:
    for resource in seen.status.resources:
        name = f"{resource.kind}/{resource.name}"
        there = name in seen.edges.get(resource.edge, {})
        if (resource.status == "Applied" and not there) or (resource.status == "Deleted" and there):
            is_there = "is there" if there else "is not there"
            yield f"{name} on {resource.edge} is said to be {resource.status}, but {is_there}"


def record(stage: Stage, *, group: str, target: str, how: Partition) -> Recording:
    """What a stage has seen since the links to a target broke. Raises UsageError where they never did."""
    mark = stage.marked(f"partition {target}")
    return Recording(
        group=group,
        target=target,
        how=how,
        edges=stage.edges,
        marks={one.name: one.at for one in stage.marks},
        seen=stage.groups.watched(group),
        knocks=tuple(one for one in stage.knocks(source="rsync", since=mark) if one.target in (*stage.edges, target)),
        effects=stage.seen(source="rsync", since=mark),
    )
