"""From what was learned to the points that are to be run."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from harness.crashpoints.learn import Lesson, Seen, plan_call
from harness.crashpoints.library import Library
from harness.crashpoints.model import CALLED, STORE_FAULTS, CallPlan, CrashPoint, Fault, Plan
from harness.crashpoints.survey import Survey, plan_elsewhere, works_elsewhere
from harness.emco import records
from harness.emco.profile import PROFILE
from harness.platforms.settings import Settings
from harness.work import Work


def lessons_of(work: Work, library: Library) -> tuple[Lesson, ...] | None:
    """What is known of every call of the workload; None when not all of it was learned yet."""
    lessons: list[Lesson] = []
    for index, subject in enumerate(work.subjects):
        lesson = library.lesson(index, subject)
        if lesson is None:
            return None
        lessons.append(lesson)
    return tuple(lessons)


def worth_a_survey(lesson: Lesson, work: Work, settings: Settings) -> bool:
    """Whether a call makes services work that are victims beside it."""
    return lesson.subject.call.name not in work.setup and works_elsewhere(lesson, PROFILE, settings.others)


def stored_plan(work: Work, settings: Settings, library: Library) -> Plan | None:
    """The plan, from what was learned; None when that is not all there yet."""
    lessons = lessons_of(work, library)
    if lessons is None:
        return None
    surveys: dict[str, Survey] = {}
    for lesson in lessons:
        if worth_a_survey(lesson, work, settings):
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
