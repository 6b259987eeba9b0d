"""The stage of an experiment: one EMCO, what can be done to it, and what was seen meanwhile.

Actions, probes and pytest fixtures all act through it, so an experiment does the same from `chaos run` and from pytest.
Every method blocks until it is done; each wait has a limit.
"""

import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, TypeVar

from harness.background import Answer, Background, at_rest, make_empty, request
from harness.campaign import Campaign
from harness.chaos import backups
from harness.chaos.attempts import going_on
from harness.chaos.clients import Clients
from harness.chaos.groups import Groups
from harness.chaos.load import Load
from harness.chaos.moments import Made, Mark, Pending, flaps_mark, held_mark
from harness.chaos.observing import BEGIN, Observer
from harness.chaos.supervision import Supervision
from harness.chaos.watching import Seen
from harness.crashpoints.model import Told
from harness.emco.calls import Call
from harness.emco.status import NOTHING_SAID
from harness.faults.victim import Death, HarnessTrouble, UsageError
from harness.platforms.disruptions import Partition, Volume
from harness.work import Work

T = TypeVar("T")
_OVERDUE = 3  # times the period: a next try that has not come by then does not come
_STAYS = 2.5  # seconds; rsync waits 2 s between two tries (facts, section 6)


class Stage(Observer):
    """One EMCO to experiment with."""

    def __init__(self, environment: Background, work: Work) -> None:
        calls = tuple(subject.call for subject in work.subjects if isinstance(subject.call, Call))
        super().__init__(environment, calls)
        self.title = work.title
        self.made: list[Made] = []
        self._begun: list[Pending] = []
        self._held: dict[str, tuple[str, Partition]] = {}
        self.groups = Groups(environment, self._calls)
        self.clients = Clients(environment)
        self.supervision = Supervision(environment)
        self.load = Load(environment)

    # -- the workload -----------------------------------------------------------------------------------------------

    @property
    def calls(self) -> tuple[Call, ...]:
        """The workload's calls in order."""
        return self._calls

    def after(self, name: str) -> list[str]:
        """Names of the workload's calls after one of them."""
        names = [call.name for call in self._calls]
        return names[names.index(self.named(name).name) + 1 :]

    @property
    def under_way(self) -> tuple[str, ...]:
        """Names of calls that were begun and are not over."""
        return tuple(one.name for one in self._begun if not one.over)

    def named(self, name: str) -> Call:
        """A call by its name or the end of it (`instantiate-dig1`). Raises UsageError when it is not exactly one."""
        found = [call for call in self._calls if call.name == name or call.name.endswith(f"/{name}")]
        if len(found) != 1:
            known = ", ".join(call.name.rsplit("/", 1)[-1] for call in self._calls)
            raise UsageError(f"{len(found)} calls of the workload are named {name!r}; there are {known}")
        return found[0]

    # -- what a client does -----------------------------------------------------------------------------------------

    def empty(self) -> None:
        """A new EMCO: stores and edges empty, everything freshly started, no link broken, nothing watched."""
        self._let_go()

        async def act(campaign: Campaign) -> None:
            campaign.disruptions.set_data_key("")
            await campaign.disruptions.make_whole(services=False)
            await make_empty(campaign)

        self._environment.do(act)
        self._environment.do(backups.remove_all)
        self._problems = self.look(_problems)
        self.marks.clear()
        self.made.clear()
        self.snapshots.clear()
        self._begun.clear()
        self._held.clear()
        self.clients.forget()
        self.mark("empty")
        self.remember(BEGIN)

    @property
    def unread(self) -> tuple[str, ...]:
        """What the relay could not follow since the stage was emptied, a sentence each: its history is not whole."""
        return self.look(_problems)[len(self._problems) :]

    def leave(self) -> None:
        """Nobody looks at this EMCO any more until it is emptied: nothing goes on, neither the stage's nor its own."""
        self._let_go()
        self._environment.do(lambda campaign: campaign.disruptions.leave())

    def _let_go(self) -> None:
        self.groups.unwatch()
        self.supervision.forget()
        self.load.forget()

    def run(self, *, until: str = "", since: str = "") -> tuple[Made, ...]:
        """Make the workload's calls, up to and with `until`, from after `since`, and wait until EMCO is at rest.

        From the beginning, as when calls are learned, an answer that says no more than that services are not connected
        yet, or know no schema yet, is asked for again: they have just been started. Raises HarnessTrouble when a call
        is not acknowledged otherwise: nothing was done to it that would excuse that.
        """
        names = [call.name for call in self._calls]
        first = names.index(self.named(since).name) + 1 if since else 0
        last = names.index(self.named(until).name) + 1 if until else len(names)
        if first >= last:
            raise UsageError(f"the workload has no call after {since} up to {until}")
        return tuple(self._must(call, set_up=not since) for call in self._calls[first:last])

    def _must(self, call: Call, *, set_up: bool) -> Made:
        """set_up: what only shows that services were just started is asked for again; later the first answer counts."""
        sent = self._begin(call, lambda campaign: campaign.lab.send(call)) if set_up else self.begin(call.name)
        made = sent.result(60.0)
        if made.told.kind != "acknowledged":
            raise HarnessTrouble(
                f"{call.name} was answered {made.told.status or 'nothing'}: {made.told.body.strip()[:300] or 'no body'}"
            )
        if call.lifecycle and (why := self.at_rest()):
            raise HarnessTrouble(f"after {call.name} EMCO does not come to rest: {why}")
        return made

    def call(self, name: str) -> Made:
        """Make a call once and wait for its answer. Nothing is repeated."""
        return self.begin(name).result(60.0)

    def begin(self, name: str) -> Pending:
        """Make a call and go on without waiting for its answer."""
        call = self.named(name)
        return self._begin(call, lambda campaign: campaign.lab.begin(call))

    def _begin(self, call: Call, send: Callable[[Campaign], Awaitable[Told]]) -> Pending:
        async def act(campaign: Campaign) -> Made:
            began = campaign.lab.relay.clock()
            told = await send(campaign)
            made = Made(call.name, told, began, campaign.lab.relay.clock())
            self.made.append(made)
            return made

        begun = Pending(call.name, self._environment.begin(act))
        self._begun.append(begun)
        return begun

    def request(self, service: str, method: str, path: str, body: Any = None) -> Answer:
        """Any request to a service, once. Raises HarnessTrouble when there is no answer."""
        return self._environment.do(lambda campaign: request(campaign, service, method, path, body))

    # -- what is done to EMCO ---------------------------------------------------------------------------------------

    def crash(self, name: str, *, volume: Volume = "kept") -> Death:
        """As Disruptable.crash; so do the others."""
        return self._environment.do(lambda campaign: campaign.disruptions.crash(name, volume=volume))

    def start(self, name: str) -> None:
        """Start what is down and wait until it answers."""
        self._environment.do(lambda campaign: campaign.disruptions.start(name))

    def begin_overlap(self, name: str) -> str:
        """Start a second instance of a service beside the one at work; which two, in words."""
        return self._environment.do(lambda campaign: campaign.disruptions.begin_overlap(name))

    def end_overlap(self, name: str) -> Death:
        """End the older one."""
        return self._environment.do(lambda campaign: campaign.disruptions.end_overlap(name))

    def pause(self, name: str) -> None:
        """Stop it from running without ending it."""
        self._environment.do(lambda campaign: campaign.disruptions.pause(name))

    def resume(self, name: str) -> None:
        """Let it run again."""
        self._environment.do(lambda campaign: campaign.disruptions.resume(name))

    def partition(self, target: str, how: Partition, *, source: str = "*", held: bool = False) -> int:
        """Break the links to a target; how many.

        held: what flaps is only refused at first: it flaps once `hold` has seen it tried, however late that is
        """
        if held and how.kind == "flapping":
            links = self.partition(target, Partition("refused"), source=source)
            self._held[target] = (source, how)
            self.mark(held_mark(target))
            return links
        return self._environment.do(lambda campaign: campaign.disruptions.partition(source, target, how))

    def heal(self, target: str = "*", *, source: str = "*") -> int:
        """Make broken links healthy again; how many were broken."""
        self._held = {name: held for name, held in self._held.items() if not fnmatchcase(name, target)}
        return self._environment.do(lambda campaign: campaign.disruptions.heal(source, target))

    def wipe(self) -> tuple[str, ...]:
        """Destroy services, stores and volumes; what was destroyed."""
        return self._environment.do(lambda campaign: campaign.disruptions.wipe())

    def bring_up(self, *, services: bool = True) -> None:
        """Start what is down: stores, and unless told otherwise services."""
        self._environment.do(lambda campaign: campaign.disruptions.bring_up(services=services))

    def cut(self, target: str, sent: bytes, *, source: str, times: int = 1, then: Partition | None = None) -> int:
        """As Disruptable.cut; on how many links."""
        return self._environment.do(
            lambda campaign: campaign.disruptions.cut(source, target, sent, times=times, then=then)
        )

    def make_whole(self, name: str = "*") -> tuple[str, ...]:
        """Resume what is paused, heal what is broken, start what is down, of all or of one; what was done, in words."""
        return self._environment.do(lambda campaign: campaign.disruptions.make_whole(name))

    def act(self, what: Callable[[Campaign], Coroutine[Any, Any, T]]) -> T:
        """Anything else, in the environment's own thread."""
        return self._environment.do(what)

    def beside(self, what: Callable[[Campaign], Coroutine[Any, Any, T]]) -> "Future[T]":
        """The same, while the experiment goes on."""
        return self._environment.begin(what)

    # -- what is waited for ------------------------------------------------------------------------------------------

    def at_rest(self) -> str:
        """Wait until EMCO is at rest; why it does not get there, empty when it does."""
        return self._environment.do(at_rest)

    def lifecycle(self, group: str, verb: str) -> Answer:
        """POST one of a group's lifecycle calls, `stop` or `terminate` say, once; marks the moment."""
        call = self.groups.named(group)
        self.mark(f"{verb} {group}")
        return self.request(call.service, "POST", f"/v2/{call.target}/{verb}")

    def wait_for_goal(self, group: str, goal: str, *, limit: float) -> Seen:
        """Wait until a watched group is `running`, `changed` (against when the watch began) or `gone`, and stays so for
        longer than rsync waits between two tries; marks when that began.

        Raises UsageError for another goal, HarnessTrouble with what is missing after `limit` seconds.
        """
        missing, seen = self.groups.missing(group, goal), self.groups.looking(group)

        def there() -> Seen | None:
            now = seen()
            return None if missing(now) else now

        def undone(before: Seen) -> str | None:
            now = seen()
            # a look that EMCO did not answer is judged by what the edges hold
            status = before.status if now.status == NOTHING_SAID else now.status
            return missing(replace(now, status=status)) or None

        deadline = time.monotonic() + limit
        while True:
            reached = self.within(there, limit=max(0.0, deadline - time.monotonic()))
            if reached is None:
                raise HarnessTrouble(f"{group} is not {goal} after {limit:g} s: {missing(seen())}")
            mark = self.moment(f"{goal} {group}")
            # A thread of rsync that was forgotten sleeps, looks like rest, and undoes what another one has done.
            why = self.within(partial(undone, reached), limit=_STAYS)
            seen = self.groups.looking(group)  # the last word is that of a look after all of it
            if not why and (last := there()):
                self.marks.append(mark)
                return last
            if time.monotonic() >= deadline:
                raise HarnessTrouble(f"{group} does not stay {goal}: {why or missing(seen())}")

    def wait_for_tries(self, target: str, *, since: str, times: int, limit: float) -> int:
        """Wait until a target was tried so often since a mark; how often. Raises HarnessTrouble when it was not."""
        self.must_be_linked(target)
        mark = self.marked(since)

        def enough() -> int | None:
            seen = self.fewest_tries(target, mark)
            return seen if seen >= times else None

        return self.until(enough, limit=limit, what=f"{times} tries to reach {target}")

    def hold(self, target: str, *, since: str, tries: int, seconds: float, group: str = "", goal: str = "") -> str:
        """Let something last until a target was tried so often, or `seconds` are over, or a group is at a goal.

        What ended it, in words. This is how long a fault lasts: it does not fail. A goal that is reached meanwhile is
        marked so: the next step heals at once, and looks from beside may see it only after that.

        What is to flap once it was tried (`held`) does so from then on, which is marked.
        """
        self.must_be_linked(target)
        mark = self.marked(since)
        reached = self._reached(group, goal) if goal else lambda: False

        def enough() -> str | None:
            self._flap_once_tried(target, mark)
            if tries and self.fewest_tries(target, mark) >= tries:
                return f"{tries} tries"
            if not reached():
                return None
            self.mark(f"meanwhile {goal} {group}")
            return f"{group} is {goal}"

        return self.within(enough, limit=seconds) or f"{seconds:g} s"

    def _reached(self, group: str, goal: str) -> Callable[[], bool]:
        missing, seen = self.groups.missing(group, goal), self.groups.looking(group)
        return lambda: not missing(seen())

    def _flap_once_tried(self, target: str, since: Mark) -> None:
        if target not in self._held or not self.fewest_tries(target, since):
            return
        source, how = self._held.pop(target)

        async def act(campaign: Campaign) -> None:
            await campaign.disruptions.heal(source, target)
            await campaign.disruptions.partition(source, target, how)

        self.mark(flaps_mark(target))
        self._environment.do(act)

    def between_tries(self, target: str, *, since: str, share: float) -> str:
        """Wait for the next try, of the longest series of them since a mark, and then for `share` of the time between
        two of them; what it was, in words. Where nothing is tried any more there is nothing to wait for.

        Who tries and who is asked meanwhile are then in the same order in every run.
        """
        self.must_be_linked(target)
        mark = self.marked(since)
        before = self.tries(target, since=mark)
        if not going_on(before, self.now()):
            return "nothing is tried any more"

        def another() -> float | None:
            later = [at for at in self.tries(target, since=mark).at if at > before.at[-1]]
            return later[-1] if later else None

        latest = self.within(another, limit=_OVERDUE * before.period)
        if latest is None:
            return "nothing is tried any more"
        self.within(lambda: None, limit=latest + share * before.period - self.now())
        return f"{share:.0%} of the time between two tries"


def _problems(campaign: Campaign) -> tuple[str, ...]:
    return tuple(campaign.lab.relay.problems)
