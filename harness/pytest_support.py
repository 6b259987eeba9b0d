"""What a pytest session has of EMCO: settings, plan, one environment, the accepted findings, and the run's folder.

harness.pytest_plugin imports this when it is needed, not before: it brings in everything.
"""

import dataclasses
import os
import random
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from os import environ
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest

from harness.background import Background
from harness.crashpoints.library import Library
from harness.crashpoints.model import CALLED, CrashPoint, Plan, PointResult
from harness.defaults import default_baseline, make_redactor
from harness.evidence.redaction import Redactor
from harness.evidence.run_folder import RunFolder, create_run_folder, run_id
from harness.faults.victim import HarnessTrouble, UsageError
from harness.planning import stored_plan
from harness.platforms.linux import die_with_parent
from harness.platforms.settings import EDGES, FAULTS, PLATFORMS, KindSettings, Settings, as_path
from harness.pytest_ending import PLAN, Ended, Run, end_run, is_to_be_judged, show
from harness.pytest_options import file as _file
from harness.pytest_options import option as _option
from harness.pytest_options import origin, out_folder, usage_error
from harness.pytest_order import place_of
from harness.pytest_settings import replay_line, settings_of, worker_number
from harness.pytest_stages import Stages
from harness.pytest_verdicts import KnownFinding, Replay, judge
from harness.reporting.baseline import Baseline, Entry, read_baseline
from harness.reporting.claimed import Stand, keep_stand, plan_tests
from harness.reporting.labels import KNOWN, write_allure_session
from harness.session import Chosen, only
from harness.work import Work, prepare


@dataclass(frozen=True, slots=True)
class Handover:
    """What the process that starts pytest-xdist's workers hands to them, so that all do the same.

    plan: None when no crash points are planned;  victims: of the plan, beside those of the settings
    """

    settings: Settings
    victims: tuple[str, ...]
    digest: str
    plan: Plan | None
    base: Path


