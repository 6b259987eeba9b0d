"""A system under test that fits on a page: named records, calls that are functions, faults by script."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import bson

from harness.crashpoints.lab import Call, Lab, Limits, Profile, Subject
from harness.crashpoints.learn import Controls, Lesson, Seen
from harness.crashpoints.model import CrashPoint, Told
from harness.crashpoints.replay import Case, make_case
from harness.faults.victim import Death, HarnessTrouble, ServiceDown, Victim
from harness.stores.canonical import CanonicalRules, Mask
from harness.stores.snapshot import Snapshot
from harness.wire.effects import Effect, Observation
from harness.wire.relay import Relay
from harness.wire.triggers import Hit, Trigger

State = Mapping[str, str]
LIMITS = Limits(quiet=0.001, quiet_async=0.001, at_rest=1.0, hit=0.2, ended=0.2, reaction=0.05, answer=0.2)
OK, EXISTS, GONE = Told(201), Told(409, "exists"), Told(None, "connection lost")


def snapshot(state: State) -> Snapshot:
    documents = tuple(bson.encode({"name": name, "value": value}) for name, value in state.items())
    return Snapshot("fake", {"db.records": documents}, {}, {})


def records(taken: Snapshot) -> dict[str, str]:
    return {document["name"]: document["value"] for document in taken.documents("db.records")}


def _rules(masks: tuple[Mask, ...]) -> CanonicalRules:
    return CanonicalRules((), frozenset(), lambda _: "", "id", lambda document: str(document["name"]), str, masks=masks)


def _without(prefix: str) -> Callable[[Snapshot], tuple[Snapshot, tuple[str, ...]]]:
    def take(taken: Snapshot) -> tuple[Snapshot, tuple[str, ...]]:
        state = records(taken)
        gone = tuple(name for name in state if name.startswith(prefix))
        return snapshot({name: value for name, value in state.items() if name not in gone}), gone

    return take


def _at_work(taken: Snapshot, _: frozenset[str]) -> tuple[str, ...]:
    return tuple(f"{name} is pending" for name, value in records(taken).items() if value == "pending")


PROFILE = Profile(
    rules=_rules,
    slug=lambda effect: effect.op,
    at_work=_at_work,
    at_work_after_restart=_at_work,
    may_be_at_work=lambda snapshot, running: False,
    without_inert=_without("inert"),
    without_unowned=_without("orphan"),
    namer=lambda: lambda effect: effect.op,
)


@dataclass(frozen=True)
class FakeCall:
    """A call: what it answers and what it makes of a state."""

    name: str
    act: Callable[[State], tuple[Told, State]]
    service: str = "svc"
    method: str = "POST"
    path: str = "/v2/things"


def create(*names: str) -> FakeCall:
    """Refuses when the first is there; else makes all."""

    def act(state: State) -> tuple[Told, State]:
        return (EXISTS, state) if names[0] in state else (OK, {**state, **dict.fromkeys(names, "made")})

    return FakeCall("create", act)


def remove(*names: str) -> FakeCall:
    """Refuses when the last is missing; else removes all."""

    def act(state: State) -> tuple[Told, State]:
        if names[-1] not in state:
            return Told(404), state
        return Told(204), {name: value for name, value in state.items() if name not in names}

    return FakeCall("remove", act)


@dataclass
class Script:
    """What happens at the one injection.

    answer:   the call is answered with this before the trigger
    silent:   nothing happens at all: neither trigger nor answer
    partial:  what the call has done when it is stopped; restarted: what a start of the victim makes of it
    goes_on:  what was seen between the answer and the freeze
    unreaped: what was seen of the death, where nobody reaped it
    seen:     what the history says of the held effect after a fault of the store;  refuses: whether it can be refused
    endless:  from then on something is written all the time
    down:     the victim does not come back;  down_on: services do not start on a state with this record
    """

    answer: Told | None = None
    silent: bool = False
    partial: State = field(default_factory=dict)
    restarted: State | None = None
    signal: int = 9
    unreaped: str = ""
    connections: tuple[int, int] = (3, 3)
    endless: bool = False
    down: bool = False
    down_on: str = ""
    hangs: bool = False
    dead: bool = False
    gave_up: bool = True
    seen: Observation | None = None
    refuses: bool = True
    problems: tuple[str, ...] = ()
    goes_on: tuple[Observation, ...] = ()


class FakeLab:
    """A Lab. `relay` is the lab itself: one object that writes down what it was asked for."""

    environment = "fake"
    connectivity_retries = 0
    running = frozenset({"svc"})

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.state: State = {}
        self.log: list[str] = []
        self.history: list[Observation] = []
        self.reads: list[Observation] = []
        self.problems: list[str] = ["an old one"]
        self.slates: list[State] = []
        self._armed: FakeArmed | None = None
        self._ended = asyncio.Event()

    @property
    def relay(self) -> Relay:
        return cast(Relay, self)

    def as_lab(self) -> Lab:
        return cast(Lab, self)

    # -- lab

    async def clean_slate(self, taken: Snapshot, *, only: frozenset[str] | None = None) -> None:
        self.state = records(taken)
        self.slates.append(self.state)
        if self.script.down_on and self.script.down_on in self.state:
            raise ServiceDown("svc", "ended right after its start", "panic: what is this?")

    async def snapshot(self) -> Snapshot:
        return snapshot(self.state)

    def begin(self, call: Call) -> "asyncio.Task[Told]":
        return asyncio.ensure_future(self._begin(call))

    async def _begin(self, call: Call) -> Told:
        if self.script.silent:
            await asyncio.Event().wait()
        if self.script.answer is not None:
            return self.script.answer
        if self._armed is None:  # the crash comes after the answer
            return await self.send(call)
        self.state = self.script.partial
        self.problems += self.script.problems
        self._armed.hit.set_result(Hit(EFFECT, 0, 0.0))
        if self.script.hangs:
            await asyncio.Event().wait()
        await self._ended.wait()
        return GONE

    async def send(self, call: Call) -> Told:
        self.log.append(f"send {call.name}")
        told, self.state = cast(FakeCall, call).act(self.state)
        return told

    def edges_refuse(self, *, refuse: bool) -> None:
        self.log.append("edges refuse" if refuse else "edges heal")

    def victim(self, service: str) -> Victim:
        return FakeVictim(service, self)

    def log_tail(self, service: str) -> str:
        return f"log of {service}"

    # -- relay

    async def quiet(self, **_: Any) -> bool:
        return not (self.script.endless and self._armed)

    async def moved(self, seq: int, *, limit: float) -> bool:
        return False

    def seq(self) -> int:
        return len(self.history)

    def since(self, seq: int) -> tuple[Observation, ...]:
        return tuple(self.history[seq:])

    def arm(self, trigger: Trigger) -> "FakeArmed":
        self.log.append(f"arm {trigger.source} {trigger.side} {trigger.occurrence} {trigger.matches(EFFECT)}")
        self._armed = FakeArmed(asyncio.get_running_loop().create_future())
        return self._armed

    def watch_reads(self, source: str, *, watched: bool) -> None:
        """Nothing is ever read here."""

    def freeze(self, source: str) -> None:
        self.log.append(f"freeze {source}")
        self.history += self.script.goes_on

    async def ended(self, source: str, *, limit: float) -> tuple[int, int]:
        return self.script.connections

    def drop(self, source: str) -> None:
        self.log.append(f"drop {source}")
        self._ended.set()

    async def gave_up(self, source: str, limit: float) -> bool:
        return self.script.gave_up

    def release(self, source: str, *, drop_held: bool) -> None:
        self.log.append(f"release {source} drop_held={drop_held}")
        self._ended.set()

    def reset_held(self, source: str) -> None:
        self.log.append(f"reset {source}")
        self._goes_on()

    async def refuse_held(self, source: str) -> bool:
        if self.script.refuses:
            self.log.append(f"refuse {source}")
            self._goes_on()
        return self.script.refuses

    def _goes_on(self) -> None:
        if self.script.seen is not None:
            self.history = [self.script.seen]
        self._ended.set()

    async def synced(self) -> None:
        """All that is known is here."""


@dataclass
class FakeArmed:
    hit: "asyncio.Future[Hit]"
    disarmed: bool = False

    def disarm(self) -> None:
        self.disarmed = True


@dataclass
class FakeVictim:
    name: str
    lab: FakeLab

    async def crash(self) -> Death:
        if self.lab.script.dead:
            raise HarnessTrouble("svc was to be killed, but it did not run any more")
        self.lab.log.append("crash")
        if self.lab.script.unreaped:
            return Death(self.name, 0, 0, 0, self.lab.script.unreaped, 2.5)
        return Death(self.name, 7, self.lab.script.signal, 0 if self.lab.script.signal else 1)

    async def start(self) -> None:
        self.lab.log.append("start")
        if self.lab.script.down:
            raise ServiceDown(self.name, "ended right after its start: exit code 2 (pid 7)", "panic: nil map")
        if self.lab.script.restarted is not None:
            self.lab.state = self.lab.script.restarted


EFFECT = Effect("mongo", "write", "db.records", (("name", "a"),))


def point(fault: Literal["crash", "disconnect"] = "crash", *, effect: str = "write") -> CrashPoint:
    return CrashPoint("create", "svc", "after", effect, 1, 1, fault)


def case_of(
    subject: Subject, *, before: State, after: State, twice: State | None = None, undone: State | None = None
) -> Case:
    """A call with its control states, as if learned."""
    effects = (Seen("write", "svc", "mongo", "mongo", "mongo write"),)
    lesson = Lesson(subject, snapshot(before), OK, effects, snapshot(after))
    controls = Controls((snapshot(before),), (snapshot(after),), snapshot(twice or after), EXISTS)
    if undone is not None:
        controls = replace(
            controls, undone=snapshot(undone), undo=(Told(204),) * len(subject.undo), redone=snapshot(after), redo=OK
        )
    return make_case(lesson, controls, PROFILE, ())
