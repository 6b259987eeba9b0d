"""A campaign: a workload, an environment, what was learned, and the points. Puts the layers together."""

import asyncio
import contextlib
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from filelock import FileLock
from pymongo.errors import PyMongoError

from harness.crashpoints.inplace import learn_in_place
from harness.crashpoints.judge import expected_states
from harness.crashpoints.lab import Limits, Profile, Rung, Subject
from harness.crashpoints.learn import (
    CallFails,
    Controls,
    DoesNotSettle,
    Lesson,
    Seen,
    learn_controls,
    observe,
    plan_call,
    settle,
    stable,
)
from harness.crashpoints.library import Library
from harness.crashpoints.model import (
    CALLED,
    STORE_FAULTS,
    CallPlan,
    CrashPoint,
    Fault,
    Outcome,
    Plan,
    PointResult,
    Proof,
    Told,
)
from harness.crashpoints.replay import Case, Memory, Replayer, make_case
from harness.crashpoints.survey import Survey, plan_elsewhere, survey, works_elsewhere
from harness.emco import records
from harness.emco.calls import Call, clusters, not_tested, services
from harness.emco.inputs import InputError
from harness.emco.phases import plan_calls
from harness.emco.refusals import RefusedCall, digest, refused_calls
from harness.emco.truth import untruths
from harness.emco.workload import read_workload
from harness.faults.journal import MARKER, Journal, process_started
from harness.faults.victim import ServiceDown, UsageError
from harness.platforms.images.named import ServiceImage
from harness.platforms.opening import (
    EmcoLab,
    Ending,
    check_platform,
    images_of,
    open_environment,
    platform_limits,
)
from harness.platforms.process.edges import check_edges
from harness.platforms.process.lab import EdgeName
from harness.platforms.process.programs import find_binaries
from harness.platforms.settings import EDGES, PLATFORMS, Settings
from harness.stores.mongo import StoreError
from harness.stores.snapshot import Snapshot
from harness.wire.links import RelayError

_GROUPS = "deployment-intent-groups"
PROFILE = Profile(
    rules=records.rules,
    slug=records.effect_slug,
    at_work=partial(records.at_work, restarted=False),
    at_work_after_restart=partial(records.at_work, restarted=True),
    may_be_at_work=records.may_be_at_work,
    without_inert=records.without_inert,
    without_unowned=records.without_unowned,
    namer=records.EffectNames,
    paced=records.reported,
    retries=records.retries,
    never_masked=records.never_masked,
)


@dataclass(frozen=True, slots=True)
class Work:
    """What a campaign is about, known before anything is started.

    subjects: the calls in order;  refused: calls that must be refused
    digest:   of workload, settings, binaries and code
    """

    title: str
    digest: str
    subjects: tuple[Subject, ...]
    refused: tuple[Subject, ...]
    setup: frozenset[str]
    services: tuple[str, ...]
    edges: tuple[EdgeName, ...]
    not_tested: tuple[str, ...]


def prepare(settings: Settings) -> Work:
    """Read the workload and look whether everything is there. Raises UsageError; starts nothing."""
    try:
        workload = read_workload(settings.workload, settings.values, sidecar=settings.sidecar)
        calls = plan_calls(workload)
        refused = refused_calls(workload, calls)
    except InputError as error:
        raise UsageError(str(error)) from error
    needed = tuple(dict.fromkeys((*services(calls), "rsync")))
    if settings.emco_bin:
        find_binaries(settings.emco_bin, needed)
    edges = tuple(EdgeName(*pair) for pair in clusters(calls))
    check_edges(settings, edges)
    check_platform(settings)
    images = images_of(settings, needed)
    return Work(
        title=_title(settings),
        digest=_digest(settings, calls, refused, needed, images),
        subjects=tuple(_subject(call, calls) for call in calls),
        refused=tuple(_refused(one, calls) for one in refused) if "none" in settings.faults else (),
        setup=frozenset(call.name for call in calls if call.setup),
        services=_start_order(needed),
        edges=edges,
        not_tested=not_tested(calls),
    )


def _title(settings: Settings) -> str:
    return f"{settings.workload.name} on {emco_name(settings)}"


