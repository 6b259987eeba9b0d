"""An environment in a thread of its own, for callers that are not asynchronous: a pytest session holds one open.

Everything that touches the environment happens in that thread: its event loop runs there, its network namespace belongs
to it, and the processes that were started die when it ends.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import aiohttp
import uvloop

from harness.campaign import Campaign, open_campaign
from harness.crashpoints.inject import Injected, inject
from harness.crashpoints.learn import Lesson, settle
from harness.crashpoints.model import CrashPoint
from harness.emco.profile import PROFILE
from harness.faults.victim import HarnessTrouble
from harness.platforms.sending import one_attempt
from harness.platforms.settings import Settings
from harness.stores.snapshot import Snapshot
from harness.work import Work

T = TypeVar("T")
_CLOSE_LIMIT = 60.0


class Background:
    """One environment, opened by open() and taken down by close(). For use by one other thread."""

    def __init__(self, settings: Settings, work: Work, *, name: str) -> None:
        self._settings = settings
        self._work = work
        self._name = name
        self._thread = threading.Thread(target=self._serve, name="emco-environment", daemon=True)
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._open: _Open | None = None
        self._closing = threading.Event()

    def open(self) -> None:
        """Bring the environment up. Raises what open_campaign raises, UsageError for one."""
        self._thread.start()
        self._ready.wait()
        if (error := self._error) is not None:
            self._error = None
            raise error

    def do(self, act: Callable[[Campaign], Coroutine[Any, Any, T]]) -> T:
        """Let the environment's thread do something and wait for it; an interrupt here ends it there as well."""
        if self._open is None or self._open.campaign is None or not self._thread.is_alive():
            raise HarnessTrouble("the environment is not open (any more)")
        begun = _Begun(act, self._open.campaign)
        self._open.loop.call_soon_threadsafe(begun.start)
        try:
            return begun.result.result()
        except BaseException:
            self._open.loop.call_soon_threadsafe(begun.cancel)
            begun.over.wait(_CLOSE_LIMIT)  # the next act must not begin before this one is over
            raise

    def begin(self, act: Callable[[Campaign], Coroutine[Any, Any, T]]) -> "Future[T]":
        """Let the environment's thread do something while the caller goes on."""
        if self._open is None or self._open.campaign is None or not self._thread.is_alive():
            raise HarnessTrouble("the environment is not open (any more)")
        return asyncio.run_coroutine_threadsafe(act(self._open.campaign), self._open.loop)

    def close(self) -> None:
        """Take everything down and wait for it; what cannot be taken down is in the undo journal."""
        self._closing.set()
        if self._open is not None and not self._open.loop.is_closed():
            with contextlib.suppress(RuntimeError):  # it ended by itself at this very moment
                self._open.loop.call_soon_threadsafe(self._open.task.cancel)
        self._thread.join(_CLOSE_LIMIT)
        if self._thread.is_alive():
            raise HarnessTrouble(f"the environment was not down within {_CLOSE_LIMIT:g} s; see `emco-chaos rollback`")
        if (error := self._error) is not None:
            self._error = None
            raise error

    def _serve(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._live())
        except asyncio.CancelledError:
            pass  # close() asked for it
        except BaseException as error:  # noqa: BLE001  raised in the caller's thread, by open() or close()
            self._error = error
        finally:
            self._ready.set()

    async def _live(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open = _Open(asyncio.get_running_loop(), task)
        if self._closing.is_set():
            return
        async with open_campaign(self._settings, self._work, name=self._name) as campaign:
            self._open.campaign = campaign
            self._ready.set()
            await asyncio.Event().wait()  # until close() cancels


class _Begun(Generic[T]):
    """One act in the environment's thread. `over` is set when nothing of it goes on, also if it was never started.

    Not asyncio.run_coroutine_threadsafe: its future is done as soon as it is cancelled, whatever the task still does.
    """

    def __init__(self, act: Callable[[Campaign], Coroutine[Any, Any, T]], campaign: Campaign) -> None:
        self.result: Future[T] = Future()
        self.over = threading.Event()
        self._act = act
        self._campaign = campaign
        self._task: asyncio.Task[T] | None = None
        self._cancelled = False

    def start(self) -> None:
        """In the loop: begin."""
        if self._cancelled:
            self.over.set()
            return
        self._task = asyncio.get_running_loop().create_task(self._act(self._campaign))
        self._task.add_done_callback(self._done)

    def cancel(self) -> None:
        """In the loop: end it."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    def _done(self, task: "asyncio.Task[T]") -> None:
        if task.cancelled():
            self.result.set_exception(HarnessTrouble("the environment was taken down meanwhile"))
        elif (error := task.exception()) is not None:
            self.result.set_exception(error)
        else:
            self.result.set_result(task.result())
        self.over.set()


@dataclass(slots=True)
class _Open:
    loop: asyncio.AbstractEventLoop
    task: "asyncio.Task[Any]"
    campaign: Campaign | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What EMCO answered.

    text: the whole body;  body: the same, read as JSON, or None where it is no JSON
    """

    status: int
    text: str

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400

    @property
    def body(self) -> Any:
        try:
            return json.loads(self.text)
        except ValueError:
            return None


async def request(campaign: Campaign, service: str, method: str, path: str, body: Any = None) -> Answer:
    """Send one request to a service, once. Raises HarnessTrouble when there is no answer."""
    if service not in campaign.lab.services:
        known = ", ".join(campaign.lab.services)
        raise HarnessTrouble(f"{service} is not among the services of this environment: {known}")
    host, port = campaign.lab.http(service)
    try:
        async with (
            one_attempt(campaign.limits.answer) as client,
            client.request(method, f"http://{host}:{port}{path}", json=body) as answer,
        ):
            return Answer(answer.status, await answer.text(errors="backslashreplace"))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise HarnessTrouble(f"{service} did not answer {method} {path}: {type(error).__name__} {error}") from error


async def make_empty(campaign: Campaign) -> None:
    """The clean slate: nothing in the stores and on the edges, all services freshly started."""
    await campaign.lab.clean_slate(Snapshot(campaign.lab.environment, {}, {}, {}))
    await at_rest(campaign)


async def at_rest(campaign: Campaign) -> str:
    """Wait until EMCO is at rest; the reason when it does not get there."""
    limits = campaign.limits
    _, why = await settle(campaign.lab, PROFILE, limits, quiet=limits.quiet_async)
    return why


async def go_to(campaign: Campaign, call: str) -> Lesson:
    """Make the state right before a call of the workload. Raises HarnessTrouble for an unknown name."""
    lesson = next((one for one in await campaign.learn() if one.subject.call.name == call), None)
    if lesson is None:
        raise HarnessTrouble(f"the workload has no call {call!r}; `emco-chaos points` lists them all")
    await campaign.lab.clean_slate(lesson.before)
    await at_rest(campaign)
    return lesson


async def inject_here(campaign: Campaign, point: CrashPoint) -> Injected:
    """The point's call in the present state, and the fault in it; a crashed service is not started again.

    Raises HarnessTrouble when it cannot be proven that the fault happened as planned.
    """
    call = next((one.call for one in campaign.work.subjects if one.call.name == point.call), None)
    if call is None:
        raise HarnessTrouble(f"the workload has no call {point.call!r}")
    injected = await inject(campaign.lab, PROFILE, campaign.limits, point, call)
    if not injected.proof.proven:
        raise HarnessTrouble(f"{point.id}: the fault is not proven: {injected.proof.how}")
    return injected


async def inject_at(campaign: Campaign, point: CrashPoint) -> Injected:
    """The state before the point's call, the call, and the fault in it; a crashed service is not started again.

    Raises HarnessTrouble when it cannot be proven that the fault happened as planned.
    """
    await go_to(campaign, point.call)
    return await inject_here(campaign, point)
