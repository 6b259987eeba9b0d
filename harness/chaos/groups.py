"""The workload's deployment intent groups: what EMCO says of them, what the edges hold, and whether they run."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future

from harness.background import Answer, Background, request
from harness.campaign import Campaign
from harness.chaos.waiting import within
from harness.chaos.watching import Content, Seen, Watch, goal_named, look
from harness.emco.calls import Call
from harness.emco.placement import Placed, placed
from harness.emco.status import NOTHING_SAID, GroupStatus, Readiness, parse_readiness, parse_status
from harness.faults.victim import HarnessTrouble, UsageError

GROUPS = "deployment-intent-groups"


class Groups:
    """Asked for by the names that the workload gives them."""

    def __init__(self, environment: Background, calls: tuple[Call, ...]) -> None:
        self._environment = environment
        self._calls = calls
        self._watches: dict[str, tuple[Watch, Future[None]]] = {}

    def named(self, name: str) -> Call:
        """The workload's call that creates a deployment intent group. Raises UsageError for an unknown one."""
        for call in self._calls:
            if call.kind == GROUPS and call.verb == "create" and call.label == name:
                return call
        raise UsageError(f"the workload creates no deployment intent group {name!r}")

    def placed(self, group: str) -> tuple[Placed, ...]:
        """Where the workload wants a group's applications. Raises UsageError where it does not say it."""
        if wanted := placed(self._calls, self.named(group)):
            return wanted
        raise UsageError(f"the workload has no app-intent of {group}: nothing says on which edges it has to run")

    def watch(self, group: str) -> None:
        """Keep what EMCO says of a group, and what the edges hold, from now on until the stage is emptied."""
        if group in self._watches:
            raise UsageError(f"{group} is watched already")
        service, path = self._status_of(group)
        watch = Watch(lambda campaign: look(campaign, service, path))
        self._environment.do(lambda campaign: watch.now(campaign, since=campaign.lab.relay.clock()))
        self._watches[group] = watch, self._environment.begin(watch.run)

    def watched(self, group: str) -> tuple[Seen, ...]:
        """What was new about a watched group, look by look; the first is how it was when that began.

        Raises UsageError for one that is not watched, HarnessTrouble when the watch broke off.
        """
        if group not in self._watches:
            raise UsageError(f"{group} is not watched")
        watch, future = self._watches[group]
        if future.done():
            raise HarnessTrouble(f"watching {group} broke off: {future.exception()}")
        return tuple(watch.seen)

    @property
    def looks(self) -> Mapping[str, tuple[Seen, ...]]:
        """What was new of every watched group so far, also where the watch broke off."""
        return {group: tuple(watch.seen) for group, (watch, _) in self._watches.items()}

    def unwatch(self) -> None:
        """Watch nothing any more."""
        for _, future in self._watches.values():
            future.cancel()
        self._watches.clear()

    def missing(self, group: str, goal: str) -> Callable[[Seen], str]:
        """What a watched group lacks to be `running`, `changed` (against when the watch began) or `gone`, look by look.

        Raises UsageError for another goal.
        """
        before: Mapping[str, Content] = self.watched(group)[0].edges
        wanted = () if goal == "gone" else self.placed(group)
        try:
            return goal_named(goal, before, wanted)
        except KeyError:
            raise UsageError(f"a goal is running, changed or gone, not {goal!r}") from None

    def looking(self, group: str) -> Callable[[], Seen]:
        """What asks what EMCO says of a watched group and what the edges hold, from now on: it answers by looks after
        the last effect and, where nothing is written, of the last 2 s. Raises UsageError for a group not watched."""
        self.watched(group)
        watch, _ = self._watches[group]
        since = self._environment.do(_clock)
        return lambda: self._environment.do(lambda campaign: watch.now(campaign, since=since))

    def _status_of(self, group: str, about: str = "deployed") -> tuple[str, str]:
        call = self.named(group)
        return call.service, f"/v2/{call.target}/status?status={about}&output=all"

    def status(self, group: str) -> GroupStatus:
        """What EMCO says of a group; NOTHING_SAID where it does not answer or refuses to say."""
        try:
            answer = self.ask_status(group)
        except HarnessTrouble:  # no answer: that, too, is something that experiments measure
            return NOTHING_SAID
        return parse_status(answer.body) if answer.ok else NOTHING_SAID

    def ask_status(self, group: str) -> Answer:
        """What the API answers when it is asked for a group's status. Raises HarnessTrouble when there is no answer."""
        service, path = self._status_of(group)
        return self._environment.do(lambda campaign: request(campaign, service, "GET", path))

    def readiness(self, group: str) -> Readiness:
        """What EMCO says of whether a group runs, from what edges report to it. Raises HarnessTrouble without an
        answer."""
        service, path = self._status_of(group, "ready")
        answer = self._environment.do(lambda campaign: request(campaign, service, "GET", path))
        return parse_readiness(answer.body if answer.ok else None)

    def not_ready(self, group: str) -> str:
        """Why a group's workload does not run, by EMCO's word and by the edges' own; empty when it does.

        EMCO's word is that it was applied, the edges' what the status of each object there says.
        """
        status = self.status(group)
        return status.not_ready(self._environment.do(lambda campaign: campaign.lab.edge_objects()), self.placed(group))

    def wait_until_ready(self, group: str, *, limit: float) -> None:
        """Wait until the workload runs. Raises HarnessTrouble with why it does not."""
        if within(self._environment, lambda: not self.not_ready(group), limit=limit) is None:
            raise HarnessTrouble(f"{group} does not run after {limit:g} s: {self.not_ready(group)}")

    def wait_until_on(self, group: str, edge: str, *, limit: float) -> None:
        """Wait until one edge has all of the group that is to be on it. Raises HarnessTrouble with what it lacks."""

        def lacks() -> str:
            status = self.status(group)
            objects = self._environment.do(lambda campaign: campaign.lab.edge_objects())
            return status.lacks(edge, objects, self.placed(group))

        if within(self._environment, lambda: not lacks(), limit=limit) is None:
            raise HarnessTrouble(f"{edge} has not all of {group} after {limit:g} s: {lacks()}")


async def _clock(campaign: Campaign) -> float:
    return campaign.lab.relay.clock()
