"""Clients that ask EMCO for something while an experiment goes on, and whether what they were told is true.

A driver may wait for its store for minutes, and a client with it: an answer that comes late is waited for beside the
experiment, and how late it was is measured.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import aiohttp

from harness.background import Background, request
from harness.campaign import Campaign
from harness.crashpoints.model import Told
from harness.emco.calls import Call
from harness.faults.victim import HarnessTrouble, UsageError
from harness.platforms.sending import one_attempt

_MOST_BODY = 600


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that a client makes beside the workload. path: with /v2;  body: as JSON, none for a GET."""

    service: str
    method: str
    path: str
    body: Any = None

    @property
    def label(self) -> str:
        """The name of what is created; empty where the body has none."""
        metadata = self.body.get("metadata") if isinstance(self.body, Mapping) else None
        return str(metadata.get("name", "")) if isinstance(metadata, Mapping) else ""

    @property
    def name(self) -> str:
        """`orchestrator POST /v2/projects during`."""
        return f"{self.service} {self.method} {self.path} {self.label}".rstrip()


def ask_of(call: Call) -> Ask:
    """A call of the workload as a client's request. Raises UsageError for one with files."""
    if call.multipart is not None:
        raise UsageError(f"{call.name} carries files: a client that asks beside the workload sends JSON only")
    return Ask(call.service, call.method, call.path, call.json)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client was told. began, ended: seconds of the relay's clock."""

    ask: Ask
    told: Told
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    def describe(self) -> str:
        """One line: `orchestrator POST /v2/projects during: 201 after 1.15 s`."""
        told = str(self.told.status) if self.told.status is not None else f"no answer ({self.told.body})"
        why = f": {self.told.body.strip()[:160]}" if self.told.kind == "refused" else ""
        return f"{self.ask.name}: {told} after {self.seconds:.2f} s{why}"


class Clients:
    """Clients of one EMCO. For use by one thread beside the environment's own."""

    def __init__(self, environment: Background) -> None:
        self._environment = environment
        self._pending: list[Future[Asked]] = []
        self.asked: list[Asked] = []

    def forget(self) -> None:
        """Give up what is not answered yet, and what was answered so far."""
        for one in self._pending:
            one.cancel()
        self._pending.clear()
        self.asked.clear()

    def begin(self, ask: Ask, *, limit: float) -> None:
        """Ask without waiting for the answer; the client gives up after `limit` seconds."""
        self._pending.append(self._environment.begin(lambda campaign: send(campaign, ask, limit=limit)))

    def answers(self, *, limit: float) -> tuple[Asked, ...]:
        """Wait for all answers; in the order of asking.

        Raises HarnessTrouble when one takes longer than `limit`, and where nobody asked for anything.
        """
        if not self._pending:
            raise HarnessTrouble("no client waits for an answer")
        deadline = time.monotonic() + limit
        pending, self._pending = self._pending, []
        try:
            asked = tuple(one.result(max(0.0, deadline - time.monotonic())) for one in pending)
        except TimeoutError:
            raise HarnessTrouble(f"not all of {len(pending)} requests were answered within {limit:g} s") from None
        self.asked += asked
        return asked

    def ask(self, ask: Ask, *, limit: float = 30.0) -> Asked:
        """Ask once and wait for the answer."""
        return self._environment.do(lambda campaign: send(campaign, ask, limit=limit))

    def ask_until(self, ask: Ask, wanted: Callable[[Asked], bool], *, limit: float) -> Asked:
        """Ask again and again until the answer is as wanted; the last answer, wanted or not, after `limit` seconds."""
        deadline = time.monotonic() + limit
        while True:
            asked = self.ask(ask, limit=max(1.0, deadline - time.monotonic()))
            if wanted(asked) or time.monotonic() >= deadline:
                return asked
            self._environment.do(_pause)

    def took_place(self, ask: Ask) -> bool:
        """Whether what was asked for is there now: what was created, or the state that a lifecycle call leads to.

        Raises HarnessTrouble where nothing tells.
        """
        target, _, verb = ask.path.rpartition("/")
        if ask.label:
            answer = self.ask(Ask(ask.service, "GET", f"{ask.path}/{ask.label}"))
            if answer.told.status in (200, 404):
                return answer.told.status == 200
            raise HarnessTrouble(f"whether it is there cannot be told: {answer.describe()}")
        state = LEADS_TO.get(verb)
        if state is None:
            raise HarnessTrouble(f"nothing tells whether {ask.name} took place")
        return self._state(ask.service, target) == state

    def lies(self) -> tuple[str, ...]:
        """What clients were told that is not so now, a sentence each. Raises HarnessTrouble where nobody asked."""
        if not self.asked:
            raise HarnessTrouble("no client was told anything: there is nothing that could be true or not")
        return untrue(self.asked, {one.ask.name: self.took_place(one.ask) for one in self.asked})

    def _state(self, service: str, target: str) -> str:
        async def read(campaign: Campaign) -> str:
            answer = await request(campaign, service, "GET", f"{target}/status")
            if not isinstance(answer.body, Mapping):
                raise HarnessTrouble(
                    f"the state of {target} cannot be told: {answer.status} {answer.text.strip()[:200]}"
                )
            actions = (answer.body.get("states") or {}).get("actions") or [{}]
            return str(actions[-1].get("state", ""))

        return self._environment.do(read)


LEADS_TO: Mapping[str, str] = {"approve": "Approved", "instantiate": "Instantiated", "terminate": "Terminated"}
"""The state that a lifecycle call of a group leads to."""


async def _pause(_: Campaign) -> None:
    await asyncio.sleep(0.05)  # between two looks at something that announces nothing; bounded by the caller's limit


async def send(campaign: Campaign, ask: Ask, *, limit: float) -> Asked:
    """Send a request once; what the client was told, who gives up after `limit` seconds."""
    if ask.service not in campaign.lab.services:
        known = ", ".join(campaign.lab.services)
        raise UsageError(f"{ask.service} is not among the services of this EMCO: {known}")
    host, port = campaign.lab.http(ask.service)
    clock = campaign.lab.relay.clock
    began = clock()
    try:
        async with (
            one_attempt(limit) as client,
            client.request(ask.method, f"http://{host}:{port}{ask.path}", json=ask.body) as answer,
        ):
            told = Told(answer.status, (await answer.text(errors="backslashreplace"))[:_MOST_BODY])
    except TimeoutError:
        told = Told(None, f"no answer within {limit:g} s")
    except aiohttp.ClientError as error:
        told = Told(None, f"{type(error).__name__}: {error}")
    return Asked(ask, told, began, clock())


def untrue(asked: Sequence[Asked], there: Mapping[str, bool]) -> tuple[str, ...]:
    """What clients were told that is not so, a sentence each.

    there: by an ask's name, whether what it asks for is there now. No answer allows both.
    """
    lies = []
    for one in asked:
        if one.told.kind == "acknowledged" and not there[one.ask.name]:
            lies.append(f"{one.ask.name} was acknowledged ({one.told.status}) and did not take place")
        if one.told.kind == "refused" and there[one.ask.name]:
            lies.append(f"{one.ask.name} was refused ({one.told.status}) and took place")
    return tuple(lies)
