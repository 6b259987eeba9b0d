"""Learning on its own: the plan without running it, and every call's effects for people to read."""

import asyncio
import signal
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import uvloop
from rich.console import Console

from harness.campaign import Campaign, open_campaign
from harness.crashpoints.learn import CallFails, DoesNotSettle, Lesson, Seen
from harness.crashpoints.model import Plan
from harness.faults.victim import HarnessTrouble
from harness.planning import stored_plan
from harness.platforms.settings import Settings
from harness.work import Work, prepare

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Taught:
    """One call as learned: every effect, by whichever service; how often it was run; what varied and is masked."""

    call: str
    method: str
    path: str
    service: str
    told: int | None
    effects: tuple[Seen, ...]
    runs: int
    masks: tuple[str, ...]


def learn_plan(settings: Settings, console: Console) -> Plan:
    """The plan; learns when that was not done under the same digest."""
    work = prepare(settings)
    return uvloop.run(interruptible(_plan(settings, work, console)))


async def interruptible(work: Coroutine[Any, Any, T], *, left: str = "everything was undone") -> T:
    """Ctrl-C and SIGTERM end it early, with what that leaves. Raises HarnessTrouble then."""
    task = asyncio.ensure_future(work)
    got: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        got.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not got:
            raise
        raise HarnessTrouble(f"ended by {got[0].name}; {left}") from None


async def _plan(settings: Settings, work: Work, console: Console) -> Plan:
    async with open_campaign(settings, work, name="learn") as campaign:
        await _learned(campaign, console)
        plan = stored_plan(work, settings, campaign.library)
        if plan is None:
            raise HarnessTrouble("the workload was learned, but cannot be read back; is the cache folder writable?")
        return plan


def learn_everything(settings: Settings, console: Console) -> tuple[Taught, ...]:
    """Every call, with its control runs."""
    work = prepare(settings)
    return uvloop.run(interruptible(_everything(settings, work, console)))


async def _everything(settings: Settings, work: Work, console: Console) -> tuple[Taught, ...]:
    async with open_campaign(settings, work, name="learn") as campaign:
        lessons = await _learned(campaign, console)
        taught = []
        for number, lesson in enumerate(lessons, 1):
            controls = await campaign.controls(lesson)
            console.print(
                f"control runs {number}/{len(lessons)} {lesson.subject.call.name}", highlight=False, markup=False
            )
            call = lesson.subject.call
            masks = tuple(f"{mask.where} {mask.path}" for mask in controls.masks)
            taught.append(
                Taught(
                    call.name,
                    call.method,
                    call.path,
                    call.service,
                    lesson.told.status,
                    lesson.effects,
                    len(controls.effects),
                    masks,
                )
            )
        return tuple(taught)


async def _learned(campaign: Campaign, console: Console) -> tuple[Lesson, ...]:
    total = len(campaign.work.subjects)
    try:
        return await campaign.learn(
            lambda index, call: console.print(f"learning {index + 1}/{total} {call}", highlight=False, markup=False)
        )
    except (CallFails, DoesNotSettle) as error:
        raise HarnessTrouble(str(error)) from error


def print_lessons(console: Console, taught: tuple[Taught, ...]) -> None:
    """Every call with its effects, in order."""
    for call in taught:
        console.print(
            f"\n{call.call}  {call.method} {call.path} -> {call.told}, {call.runs} runs",
            style="bold",
            highlight=False,
            markup=False,
        )
        for seen in call.effects:
            console.print(
                f"  {seen.source:<13} {seen.slug:<44} {seen.text}", highlight=False, markup=False, soft_wrap=True
            )
        for mask in call.masks:
            console.print(f"  masked, since it varies: {mask}", highlight=False, markup=False, soft_wrap=True)
