"""A campaign: a workload, an environment, what was learned, and the points. Puts the layers together."""

import asyncio
import contextlib
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from filelock import FileLock
from pymongo.errors import PyMongoError

from harness.crashpoints.inplace import learn_in_place
from harness.crashpoints.judge import expected_states
from harness.crashpoints.lab import Limits, Subject
from harness.crashpoints.learn import (
    CallFails,
    Controls,
    DoesNotSettle,
    Lesson,
    learn_controls,
    observe,
    settle,
    stable,
)
from harness.crashpoints.library import Library
from harness.crashpoints.model import CrashPoint, Outcome, PointResult, Proof, Told
from harness.crashpoints.replay import UNANSWERED, Case, Memory, Replayer, make_case
from harness.crashpoints.survey import survey
from harness.emco.calls import Call
from harness.emco.profile import PROFILE
from harness.emco.truth import untruths
from harness.faults.journal import MARKER, Journal, process_started
from harness.faults.victim import HarnessTrouble, ServiceDown, UsageError
from harness.planning import lessons_of, library_folder, worth_a_survey
from harness.platforms.opening import EmcoLab, Ending, open_environment, platform_limits
from harness.platforms.settings import Settings
from harness.stores.mongo import StoreError
from harness.stores.snapshot import Snapshot
from harness.wire.links import RelayError
from harness.work import Work

_GROUPS = "deployment-intent-groups"


def _nobody(index: int, call: str) -> None:
    """Is told of each learned call where nobody wants to know."""


