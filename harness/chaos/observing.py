"""What is seen of one EMCO while an experiment goes on: moments, effects, tries to reach something, states.

Every method blocks until it knows; what waits has a limit.
"""

import asyncio
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from harness.background import Background
from harness.campaign import Campaign
from harness.chaos.attempts import CONNECTS, Tries, tries
from harness.chaos.linked import must_be_linked
from harness.chaos.moments import Mark
from harness.chaos.reading import Reading, read_contexts
from harness.chaos.waiting import within
from harness.emco.calls import Call
from harness.emco.invariants import Violation, broken
from harness.emco.profile import PROFILE
from harness.faults.victim import HarnessTrouble, UsageError
from harness.stores.canonical import Delta, canonical, difference
from harness.stores.snapshot import Snapshot
from harness.wire.conditions import BlackHole
from harness.wire.effects import Observation
from harness.wire.knocks import Knock

T = TypeVar("T")
BEGIN = "begin"
"""Name of the snapshot of the empty EMCO that an experiment begins with."""


class Observer:
    """What of a stage sees and remembers.

    calls: of the workload, whose records say which AppContexts there should be
    """

    def __init__(self, environment: Background, calls: tuple[Call, ...]) -> None:
        self._environment = environment
        self._calls = calls
        self.marks: list[Mark] = []
        self.snapshots: dict[str, Snapshot] = {}

    @property
    def services(self) -> tuple[str, ...]:
        """Names of the services."""
        return self.look(lambda campaign: campaign.disruptions.services)

    @property
    def edges(self) -> tuple[str, ...]:
        """Names of the edges, `provider+cluster`."""
        return self.look(lambda campaign: campaign.disruptions.edges)

    def mark(self, name: str) -> Mark:
        """Remember this moment."""
        mark = self.moment(name)
        self.marks.append(mark)
        return mark

    def moment(self, name: str) -> Mark:
        """The present moment, by a name, without remembering it."""
        return self.look(
            lambda campaign: Mark(
                name, campaign.lab.relay.clock(), campaign.lab.relay.seq(), len(campaign.lab.relay.knocks)
            )
        )

    def marked(self, name: str) -> Mark:
        """The latest mark of a name. Raises UsageError when there is none."""
        for mark in reversed(self.marks):
            if mark.name == name:
                return mark
        raise UsageError(f"nothing was marked {name!r}; there are {', '.join(mark.name for mark in self.marks)}")

    def since(self, name: str) -> float:
        """Seconds since the latest mark of a name."""
        return self.now() - self.marked(name).at

    def history(self, since: Mark | None = None) -> tuple[Observation, ...]:
        """Effects that the relays saw, all or since a mark."""
        return self.look(lambda campaign: campaign.lab.relay.since(since.seq if since else 0))

    def must_be_linked(self, target: str, *, source: str = "*") -> None:
        """Raise UsageError with the links that there are unless one leads from a source to a target (patterns)."""
        services, links = self.services, self.look(lambda campaign: campaign.lab.relay.links())
        must_be_linked(links, services, source=source, target=target)

    def knocks(
        self, *, source: str = "*", target: str = "*", since: Mark | None = None, until: Mark | None = None
    ) -> tuple[Knock, ...]:
        """Tries to reach a target, all or from a mark to another: connections asked for, what a black hole was sent."""
        window = slice(since.knock if since else 0, until.knock if until else None)
        seen = self.look(lambda campaign: tuple(campaign.lab.relay.knocks[window]))
        return tuple(one for one in seen if fnmatchcase(one.source, source) and fnmatchcase(one.target, target))

    def seen(self, *, source: str = "*", target: str = "*", since: Mark | None = None) -> tuple[Observation, ...]:
        """Effects from a source on a target (patterns), all or since a mark."""
        seen = self.history(since)
        return tuple(one for one in seen if fnmatchcase(one.source, source) and fnmatchcase(one.target, target))

    def tries(self, target: str, *, since: Mark, source: str = "rsync") -> Tries:
        """Tries of one source to reach one target since a mark."""
        knocks = self.knocks(source=source, target=target, since=since)
        return tries(knocks, lasts=CONNECTS if self._is_black_hole(target) else 0.0)

    def _is_black_hole(self, target: str) -> bool:
        """Whether nobody answers who asks for a connection to it."""

        def asked(campaign: Campaign) -> bool:
            relay = campaign.lab.relay
            found = [relay.condition(link) for link in relay.links() if link.target == target]
            return any(isinstance(one, BlackHole) and not one.connects for one in found)

        return self.look(asked)

    def fewest_tries(self, target: str, since: Mark) -> int:
        """Of the targets that a pattern means, that which was tried least, for certain; 0 where it means none."""
        links = self.look(lambda campaign: campaign.lab.relay.links())
        names = {link.target for link in links if fnmatchcase(link.target, target)}
        return min((self.tries(name, since=since).fewest for name in names), default=0)

    def cuts(self, target: str, *, since: Mark) -> int:
        """How many connections to a target were cut since a mark."""
        return self.look(
            lambda campaign: sum(link.target == target and at >= since.at for at, link in campaign.lab.relay.cuts)
        )

    def silent(self, *, limit: float = 5.0) -> tuple[str, ...]:
        """Why services do not answer, a sentence each; nothing when all do."""

        async def ask(campaign: Campaign) -> tuple[str, ...]:
            disruptions = campaign.disruptions
            found = await asyncio.gather(*(disruptions.silent(name, limit=limit) for name in disruptions.services))
            return tuple(why for why in found if why)

        return self._environment.do(ask)

    def reading(self, *, limit: float = 5.0) -> Reading:
        """What of EMCO can be looked up in etcd, and what cannot; see harness.chaos.reading."""
        return self._environment.do(lambda campaign: read_contexts(campaign, self._calls, limit=limit))

    def now(self) -> float:
        """Seconds of the relay's clock."""
        return self.look(lambda campaign: campaign.lab.relay.clock())

    def objects(self) -> Mapping[str, tuple[dict[str, Any], ...]]:
        """What the edges hold, by their names; the stores are not asked."""
        return self._environment.do(lambda campaign: campaign.lab.edge_objects())

    def snapshot(self) -> Snapshot:
        """What stores and edges hold now."""
        return self._environment.do(lambda campaign: campaign.lab.snapshot())

    def remember(self, name: str) -> Snapshot:
        """Take a snapshot and keep it by a name, for what is compared later."""
        self.snapshots[name] = self.snapshot()
        return self.snapshots[name]

    def remembered(self, name: str) -> Snapshot:
        """A snapshot by its name; a backup's is that of its file. Raises UsageError when there is none."""
        if name not in self.snapshots:
            raise UsageError(f"no snapshot is named {name!r}; there are {', '.join(self.snapshots)}")
        return self.snapshots[name]

    def changed_since(self, name: str) -> tuple[Delta, ...]:
        """Where the canonical state, that of the edges included, is not as in a snapshot that was remembered."""
        rules = PROFILE.rules(())
        return difference(canonical(self.remembered(name), rules), canonical(self.snapshot(), rules))

    def broken(self, since: str = BEGIN) -> tuple[Violation, ...]:
        """Invariants that do not hold now and did in a snapshot that was remembered. EMCO has to be at rest."""
        return broken(self.snapshot(), before=self.remembered(since))

    def until(self, holds: Callable[[], T | None], *, limit: float, what: str) -> T:
        """Ask again after every effect and at least each 0.2 s until `holds` gives something; that.

        Raises HarnessTrouble when it does not within `limit` seconds: `what` says what was waited for.
        """
        found = self.within(holds, limit=limit)
        if found is None:
            raise HarnessTrouble(f"{what}: not within {limit:g} s")
        return found

    def within(self, holds: Callable[[], T | None], *, limit: float) -> T | None:
        """As `until`; None when it does not come to hold."""
        return within(self._environment, holds, limit=limit)

    def look(self, at: Callable[[Campaign], T]) -> T:
        """Something of the environment, read in its own thread."""

        async def read(campaign: Campaign) -> T:
            return at(campaign)

        return self._environment.do(read)
