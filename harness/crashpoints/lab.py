"""What a campaign needs from its surroundings: an environment to act in, and what is known about the system in it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from harness.crashpoints.model import Told
from harness.faults.victim import Victim
from harness.stores.canonical import CanonicalRules, Mask
from harness.stores.snapshot import Snapshot
from harness.wire.control import RelayControl
from harness.wire.effects import Effect


class Call(Protocol):
    """One mutating API call; only the lab looks inside."""

    @property
    def name(self) -> str: ...
    @property
    def service(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Rung:
    """One rung of the repair ladder: calls that may bring the system back when repeating and undoing do not."""

    name: str
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """A call of the workload with what undoes and what repairs it.

    undo:    calls that undo it, in order; empty: it has no inverse
    rungs:   the repair ladder
    teardown: calls that remove what the call belongs to altogether
    last_resorts: the last rungs: other ways to the state to which the teardown leads
    services: that have to run for what undoes and repairs it, beside those that are called
    refused: why the call must be refused; empty for a call that must succeed
    before:  for a refused call: the number of the workload's call before which it is tried
    """

    call: Call
    undo: tuple[Call, ...] = ()
    rungs: tuple[Rung, ...] = ()
    teardown: tuple[Call, ...] = ()
    last_resorts: tuple[Rung, ...] = ()
    services: frozenset[str] = frozenset()
    refused: str = ""
    before: int = -1


def _nothing_waits(_: Snapshot) -> bool:
    return False


def _nothing(_: Mask) -> bool:
    return False


def _never(_: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known about the system under test.

    rules:           how snapshots are made canonical, with masks learned so far
    slug:            readable name of an effect
    namer:           makes a namer for the effects of one service during one call, to be asked about each in its order:
                     one that works beside the call may have several things in hand, and names tell them apart
    paced:           whether effects of this name come at the pace of something outside, in a number that varies
    retries:         whether an effect of this name notes that an edge cannot be reached and will be tried again
    at_work:         why the system is not at rest, a sentence each, from a snapshot and the services that run; nothing
                     when it is
    at_work_after_restart: the same just after a start of these services
    between_tries:   whether one that is at work waits for its next try, which no effect shows until it is made
    may_be_at_work:  whether it looks at rest, but may take something up in the next moment
    without_inert:   a snapshot without leftovers that nothing will ever act on; and those, a line each
    without_unowned: a snapshot without anything that no record owns; and that, a line each
    never_masked:    whether a learned mask would hide what is judged, as states and references are
    """

    rules: Callable[[tuple[Mask, ...]], CanonicalRules]
    slug: Callable[[Effect], str]
    at_work: Callable[[Snapshot, frozenset[str]], tuple[str, ...]]
    at_work_after_restart: Callable[[Snapshot, frozenset[str]], tuple[str, ...]]
    may_be_at_work: Callable[[Snapshot, frozenset[str]], bool]
    without_inert: Callable[[Snapshot], tuple[Snapshot, tuple[str, ...]]]
    without_unowned: Callable[[Snapshot], tuple[Snapshot, tuple[str, ...]]]
    namer: Callable[[], Callable[[Effect], str]]
    paced: Callable[[str], bool] = _never
    retries: Callable[[str], bool] = _never
    between_tries: Callable[[Snapshot], bool] = _nothing_waits
    never_masked: Callable[[Mask], bool] = _nothing


@dataclass(frozen=True, slots=True)
class Limits:
    """All waits of a campaign, in seconds; each ends with an event or with a verdict that names the limit.

    quiet:       nothing happened for so long: at rest, for calls that only the called service works on
    quiet_async: the same where other services were given work
    at_rest:     how long the system may be at work without any effect before it counts as stuck
    retries:     the same for who waits for its next try: its pause, and whatever a busy machine adds
    resumes:     the same for what a service has in hand that works beside the calls: it goes on at once, or not at all
    moment:      how long a system that may be at work gets to begin, and a service to go on without its client
    hit:         until the planned effect happens
    ended:       until the connections of a killed process end
    reaction:    how long a service gets to notice that its client has gone
    answer:      until a call is answered
    """

    quiet: float = 0.015
    quiet_async: float = 0.04
    at_rest: float = 2.5
    retries: float = 8.0
    resumes: float = 1.0
    moment: float = 0.15
    hit: float = 30.0
    ended: float = 5.0
    reaction: float = 0.25
    answer: float = 30.0


class Lab(Protocol):
    """An environment with the system in it."""

    @property
    def environment(self) -> str:
        """Id of the environment's addresses: snapshots of another one do not fit."""

    @property
    def relay(self) -> RelayControl: ...

    @property
    def running(self) -> frozenset[str]:
        """The services that were started by the last clean slate and since."""

    @property
    def connectivity_retries(self) -> int:
        """How many answers so far were nothing but a lost connection between services, and were therefore repeated."""

    async def clean_slate(self, snapshot: Snapshot, *, only: frozenset[str] | None = None) -> None:
        """Kill all services, restore the snapshot, start them together, wait until each answers.

        only: start just these; the others stay down, so that none of them goes on with what it knew before
        """

    async def snapshot(self) -> Snapshot: ...

    def begin(self, call: Call) -> "asyncio.Task[Told]":
        """Send a call once. Cancelling the task closes the client's connection at once."""

    async def send(self, call: Call) -> Told:
        """Send a call; answers that are nothing but connectivity between services are repeated, within a limit."""

    def edges_refuse(self, *, refuse: bool) -> None:
        """Whether connections to edges are refused; a clean slate ends that."""

    def victim(self, service: str) -> Victim: ...

    def log_tail(self, service: str) -> str: ...