class Campaign:
    """A lab with what was learned in it. Use open_campaign()."""

    def __init__(
        self, work: Work, settings: Settings, opened: tuple[EmcoLab, Ending], limits: Limits, library: Library
    ) -> None:
        self.work = work
        self.lab, self.disruptions = opened
        self.library = library
        self.limits = limits
        self._settings = settings
        self._cases: dict[str, Case] = {}
        self._memory = Memory()
        self._lessons: tuple[Lesson, ...] = ()

    async def learn(self, told: Callable[[int, str], None] = _nobody) -> tuple[Lesson, ...]:
        """Run the workload once without any fault, unless that was done under the same digest.

        Raises CallFails when a call is refused and DoesNotSettle when EMCO does not come to rest.
        """
        self._lessons = self._known() or await self._taught(told)
        await self._surveyed()
        return self._lessons

    async def _taught(self, told: Callable[[int, str], None]) -> tuple[Lesson, ...]:
        await self.lab.clean_slate(Snapshot(self.lab.environment, {}, {}, {}))
        before, why = await settle(self.lab, PROFILE, self.limits, quiet=self.limits.quiet_async)
        if why:
            raise DoesNotSettle(f"after its start EMCO does not come to rest: {why}")
        lessons = []
        for index, subject in enumerate(self.work.subjects):
            lesson = await observe(self.lab, PROFILE, self.limits, subject, before, must_rest=True)
            if lesson.told.kind != "acknowledged":
                call = subject.call
                raise CallFails(
                    f"{call.name} ({call.method} {call.path}) was answered {lesson.told.status or 'nothing'} "
                    "without any fault: "
                    f"{lesson.told.body.strip()[:300] or 'no body'}"
                )
            if self.lab.relay.problems:
                raise DoesNotSettle(
                    "effects cannot be counted where traffic cannot be decoded (TLS between a service and its store?): "
                    + "; ".join(self.lab.relay.problems[:3])
                )
            self.library.keep_lesson(index, lesson)
            lessons.append(lesson)
            before = await self._next_before(lesson)
            told(index, subject.call.name)
        return tuple(lessons)

    async def _surveyed(self) -> None:
        """Look what the other victims do because of the calls, unless that was done, in whichever environment.

        A survey names effects, not addresses: what was seen on processes is planned in pods, too.
        """
        folders = self._settings.cache_folder.glob(f"{self.work.digest}-*")
        libraries = [self.library, *(Library(one) for one in sorted(folders) if one != self.library.folder)]
        for lesson in self._lessons:
            name = lesson.subject.call.name
            if not worth_a_survey(lesson, self.work, self._settings) or self.library.survey(name) is not None:
                continue
            known = next((found for one in libraries if (found := one.survey(name)) is not None), None)
            self.library.keep_survey(
                known or await survey(self.lab, PROFILE, self.limits, lesson, self._settings.others)
            )

    async def _next_before(self, lesson: Lesson) -> Snapshot:
        """The state for the next call: what a restart would change by itself is changed here, once for all."""
        if not PROFILE.at_work_after_restart(lesson.after, self.lab.running):
            return lesson.after
        return await stable(self.lab, PROFILE, self.limits, lesson.after)

    def _known(self) -> tuple[Lesson, ...] | None:
        return lessons_of(self.work, self.library)

    async def run(self, point: CrashPoint) -> PointResult:
        """The judgement of one point."""
        try:
            case = await self._case(point)
        except (DoesNotSettle, CallFails) as error:
            told = Told(None, str(error))
            return PointResult(
                point, Outcome.UNKNOWN, f"its control runs failed: {error}", Proof(False, 0, "", "no injection"), told
            )
        except (HarnessTrouble, ServiceDown, StoreError, RelayError, PyMongoError, OSError) as error:
            await self.lab.keep_evidence(point.id)
            return _trouble(point, error)
        brisk = point.elsewhere and not point.under  # else it may wait for its next try
        limits = replace(self.limits, at_rest=self.limits.resumes) if brisk else self.limits
        replayer = Replayer(self.lab, PROFILE, limits, {point.call: case}, self._memory, untrue=self._untrue)
        try:
            result = await replayer.run(point)
        except (StoreError, RelayError, PyMongoError, OSError) as error:
            result = _trouble(point, error)
        if result.outcome is Outcome.UNKNOWN:
            await self.lab.keep_evidence(point.id)
        return replace(result, replay=self._settings.replay(point.id))

    async def _untrue(self, subject: Subject, state: Snapshot, reached: str) -> tuple[str, ...]:
        """What the status API says of the group that a call is about, and is not so; or that it says nothing after the
        call, when there is something to say."""
        call = subject.call
        if not (isinstance(call, Call) and call.lifecycle and call.kind == _GROUPS):
            return ()
        path = f"/v2/{call.target}/status?status=deployed&output=all"
        answer = await self.lab.ask(call.service, path)
        return (UNANSWERED,) if answer is None and reached == "after" else untruths(answer, state)

    async def _case(self, point: CrashPoint) -> Case:
        name = f"{point.call} {point.effect}" if point.side == "refused" else point.call
        if name not in self._cases or point.side == "refused":
            self._cases[name] = (
                await self._refused_case(point) if point.side == "refused" else await self._learned_case(point.call)
            )
        return self._cases[name]

    async def _learned_case(self, name: str) -> Case:
        """With its control runs, which one worker makes and all use."""
        lesson = next(lesson for lesson in self._loaded() if lesson.subject.call.name == name)
        controls = await self.controls(lesson)
        return make_case(lesson, controls, PROFILE, controls.masks)

    async def control(self, name: str) -> None:
        """Make the control runs of a call, unless they were made. What goes wrong there its points tell."""
        with contextlib.suppress(HarnessTrouble, ServiceDown):
            await self.controls(next(lesson for lesson in self._loaded() if lesson.subject.call.name == name))

    async def controls(self, lesson: Lesson) -> Controls:
        """The control states of a call; made by one worker, read by all."""
        name = lesson.subject.call.name
        controls = self.library.controls(name)
        if controls is not None:
            return controls
        key = hashlib.sha256(name.encode()).hexdigest()[:16]
        lock = FileLock(self.library.folder / f"{key}.lock", thread_local=False)
        await asyncio.to_thread(lock.acquire)  # in a thread: the relays of this loop must go on
        try:
            controls = self.library.controls(name)
            if controls is None:
                controls = await learn_controls(self.lab, PROFILE, self.limits, lesson)
                controls = await learn_in_place(self.lab, PROFILE, self.limits, lesson, controls)
                self.library.keep_controls(name, controls)
        finally:
            lock.release()
        return controls

    async def _refused_case(self, point: CrashPoint) -> Case:
        """What the state is before a call that must be refused: it is left in the lab, ready for the call."""
        subject = next(one for one in self.work.refused if one.call.name == point.call and one.refused == point.effect)
        lessons = self._loaded()
        before = lessons[subject.before].before if subject.before < len(lessons) else lessons[-1].after
        base = await stable(self.lab, PROFILE, self.limits, before)
        rules = PROFILE.rules(())
        stays = frozenset(PROFILE.at_work_after_restart(base, self.lab.running))
        controls = Controls(before=(base,), after=(), twice=base, repeat=Told(None), stays=stays)
        return Case(
            Lesson(subject, base, Told(None), (), base), controls, expected_states(controls, PROFILE, rules), rules
        )

    def _loaded(self) -> tuple[Lesson, ...]:
        if not self._lessons:
            known = self._known()
            if known is None:
                raise UsageError("nothing was learned yet under this digest; run `emco-chaos learn`")
            self._lessons = known
        return self._lessons


def _trouble(point: CrashPoint, error: Exception) -> PointResult:
    """A point that the harness or its surroundings spoiled; the next one begins from a clean slate again."""
    text = f"{type(error).__name__}: {error}"
    return PointResult(point, Outcome.UNKNOWN, text, Proof(False, 0, "", "no verdict"), Told(None, text))


@contextlib.asynccontextmanager
async def open_campaign(
    settings: Settings, work: Work, *, name: str, limits: Limits | None = None
) -> AsyncIterator[Campaign]:
    """Bring an environment up for a campaign and take it down again. `name` is part of its folder's name."""
    limits = limits or platform_limits(settings)
    folder = settings.work_folder / f"{os.getpid()}-{name}"
    undo = settings.state_folder / "undo" / f"{os.getpid()}-{process_started(os.getpid())}.undo"
    folders = Journal(undo.with_name(f"{undo.stem}.folder.undo"))
    number = folders.record("folder", path=str(folder))
    folder.mkdir(mode=0o700, parents=True)
    (folder / MARKER).touch()
    try:
        async with open_environment(
            settings, limits, services=work.services, edges=work.edges, folder=folder, undo=undo
        ) as opened:
            library = Library(library_folder(settings, work, opened[0].environment))
            campaign = Campaign(work, settings, opened, limits, library)
            try:
                yield campaign
            finally:
                await campaign.disruptions.close()
    finally:
        shutil.rmtree(folder)
        folders.done(number)
        folders.close()
