"""One run from settings to exit code: learn, plan, run, summary, reports. What the command line and the nightly use."""

import asyncio
import difflib
import fnmatch
import re
import signal
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from rich.console import Console

from harness.crashpoints.model import CrashPoint, Grade, Outcome, Plan, PointResult, Proof, RunSummary, Told
from harness.evidence.run_folder import RunFolder
from harness.evidence.versions import versions
from harness.faults.victim import UsageError
from harness.platforms.settings import Settings
from harness.reporting.baseline import Baseline, BaselineVerdict
from harness.reporting.baseline import apply as apply_baseline
from harness.reporting.summary import SCHEMA, write_summary
from harness.reporting.verdict import Verdict, judge
from harness.runner import Worker, WorkerTrouble, load_plan, run_controls, run_points, workers
from harness.work import Work, prepare


class Watcher(Protocol):
    """What is told of a run while it goes on."""

    def learned(self, index: int, call: str, total: int) -> None: ...
    def controlled(self, index: int, call: str, total: int) -> None: ...
    def started(self, plan: Plan) -> None: ...
    def finished(self, result: PointResult) -> None: ...
    def closed(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Chosen:
    """The points that a run is to do: ids or patterns, a shard of all, at most so many."""

    patterns: tuple[str, ...] = ()
    shard: tuple[int, int] = (1, 1)
    most: int = 0

    def check(self, calls: Collection[str]) -> None:
        """Raises UsageError for a pattern that fits no point of these calls, whatever points they have.

        Told by what stands before the first wildcard. What has none is looked for anywhere in an id.
        """
        for pattern in self.patterns:
            begin = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
            if begin == pattern or any(call.startswith(begin) or begin.startswith(f"{call}@") for call in calls):
                continue
            close = difflib.get_close_matches(begin.partition("@")[0], sorted(calls), n=1, cutoff=0.5)
            hint = f"; is {close[0]!r} meant?" if close else "; `emco-chaos points` lists them"
            raise UsageError(f"no crash point matches {pattern!r}: no call begins so{hint}")

    def of(self, plan: Plan) -> tuple[CrashPoint, ...]:
        """The chosen points in the plan's order. Raises UsageError when a pattern matches nothing."""
        points = plan.points()
        for pattern in self.patterns:
            if not any(_fits(point.id, pattern) for point in points):
                raise UsageError(f"no crash point matches {pattern!r}; `emco-chaos points` lists them")
        if self.patterns:
            points = tuple(point for point in points if any(_fits(point.id, pattern) for pattern in self.patterns))
        number, of = self.shard
        points = points[number - 1 :: of]
        return points[: self.most] if self.most else points

    def calls(self, plan: Plan) -> tuple[str, ...]:
        """Names of the calls that the points belong to, also to points that the plan does not know yet.

        For a shard those of all shards: each has to cut the same plan.
        """
        if self.patterns:
            wanted = [pattern.partition("@")[0] for pattern in self.patterns]
            found = {point.call for point in plan.points() if any(_fits(point.id, one) for one in self.patterns)}
            found |= {call.name for call in plan.calls if call.name in wanted}
        elif self.most and self.shard == (1, 1):
            found = {point.call for point in self.of(plan)}
        else:
            found = {point.call for point in plan.points()}
        learned = {call.name for call in plan.calls if call.effects}
        return tuple(call.name for call in plan.calls if call.name in found & learned)


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or fnmatch.fnmatchcase(name, pattern) or (not set(pattern) & set("*?[") and pattern in name)


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that is over."""

    summary: RunSummary
    baseline: BaselineVerdict
    verdict: Verdict
    folder: RunFolder


def run(
    settings: Settings,
    chosen: Chosen,
    folder: RunFolder,
    baseline: Baseline,
    watcher: Watcher,
    *,
    show: Callable[[Plan], None],
) -> Ended:
    """Do a run. Raises UsageError before anything is started when the settings are wrong.

    Ctrl-C and SIGTERM end it early: everything is undone and the summary is written all the same.
    """
    settings = replace(settings, evidence_folder=folder.path.absolute())
    work = prepare(settings)
    chosen.check({subject.call.name for subject in (*work.subjects, *work.refused)})
    began, clock = datetime.now(UTC), time.monotonic()
    results: list[PointResult] = []
    state = _State()

    def finished(result: PointResult) -> None:
        results.append(result)
        folder.append(result)
        if result.grade not in (Grade.PASS, Grade.WARN):
            folder.keep_failure(result.point.id, {"result.json": result, "victim.log": result.logs})
        watcher.finished(result)

    try:
        asyncio.run(_run(settings, work, chosen, folder.path, watcher, finished, show, state))
    finally:
        watcher.closed()
    if overlap := max((result.proof.overlap for result in results), default=0.0):
        state.performance["longest_overlap_seconds"] = overlap
    summary = RunSummary(
        schema=SCHEMA,
        run=folder.run,
        title=work.title,
        reference=not settings.is_real,
        started=began.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 2),
        seed=settings.seed,
        status=state.status,  # type: ignore[arg-type]  # one of the three words, see _State
        settings=dict(settings.as_json()),
        versions=versions(),
        plan=only(state.plan or Plan(work.digest, work.title, ()), {point.id for point in state.points}),
        results=_in_order(results, state.points),
        trouble=state.trouble,
        performance=state.performance,
    )
    write_summary(folder, summary)
    held = apply_baseline(
        baseline,
        summary.results,
        today=datetime.now().astimezone().date(),
        selected_ids={point.id for point in state.points},
        covers=lambda name: state.status == "complete" and chosen == Chosen() and settings.covers(name),
    )
    return Ended(summary, held, judge(summary, held), folder)


@dataclass(slots=True)
class _State:
    """What becomes known while a run goes on. status: complete, interrupted or failed."""

    plan: Plan | None = None
    points: tuple[CrashPoint, ...] = ()
    status: str = "complete"
    trouble: str = ""
    performance: dict[str, float] = None  # type: ignore[assignment]  # set below

    def __post_init__(self) -> None:
        self.performance = {}


async def _run(
    settings: Settings,
    work: Work,
    chosen: Chosen,
    logs: Path,
    watcher: Watcher,
    finished: Callable[[PointResult], None],
    show: Callable[[Plan], None],
    state: _State,
) -> None:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _interrupt, task, state, number)
    clock = time.monotonic()
    try:
        async with workers(settings, settings.workers, logs) as crew:
            state.performance["boot_seconds"] = round(time.monotonic() - clock, 2)
            clock = time.monotonic()
            total = len(work.subjects)
            if load_plan(settings, work, crew[0].environment) is None:
                await crew[0].learn(lambda index, call: watcher.learned(index, call, total))
            state.performance["learn_seconds"] = round(time.monotonic() - clock, 2)
            clock = time.monotonic()
            state.plan, state.points = await _planned(settings, work, chosen, crew, watcher)
            state.performance["control_seconds"] = round(time.monotonic() - clock, 2)
            show(only(state.plan, {point.id for point in state.points}))
            watcher.started(only(state.plan, {point.id for point in state.points}))
            clock = time.monotonic()
            await run_points(crew, state.points, settings.seed, started=lambda _: None, finished=finished)
            seconds = time.monotonic() - clock
            state.performance["connectivity_retries"] = float(sum(worker.retries for worker in crew))
            state.performance["undecoded_connections"] = float(sum(len(worker.problems) for worker in crew))
            state.performance["points_seconds"] = round(seconds, 2)
            state.performance["points_per_minute"] = round(60 * len(state.points) / seconds, 1) if seconds else 0.0
    except asyncio.CancelledError:
        if state.status != "interrupted":
            raise
    except WorkerTrouble as trouble:
        if trouble.kind == "usage":
            raise UsageError(str(trouble)) from trouble
        state.status, state.trouble = "failed", str(trouble)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _planned(
    settings: Settings, work: Work, chosen: Chosen, crew: Sequence[Worker], watcher: Watcher
) -> tuple[Plan, tuple[CrashPoint, ...]]:
    """Plan and chosen points, once the control runs of the calls in question are made: they may show effects that the
    first run of a call had not."""
    first = _read_plan(settings, work, crew[0].environment)
    calls = chosen.calls(first)
    await run_controls(crew, calls, finished=lambda index, call: watcher.controlled(index, call, len(calls)))
    plan = _read_plan(settings, work, crew[0].environment)
    return plan, chosen.of(plan)


def _read_plan(settings: Settings, work: Work, environment: str) -> Plan:
    plan = load_plan(settings, work, environment)
    if plan is None:
        raise UsageError("the workload was learned, but cannot be read back; is the cache folder writable?")
    return plan


def _interrupt(task: "asyncio.Task[None]", state: _State, number: int) -> None:
    state.status, state.trouble = "interrupted", f"ended by {signal.Signals(number).name}"
    task.cancel()


def only(plan: Plan, ids: Collection[str]) -> Plan:
    """The plan with the chosen points only; calls without any stay, they were made."""
    calls = tuple(replace(call, points=tuple(point for point in call.points if point.id in ids)) for call in plan.calls)
    left_out = tuple(point.id for point in plan.points() if point.id not in ids)
    return replace(plan, calls=calls, left_out=plan.left_out + left_out)


def _in_order(results: Sequence[PointResult], points: Sequence[CrashPoint]) -> tuple[PointResult, ...]:
    place = {point.id: index for index, point in enumerate(points)}
    return tuple(sorted(results, key=lambda result: place.get(result.point.id, len(place))))


class ConsoleWatcher:
    """Shows learning as a line that changes, then hands over to the progress display of the points."""

    def __init__(self, console: Console, progress: "Watcher | object") -> None:
        self._console = console
        self._progress = progress

    def learned(self, index: int, call: str, total: int) -> None:
        self._tell("learning", index, call, total)

    def controlled(self, index: int, call: str, total: int) -> None:
        self._tell("control runs", index, call, total)

    def _tell(self, what: str, index: int, call: str, total: int) -> None:
        if self._console.is_terminal:
            end = "\n" if index + 1 == total else "\r"
            text = f"{what} {index + 1}/{total} {call}".ljust(self._console.width - 1)
            self._console.print(text, end=end, highlight=False, markup=False)
        elif (index + 1) % 20 == 0 or index + 1 == total:
            self._console.print(f"{what}: {index + 1} of {total} calls", highlight=False)

    def started(self, plan: Plan) -> None:
        self._progress.started(plan)  # type: ignore[union-attr]  # reporting.progress.Progress

    def finished(self, result: PointResult) -> None:
        self._progress.finished(result)  # type: ignore[union-attr]

    def closed(self) -> None:
        self._progress.closed()  # type: ignore[union-attr]


def harness_trouble(point: CrashPoint, text: str) -> PointResult:
    """A point that could not be run."""
    return PointResult(point, Outcome.UNKNOWN, text, Proof(False, 0, "", text), Told(None))