def emco_name(settings: Settings) -> str:
    """Which EMCO is tested, and on what kind of edges where these are not the emulator, for titles."""
    real = f"EMCO {settings.emco_version}" if settings.emco_version else "EMCO binaries"
    real = f"EMCO in {settings.context}" if settings.context else real
    emco = real if settings.is_real else f"the reference EMCO ({settings.reference})"
    edges = "" if settings.edges == EDGES[0] else f", edges by {settings.edges}"
    edges = f" on {settings.platform}{edges}" if settings.platform != PLATFORMS[0] else edges
    return emco + edges + (f", {len(settings.edge_kubeconfigs)} running clusters" if settings.edge_kubeconfigs else "")


def _start_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """The orchestrator first: it stores the schema that the others wait for."""
    return tuple(sorted(names, key=lambda name: (name != "orchestrator", name)))


def _subject(call: Call, calls: tuple[Call, ...]) -> Subject:
    rungs = tuple(Rung(rung.name, rung.calls) for rung in call.ladder)
    if not call.lifecycle:
        return Subject(call, call.undo, rungs, services=_repairers(call))
    teardown = _teardown(call, calls)
    last = _last_resorts(call, calls, teardown)
    return Subject(call, call.undo, rungs, teardown, last, _repairers(call))


def _teardown(call: Call, calls: tuple[Call, ...]) -> tuple[Call, ...]:
    """What the workload itself does to be rid of a resource: terminate it, delete its children and itself."""
    terminate = tuple(one for one in calls if one.target == call.target and one.verb == "terminate")[:1]
    deletes = tuple(one for one in calls if one.verb == "delete" and f"{one.target}/".startswith(f"{call.target}/"))
    return terminate + deletes if deletes else ()


def _last_resorts(call: Call, calls: tuple[Call, ...], teardown: tuple[Call, ...]) -> tuple[Rung, ...]:
    """Removing it; and bringing it up again first, for what refuses to be terminated as it is."""
    if not teardown:
        return ()
    up = {
        verb: one
        for verb in ("approve", "instantiate")
        for one in calls
        if one.target == call.target and one.verb == verb
    }
    rungs = [Rung("removing it altogether", teardown)]
    if "instantiate" in up:
        rungs.append(Rung(f"{' + '.join(up)}, then removing it altogether", tuple(up.values()) + teardown))
    return tuple(rungs)


def _refused(one: RefusedCall, calls: tuple[Call, ...]) -> Subject:
    """A call that must be refused, with what may mend it where it was refused and did its damage all the same."""
    call = one.call
    planned = next((known for known in calls if known.name == call.name), call)
    rungs = tuple(Rung(rung.name, rung.calls) for rung in planned.ladder)
    teardown = _teardown(call, calls)
    return Subject(call, (), rungs, teardown, services=_repairers(planned), refused=one.why, before=one.before)


def _repairers(call: Call) -> frozenset[str]:
    """rsync, where undoing or repairing runs something."""
    steps = [*call.undo, *(step for rung in call.ladder for step in rung.calls)]
    return frozenset({"rsync"} if any(step.lifecycle for step in steps) else ())


def _digest(
    settings: Settings,
    calls: tuple[Call, ...],
    refused: tuple[RefusedCall, ...],
    needed: tuple[str, ...],
    images: Mapping[str, ServiceImage],
) -> str:
    """Whatever changes what is learned changes the digest: workload, defects or binaries, and the code itself."""
    content = hashlib.sha256(digest(calls, refused).encode())
    clusters_named = " ".join(map(str, settings.edge_kubeconfigs))
    content.update(
        f"{settings.reference} {settings.max_retries} {settings.mongo_uri} {settings.etcd_endpoint} "
        f"{settings.edges} {settings.edge_assets} {clusters_named}".encode()
    )
    if settings.emco_bin:
        for binary in find_binaries(settings.emco_bin, needed).values():
            stat = binary.program.stat()
            content.update(f"{binary.service} {stat.st_size} {stat.st_mtime_ns}".encode())
    content.update(b"charts" * bool(settings.charts) + b" ".join(path.read_bytes() for path in settings.chart_values))
    for service, image in images.items():
        content.update(f"{service} {image.name} {image.digest}".encode())
    root = Path(__file__).parent.parent
    for package in ("harness", "reference"):
        for source in sorted((root / package).rglob("*.py")):
            content.update(source.read_bytes())
    return content.hexdigest()[:16]


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
            if not _worth_a_survey(lesson, self.work, self._settings) or self.library.survey(name) is not None:
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
        return _lessons(self.work, self.library)

    async def run(self, point: CrashPoint) -> PointResult:
        """The judgement of one point."""
        try:
            case = await self._case(point)
        except (DoesNotSettle, CallFails) as error:
            told = Told(None, str(error))
            return PointResult(
                point, Outcome.UNKNOWN, f"its control runs failed: {error}", Proof(False, 0, "", "no injection"), told
            )
        except (ServiceDown, StoreError, RelayError, PyMongoError, OSError) as error:
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
        return ("its status is not answered",) if answer is None and reached == "after" else untruths(answer, state)

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
        with contextlib.suppress(DoesNotSettle, CallFails, ServiceDown):
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