class EmcoSession:
    """One per pytest process; `handed` comes from the process that started this one as a worker."""

    def __init__(self, config: pytest.Config, handed: str | None) -> None:
        self._config = config
        self._handed = msgspec.json.decode(handed, type=Handover, dec_hook=as_path) if handed else None
        self._origin = origin(config)
        self._run = run_id(self._origin.began, self._origin.suffix)
        self._plan = self._handed.plan if self._handed else None
        self._victims = self._handed.victims if self._handed else ()
        self._background: Background | None = None
        self._failed = ""
        self._signals: dict[signal.Signals, Any] = {}
        self.today = date.today()  # noqa: DTZ011  expiry dates are local days
        self.ended: Ended | None = None

    # -- settings ---------------------------------------------------------------------------------------------------

    @cached_property
    def settings(self) -> Settings:
        """From options and ini file; a worker's own where there are several. Raises pytest.UsageError."""
        settings = self._handed.settings if self._handed else settings_of(self._config)
        return settings.of_worker(worker_number(self._config)) if hasattr(self._config, "workerinput") else settings

    @property
    def wide(self) -> Settings:
        """The same for a plan with all points that tests may ask for: every fault, the victims of all folders."""
        try:
            victims = tuple(dict.fromkeys((CALLED, *self.settings.victims, *self._victims)))
            return dataclasses.replace(self.settings, victims=victims, faults=FAULTS)
        except UsageError as error:
            raise usage_error(self._config, error) from error

    @cached_property
    def work(self) -> Work:
        """The workload, read. Raises pytest.UsageError with a sentence."""
        try:
            work = prepare(self.wide)
        except UsageError as error:
            raise usage_error(self._config, error) from error
        # A worker goes by what was learned before it started, also when a source file was changed since.
        return dataclasses.replace(work, digest=self._handed.digest) if self._handed else work

    @cached_property
    def baseline(self) -> Baseline:
        """The accepted findings. Raises pytest.UsageError with file and line."""
        if _option(self._config, "no_baseline"):
            return Baseline()
        path = _file(self._config, "baseline") or default_baseline(self.settings)
        try:
            return read_baseline(path) if path else Baseline()
        except UsageError as error:
            raise usage_error(self._config, error) from error

    @cached_property
    def redactor(self) -> Redactor:
        """The same in all processes of a run."""
        return make_redactor(bytes.fromhex(self._origin.salt))

    @cached_property
    def folder(self) -> RunFolder:
        """The run's folder; made by whoever needs it first."""
        try:
            return create_run_folder(self._base, run=self._run, redactor=self.redactor)
        except FileExistsError:
            return RunFolder(self._base / self._run, self.redactor)

    @property
    def _base(self) -> Path:
        if self._handed:
            return self._handed.base
        return out_folder(self._config)

    def check(self) -> None:
        """Refuse wrong settings before anything starts. Raises pytest.UsageError."""
        _ = self.work, self.baseline

    def header(self) -> list[str]:
        """For the head of pytest's output."""
        points = f", {len(self._plan.points())} crash points to choose from" if self._plan else ""
        return [f"emco: {self.work.title}, seed {self.settings.seed}{points}, run {self._base / self._run}"]

    # -- the plan ---------------------------------------------------------------------------------------------------

    def make_plan(self, victims: Sequence[str] = ()) -> None:
        """Learn what the workload's calls do, unless that was done under the same digest. Raises pytest.UsageError.

        victims: services whose work beside the calls is wanted, too
        """
        self.check()
        if set(victims) - set(self.wide.victims):
            self._victims = (*self._victims, *victims)
            self.close()  # what is open knows nothing of them
        self._end_in_order()
        self._plan = self._stored_plan()
        if self._plan is None:
            self._learn()
            self._plan = self._stored_plan()
            if self._plan is None:
                raise pytest.UsageError(
                    "the workload was learned, but cannot be read back; is the cache folder writable?"
                )
        if self._config.pluginmanager.hasplugin("dsession"):
            self.close()  # workers have environments of their own

    def _stored_plan(self) -> Plan | None:
        """A plan is the same whatever addresses it was learned with."""
        for folder in sorted(self.settings.cache_folder.glob(f"{self.work.digest}-*")):
            if (plan := stored_plan(self.work, self.wide, Library(folder))) is not None:
                return plan
        return None

    def _learn(self) -> None:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        total = len(self.work.subjects)

        def told(index: int, call: str) -> None:
            if reporter is not None and reporter.isatty:
                reporter.rewrite(f"emco: learning {index + 1}/{total} {call}", erase=True)

        try:
            if (elsewhere := self._learned_elsewhere()) is not None:
                self._learn_in(elsewhere, told)
            else:
                self.environment.do(lambda campaign: campaign.learn(told))
        except (HarnessTrouble, UsageError) as trouble:
            raise usage_error(self._config, trouble, "the workload cannot be learned: ") from trouble
        if reporter is not None and reporter.isatty:
            reporter.rewrite("", erase=True)

    def _learned_elsewhere(self) -> Settings | None:
        """What is learned with where that is not this process's own environment.

        A plan of the reference in pods: ids are the same everywhere, and on processes it takes seconds. Else, where
        workers have clusters of their own, the first one's, which are there for nobody else yet.
        """
        one = self.wide
        if one.platform != "kind":
            return None
        if one.edges == EDGES[0] and not one.is_named:
            return dataclasses.replace(one, platform=PLATFORMS[0], kind=KindSettings())
        if not self._config.pluginmanager.hasplugin("dsession"):
            return None
        first = one.of_worker(0)
        return dataclasses.replace(
            first, kind=dataclasses.replace(first.kind, keep=False), evidence_folder=self.folder.path.absolute()
        )

    def _learn_in(self, settings: Settings, told: Callable[[int, str], None]) -> None:
        environment = Background(settings, prepare(settings), name="plan")
        try:
            environment.open()
            environment.do(lambda campaign: campaign.learn(told))
        finally:
            environment.close()

    def handover(self) -> str:
        """For a worker."""
        given = Handover(self.settings, self._victims, self.work.digest, self._plan, self._base.absolute())
        return msgspec.json.encode(given, enc_hook=str).decode()

    @property
    def plan(self) -> Plan:
        """All crash points. Raises pytest.UsageError in a worker that was given none."""
        if self._plan is None:
            if hasattr(self._config, "workerinput"):
                raise pytest.UsageError(
                    "this pytest-xdist worker was given no crash points: with -n they are planned before collection, "
                    "and only for the folders of the ini setting emco_crash_points. Name this test's folder there, "
                    "or run without -n"
                )
            self.make_plan()
        assert self._plan is not None
        return self._plan

    def parameters(self, patterns: Sequence[str], *, victims: Sequence[str], faults: Sequence[str]) -> list[Any]:
        """The parameters of a test of crash points, each with its id and marks.

        patterns: only those that fit one;  victims, faults: instead of those of the settings
        """
        self._learn_of(victims)
        try:
            wanted = dataclasses.replace(
                self.settings,
                victims=tuple(victims) or self.settings.victims,
                faults=tuple(faults) or self.settings.faults,
            )
            of_kind = only(self.plan, {point.id for point in self.plan.points() if wanted.covers(point.id)})
            points = Chosen(tuple(patterns)).of(of_kind)
        except UsageError as error:
            raise usage_error(self._config, error) from error
        return [
            pytest.param(point, id=point.id, marks=self._marks(point)) for point in _ordered(points, self.settings.seed)
        ]

    def _learn_of(self, victims: Sequence[str]) -> None:
        """Have these among the plan's victims."""
        strangers = [name for name in victims if name not in self.wide.victims]
        if not strangers:
            return
        if hasattr(self._config, "workerinput"):
            raise pytest.UsageError(
                f"this pytest-xdist worker knows of no crash points of {strangers[0]}: name it behind this test's "
                "folder in the ini setting emco_crash_points, or run without -n"
            )
        self.make_plan(strangers)

    def _marks(self, point: CrashPoint) -> list[pytest.MarkDecorator]:
        marks = [pytest.mark.crash_point(point.id)]
        if self._config.pluginmanager.hasplugin("xdist"):
            marks.append(pytest.mark.xdist_group(point.call))  # --dist loadgroup: a call's control runs are made once
        entry = self.entry(point)
        if entry is not None and self.today <= entry.expires:
            until = f"{entry.owner}, until {entry.expires.isoformat()}"
            reason = f"{KNOWN}: {entry.outcome.value}: {entry.reason} ({until})"
            marks.append(pytest.mark.xfail(reason=reason, raises=KnownFinding, strict=True))
        return marks

    def entry(self, point: CrashPoint) -> Entry | None:
        """The accepted finding of a point."""
        return next((entry for entry in self.baseline.entries if entry.id == point.id), None)

    def point(self, named: CrashPoint | str) -> CrashPoint:
        """A point of the plan by its id. Raises pytest.UsageError."""
        if isinstance(named, CrashPoint):
            return named
        found = next((point for point in self.plan.points() if point.id == named), None)
        if found is None:
            raise pytest.UsageError(f"there is no crash point {named!r}; `emco-chaos points` lists them all")
        return found

    # -- the environment --------------------------------------------------------------------------------------------

    @property
    def environment(self) -> Background:
        """The environment of this process, brought up at first use. Raises pytest.UsageError or HarnessTrouble."""
        if self._failed:
            raise HarnessTrouble(self._failed)
        if self._background is None:
            if "stages" in vars(self):
                self._one_at_a_time(self.stages.close)
            name = getattr(self._config, "workerinput", {}).get("workerid", "pytest")
            settings = dataclasses.replace(self.wide, evidence_folder=self.folder.path.absolute())
            self._background = Background(settings, self.work, name=name)
            self._end_in_order()
            try:
                self._background.open()
            except UsageError as error:
                wrong = usage_error(self._config, error)
                self._failed = str(wrong)
                raise wrong from error
            except Exception as error:
                self._failed = f"there is no environment: {error}"
                raise
        return self._background

    def _end_in_order(self) -> None:
        """SIGTERM ends pytest like Ctrl-C does, and both at a moment that pytest can show: everything is undone, the
        summary is written. A worker of pytest-xdist ends with who started it, at once, whatever it does."""
        if hasattr(self._config, "workerinput"):
            die_with_parent()
        if threading.current_thread() is threading.main_thread():
            for number, usual in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
                if signal.getsignal(number) is usual:
                    self._signals[number] = signal.signal(number, interrupt)

    @cached_property
    def stages(self) -> Stages:
        """The EMCOs of this process on which experiments are run."""
        self._end_in_order()
        worker = getattr(self._config, "workerinput", {}).get("workerid", "pytest")
        settings = dataclasses.replace(self.settings, evidence_folder=self.folder.path.absolute())
        return Stages(settings, worker=worker, make_room=lambda: self._one_at_a_time(self._close_environment))

    def _one_at_a_time(self, close_the_other: Callable[[], None]) -> None:
        """A set of clusters holds one EMCO: that of crash points, or that of experiments."""
        if self.settings.platform != PLATFORMS[0]:
            close_the_other()

    def _close_environment(self) -> None:
        background, self._background = self._background, None
        if background is not None:
            background.close()

    def keep_evidence(self, about: str) -> str:
        """Keep what surrounds the EMCO that a test failed on; where, or why not, and empty for nowhere."""
        try:
            if "stages" in vars(self) and (place := self.stages.keep_evidence(about)):
                return place
            if self._background is not None:
                return self._background.do(lambda campaign: campaign.lab.keep_evidence(about))
        except HarnessTrouble as trouble:
            return f"none: {trouble}"
        return ""

    def close(self) -> None:
        """Take down what is up."""
        if "stages" in vars(self):
            self.stages.close()
        self._close_environment()

    def leave(self) -> None:
        """The last thing of a session: nothing stays up, signals mean what they meant before."""
        self.close()
        while self._signals:
            signal.signal(*self._signals.popitem())

    # -- results ----------------------------------------------------------------------------------------------------

    def chosen(self, parameters: Sequence[object]) -> None:
        """Write down which of the collected parameters are points to run; all workers chose the same, one writes."""
        ids = {point.id for point in parameters if isinstance(point, CrashPoint)}
        if ids and not (self.folder.path / PLAN).exists():
            self.folder.write_json(PLAN, only(self.plan, ids))

    def plan_claims(self, tests: Sequence[str]) -> None:
        """Write down which tests with claims are to run."""
        plan_tests(self.folder, tests)

    def skip_claims(self, test: str) -> None:
        """Write down that a test with claims is skipped."""
        keep_stand(self.folder, Stand(test, "skipped"))

    def finish(self, exitstatus: int) -> None:
        """Write summary, report page and what allure wants at the end; nothing when there was nothing to be judged."""
        folder = RunFolder(self._base / self._run, self.redactor)
        if self.ended is not None or not is_to_be_judged(folder):
            return
        began, clock = self._origin.began, self._origin.clock
        run = Run(folder, self.settings, self.work.digest, self.baseline, began, clock, self.today)
        self.ended = end_run(run, exitstatus)
        if allure := self._config.getoption("allure_report_dir", None):
            write_allure_session(Path(allure), self.ended.summary, self.redactor, environment=environ)

    def show(self, reporter: "pytest.TerminalReporter") -> None:
        """The end of pytest's output."""
        if self.ended is not None:
            show(self.ended, self.redactor, reporter)

    def judge(self, result: PointResult, replay: str) -> None:
        """As pytest_verdicts.judge; replay: the pytest command that shows it again."""
        how = Replay(self.settings.seed, replay)
        judge(result, self.entry(result.point), how, self.redactor, today=self.today)

    def replay_line(self, item: pytest.Item) -> str:
        """The pytest command for one test, with the options of this run that decide what is tested."""
        return self.redactor.text(replay_line(self._config, place_of(item), self.settings))


def _ordered(points: Sequence[CrashPoint], seed: int) -> list[CrashPoint]:
    """Call by call: as in the workload, or shuffled by the seed; the points of a call stay together."""
    calls = list(dict.fromkeys(point.call for point in points))
    if seed:
        random.Random(seed).shuffle(calls)  # noqa: S311  an order, not a secret
    place = {call: number for number, call in enumerate(calls)}
    return sorted(points, key=lambda point: place[point.call])


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handler of a signal that ends pytest. Inside of code without lines, which pytest cannot show, it comes again."""
    if frame is not None and frame.f_lineno is None:
        threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
        return
    raise KeyboardInterrupt(f"ended by {signal.Signals(number).name}")
