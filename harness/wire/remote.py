"""A relay in a process of its own, controlled over a connection: the side that controls.

Keeps a copy of the relay's history, brought up to date by what the relay tells of itself as it happens. Whatever is
ordered is in effect before anything that is awaited later has an answer.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, Self

from harness.wire.bell import Bell
from harness.wire.conditions import Condition, Cut, Healthy
from harness.wire.effects import Observation
from harness.wire.knocks import Knock
from harness.wire.links import Address, Link, RelayError
from harness.wire.messages import (
    MalformedMessage,
    condition_to_json,
    effect_from_json,
    observation_from_json,
    read,
    write,
)
from harness.wire.reaching import Ahead, Line, Place, close_lines, reached
from harness.wire.triggers import Hit, Trigger

Json = dict[str, Any]
_ANSWER_LIMIT = 15.0
_PAUSE = 0.2


class RemoteArmed:
    """A trigger that is armed in the relay. `hit` gets its result when the source is frozen, or the error."""

    def __init__(self, trigger: Trigger, hit: "asyncio.Future[Hit]", disarm: Callable[[], None]) -> None:
        self.trigger = trigger
        self.hit = hit
        self.disarm = disarm
        """Take the trigger back; nothing happens if it was hit already."""


class RemoteRelay:
    """Implements RelayControl for a served relay. Use `RemoteRelay.connect`; `async with` parts with it at the end."""

    def __init__(self, place: Place, lines: Sequence[Line], links: Sequence[Link], hello: Json) -> None:
        self.knocks: list[Knock] = []
        self.problems: list[str] = []
        self.cuts: list[tuple[float, Link]] = []
        self.reads: list[Observation] = []
        self.instances: dict[str, str] = dict(hello["instances"])
        self._place = place
        self._control, self._asks = lines
        self._ahead = Ahead()
        self._unanswered = ""
        self._links = tuple(links)
        self._conditions: dict[Link, Condition] = {}
        self._offset = float(hello["clock"]) - time.monotonic()
        self._first = int(hello["seq"])
        self._first_knock = int(hello["knocks"])
        self._history: list[Observation] = []
        self.bell = Bell()
        self._next = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._armed: dict[int, RemoteArmed] = {}
        self._lost = ""
        self._tasks = [asyncio.ensure_future(self._listen()), asyncio.ensure_future(self._decide())]

    @classmethod
    async def connect(cls, control: Address, asks: Address, *, token: str, links: Sequence[Link]) -> Self:
        """Become the master of a served relay.

        links: as it was configured, in that order. Raises RelayError when it does not answer or refuses the token.
        """
        place = Place(control, asks, token)
        lines, hello = await reached(place)
        return cls(place, lines, links, hello)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Part with the relay; it goes on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await close_lines((self._control, self._asks))

    async def reconnect(self, *, limit: float) -> None:
        """Become the master of the relay that comes in the place of one that is gone, within `limit` seconds.

        Its links are healthy, and it lets nobody in until that is wanted. The history goes on where it was. Raises
        RelayError when none comes.
        """
        await self.close()
        (self._control, self._asks), hello = await self._next_one(limit)
        self._ahead = Ahead(
            seq=self.seq() - int(hello["seq"]),
            knocks=self._first_knock + len(self.knocks) - int(hello["knocks"]),
            clock=self.clock() - float(hello["clock"]),
        )
        self.instances.update(hello["instances"])
        self._conditions.clear()
        self._armed.clear()
        self._waiting.clear()
        self.problems[:] = [one for one in self.problems if one != self._unanswered]  # of the one that is gone
        self._lost = self._unanswered = ""
        self._tasks = [asyncio.ensure_future(self._listen()), asyncio.ensure_future(self._decide())]

    # -- RelayControl -----------------------------------------------------------------------------------------------

    def clock(self) -> float:
        """The relay's clock, seconds."""
        return time.monotonic() + self._offset

    def links(self) -> tuple[Link, ...]:
        return self._links

    def condition(self, link: Link) -> Condition:
        return self._conditions.get(link, Healthy())

    def set_condition(self, link: Link, condition: Condition) -> None:
        self._conditions[link] = condition
        self._order("condition", link=self._links.index(link), condition=condition_to_json(condition))

    def heal(self, link: Link) -> None:
        self.set_condition(link, Healthy())

    async def count_unaccepted(self, links: Sequence[Link], *, counted: bool) -> None:
        """Whether connections that are asked for on these links count as knocks also where nobody accepts them.

        Raises RelayError where the relay may not see packets.
        """
        await self._ask("count", 0.0, links=[self._links.index(link) for link in links], counted=counted)

    def seq(self) -> int:
        return self._first + len(self._history)

    def since(self, seq: int) -> tuple[Observation, ...]:
        return tuple(self._history[max(0, seq - self._first) :])

    async def moved(self, seq: int, *, limit: float) -> bool:
        deadline = self.clock() + limit
        while self.seq() <= seq:
            left = deadline - self.clock()
            self._check()
            if left <= 0:
                return False
            await self.bell.wait(left)
        return True

    async def quiet(
        self, *, seconds: float, limit: float, ignore: AbstractSet[str] = frozenset(), from_now: bool = False
    ) -> bool:
        more = {"seconds": seconds, "limit": limit, "ignore": sorted(ignore), "from_now": from_now}
        return bool(await self._ask("quiet", limit, **more))

    def arm(self, trigger: Trigger) -> RemoteArmed:
        """As `Relay.arm`; what the relay refuses is raised by `hit`."""
        self._next += 1
        number = self._next
        armed = RemoteArmed(trigger, asyncio.get_running_loop().create_future(), lambda: self._disarm(number))
        self._armed[number] = armed
        where = {"source": trigger.source, "side": trigger.side, "occurrence": trigger.occurrence}
        asked = self._begin("arm", armed=number, **where)
        asked.add_done_callback(lambda answer: _refused(answer, armed))
        return armed

    def freeze(self, source: str) -> None:
        self._order("freeze", source=source)

    def thaw(self, source: str) -> None:
        self._order("thaw", source=source)

    def release(self, source: str, *, drop_held: bool) -> None:
        self._order("release", source=source, drop_held=drop_held)

    def drop(self, source: str) -> None:
        """As `Relay.drop`; the source's instance is turned away from now on, and none is let in until it is wanted."""
        self.instances[source] = ""
        self._order("drop", source=source)

    def watch_reads(self, source: str, *, watched: bool) -> None:
        self._order("watch_reads", source=source, watched=watched)

    def reset_held(self, source: str) -> None:
        self._order("reset_held", source=source)

    async def refuse_held(self, source: str) -> bool:
        return bool(await self._ask("refuse_held", 0.0, source=source))

    async def ended(self, source: str, *, limit: float) -> tuple[int, int]:
        total, gone = await self._ask("ended", limit, source=source, limit=limit)
        return total, gone

    async def gave_up(self, source: str, limit: float) -> bool:
        return bool(await self._ask("gave_up", limit, source=source, limit=limit))

    # -- instances --------------------------------------------------------------------------------------------------

    def want(self, source: str) -> None:
        """Let the next instance of a source in."""
        self._order("want", source=source)

    def beside(self, source: str) -> None:
        """Let another instance of a source in while there is one, which stays."""
        self._order("beside", source=source)

    def retire_older(self, source: str) -> None:
        """Turn away the older of two."""
        self._order("retire_older", source=source)

    def ban(self, address: str) -> None:
        """Turn away whoever is at this address."""
        self._order("ban", address=address)

    async def answers(self, source: str, ports: Sequence[int], *, pinged: Sequence[int] = (), limit: float) -> str:
        """Wait until an instance of the source answers on all its ports; why it does not within the limit.

        pinged: ports at which it has to answer a PING of HTTP/2; at the others a connection is enough
        """
        asked = {"ports": list(ports), "pinged": list(pinged)}
        return str(await self._ask("answers", limit, source=source, **asked, limit=limit))

    async def hung_up(self, target: str, *, limit: float) -> bool:
        """Wait until the end of every connection through the door to a target has reached the relay, and is passed on.

        False when it has not within `limit` seconds. What lies between here and the relay takes its time.
        """
        return bool(await self._ask("hung_up", limit, target=target, limit=limit))

    async def synced(self) -> None:
        """Wait until everything that was ordered is in effect, and everything that was seen so far is known here."""
        await self._ask("sync", 0.0)

    # -- inside -----------------------------------------------------------------------------------------------------

    async def _next_one(self, limit: float) -> tuple[Sequence[Line], Json]:
        deadline = asyncio.get_running_loop().time() + limit
        while True:
            try:
                return await reached(self._place)
            except RelayError as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise RelayError(f"no relay came within {limit:g} s: {error}") from error
            await asyncio.sleep(_PAUSE)  # nothing announces it; bounded by the limit

    def _check(self) -> None:
        if self._lost:
            raise RelayError(self._lost)

    def _order(self, name: str, **arguments: Any) -> None:
        self._check()
        self._control.writer.write(write({"do": name, **arguments}))

    def _begin(self, name: str, **arguments: Any) -> "asyncio.Future[Any]":
        self._next += 1
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._order(name, id=self._next, **arguments)
        self._waiting[self._next] = answer
        return answer

    async def _ask(self, name: str, relay_limit: float, **arguments: Any) -> Any:
        """relay_limit: how long the relay itself may take, seconds."""
        answer = self._begin(name, **arguments)
        try:
            async with asyncio.timeout(relay_limit + _ANSWER_LIMIT):  # wait_for of 3.11 forgets a cancellation that
                return await answer  # comes together with the answer: who is ended then would go on for ever
        except TimeoutError:
            raise RelayError(f"the relay does not answer to {name!r}") from None

    def _disarm(self, number: int) -> None:
        armed = self._armed.pop(number, None)
        if armed is not None and not self._lost:
            self._order("disarm", armed=number)

    async def _listen(self) -> None:
        why = "the connection to the relay has ended"
        try:
            while line := await self._control.reader.readline():
                self._told(read(line))
        except (OSError, ValueError) as error:
            why = f"the connection to the relay broke: {error}"
        finally:
            self._lost = why
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(RelayError(why))
            for armed in self._armed.values():
                if not armed.hit.done():
                    armed.hit.set_exception(RelayError(why))
            self.bell.ring()

    def _told(self, message: Json) -> None:
        if "re" in message:
            waiting = self._waiting.pop(message["re"], None)
            if waiting is None or waiting.done():
                return
            if "error" in message:
                waiting.set_exception(RelayError(message["error"]))
            else:
                waiting.set_result(message["value"])
            return
        act = _EVENTS.get(str(message.get("event")))
        if act is None:
            raise MalformedMessage(f"it said {str(message)[:80]}, which is not known here")
        act(self, message)

    def _observed(self, message: Json) -> None:
        one = self._ahead.ours(observation_from_json(message["one"]))
        place = one.seq - self._first
        if place == len(self._history):
            self._history.append(one)
            self.bell.ring()
        elif place >= 0:
            self._history[place] = one

    def _read(self, message: Json) -> None:
        self.reads.append(self._ahead.ours(observation_from_json(message["one"])))

    def _knock(self, message: Json) -> None:
        place = message["number"] + self._ahead.knocks - self._first_knock
        one = self._ahead.knock(message["one"])
        if place == len(self.knocks):
            self.knocks.append(one)
        elif place >= 0:
            self.knocks[place] = one
        self.bell.ring()

    def _cut(self, message: Json) -> None:
        """A connection was cut, and the link is one step further on its way to what comes after."""
        link = self._links[message["link"]]
        self.cuts.append((message["at"] + self._ahead.clock, link))
        condition = self.condition(link)
        if isinstance(condition, Cut):
            left = condition.times - 1
            self._conditions[link] = replace(condition, times=left) if left else condition.then
        self.bell.ring()

    def _hit(self, message: Json) -> None:
        armed = self._armed.pop(message["armed"], None)
        if armed is None or armed.hit.done():
            return
        if "error" in message:
            armed.hit.set_exception(RelayError(message["error"]))
        else:
            seq = message["seq"] + self._ahead.seq
            effect = self._history[seq - self._first].effect
            armed.hit.set_result(Hit(effect, seq, message["at"] + self._ahead.clock))

    async def _decide(self) -> None:
        """Answer whether effects are those that triggers wait for; the relay stands still meanwhile."""
        try:
            while line := await self._asks.reader.readline():
                asked = read(line)
                self._asks.writer.write(write(self._answer(asked)))
        except (OSError, ValueError) as error:
            self._unanswered = f"questions of the relay are not answered any more: {error}"
            self.problems.append(self._unanswered)

    def _answer(self, asked: Json) -> Json:
        armed = self._armed.get(asked["armed"])
        if armed is None:
            return {"yes": False}  # disarmed, and the relay does not know it yet
        try:
            return {"yes": bool(armed.trigger.matches(effect_from_json(asked["effect"])))}
        except Exception as error:  # noqa: BLE001  it is the caller's function: it gets its error back
            if not armed.hit.done():
                armed.hit.set_exception(error)
            return {"error": str(error)}


def _refused(answer: "asyncio.Future[Any]", armed: RemoteArmed) -> None:
    if not answer.cancelled() and (error := answer.exception()) is not None and not armed.hit.done():
        armed.hit.set_exception(error)


_EVENTS: Mapping[str, Callable[[RemoteRelay, Json], None]] = {
    "observed": RemoteRelay._observed,  # noqa: SLF001  the table of the class's own events
    "read": RemoteRelay._read,  # noqa: SLF001  the same
    "cut": RemoteRelay._cut,  # noqa: SLF001  the same
    "hit": RemoteRelay._hit,  # noqa: SLF001  the same
    "knocked": RemoteRelay._knock,  # noqa: SLF001  the same
    "problem": lambda relay, message: relay.problems.append(message["text"]),
    "trouble": lambda relay, message: relay.problems.append(f"the relay could not do it: {message['text']}"),
    "let in": lambda relay, message: relay.instances.__setitem__(message["source"], message["address"]),
}