def _lessons(work: Work, library: Library) -> tuple[Lesson, ...] | None:
    lessons: list[Lesson] = []
    for index, subject in enumerate(work.subjects):
        lesson = library.lesson(index, subject)
        if lesson is None:
            return None
        lessons.append(lesson)
    return tuple(lessons)


def _worth_a_survey(lesson: Lesson, work: Work, settings: Settings) -> bool:
    return lesson.subject.call.name not in work.setup and works_elsewhere(lesson, PROFILE, settings.others)


def stored_plan(work: Work, settings: Settings, library: Library) -> Plan | None:
    """The plan, from what was learned; None when that is not all there yet."""
    lessons = _lessons(work, library)
    if lessons is None:
        return None
    surveys: dict[str, Survey] = {}
    for lesson in lessons:
        if _worth_a_survey(lesson, work, settings):
            found = library.survey(lesson.subject.call.name)
            if found is None:
                return None
            surveys[found.call] = found
    runs = {lesson.subject.call.name: library.runs(lesson.subject.call.name) for lesson in lessons}
    return make_plan(work, settings, lessons, surveys, runs)


def make_plan(
    work: Work,
    settings: Settings,
    lessons: tuple[Lesson, ...],
    surveys: Mapping[str, Survey],
    runs: Mapping[str, tuple[tuple[Seen, ...], ...]] = MappingProxyType({}),
) -> Plan:
    """Enumerate all points: of every call, by every victim, and of the calls that must be refused.

    runs: effects of the calls in control runs, as far as these were made
    """
    known: tuple[Fault, ...] = ("crash", "disconnect") if CALLED in settings.victims else ()
    faults = tuple(fault for fault in known if fault in settings.faults)
    of_stores = tuple(fault for fault in STORE_FAULTS if fault in settings.faults and CALLED in settings.victims)
    elsewhere: tuple[Fault, ...] = ("crash", *STORE_FAULTS)
    calls: list[CallPlan] = []
    for lesson in lessons:
        name = lesson.subject.call.name
        quiet = name in work.setup
        note = "made, but not tested" if quiet else ""
        usual, stores = ((), ()) if quiet else (faults, of_stores)
        plan = plan_call(lesson, faults=usual, store_faults=stores, note=note, runs=runs.get(name, ()))
        if name in surveys:
            struck = tuple(fault for fault in elsewhere if fault in settings.faults)
            plan = plan_elsewhere(plan, surveys[name], PROFILE, victims=settings.others, faults=struck)
        calls.append(plan)
    by_name: dict[str, list[CrashPoint]] = {}
    for one in work.refused if CALLED in settings.victims else ():
        point = CrashPoint(one.call.name, one.call.service, "refused", one.refused, 1, 0, "none")
        by_name.setdefault(one.call.name, []).append(point)
    plans = [_with(call, tuple(by_name.pop(call.name, ()))) for call in calls]
    for one in work.refused:
        if points := by_name.pop(one.call.name, None):
            call = one.call
            plans.append(
                CallPlan(call.name, call.service, call.method, call.path, (), tuple(points), "must be refused")
            )
    masks = tuple(f"{mask.name}: {mask.where} {mask.path}".rstrip() for mask in records.MASKS)
    return Plan(work.digest, work.title, tuple(plans), masks, work.not_tested)


def _with(call: CallPlan, points: tuple[CrashPoint, ...]) -> CallPlan:
    return CallPlan(call.name, call.service, call.method, call.path, call.effects, call.points + points, call.note)


def library_folder(settings: Settings, work: Work, environment: str) -> Path:
    """Where what is learned is kept: one folder for each digest and kind of addresses."""
    return settings.cache_folder / f"{work.digest}-{environment.replace('/', '-')}"


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
