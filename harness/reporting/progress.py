"""How a run shows that it is alive: a bar on a terminal; elsewhere a line per finding and per finished call."""

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from harness.crashpoints.model import GRADES, Grade, Outcome, Plan, PointResult
from harness.reporting.findings import severity
from harness.reporting.words import counted

_STYLES = {Grade.WARN: "yellow", Grade.FAIL: "red", Grade.BLOCKER: "bold red", Grade.ERROR: "bold magenta"}


class Progress:
    """Told by the runner what happens; `closed` may be called at any time, and more than once.

    clock: seconds, for the time stamps of plain lines
    """

    def __init__(self, console: Console, *, clock: Callable[[], float]) -> None:
        self._console = console
        self._clock = clock
        self._began = clock()
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._total = 0
        self._done = 0
        self._findings = 0
        self._open: dict[str, int] = {}
        self._worst: dict[str, Outcome] = {}
        self._sizes: dict[str, int] = {}

    def started(self, plan: Plan) -> None:
        """The plan is known and work begins."""
        self._began = self._clock()
        self._sizes = {call.name: len(call.points) for call in plan.calls}
        self._open = dict(self._sizes)
        self._total = sum(self._sizes.values())
        if not self._console.is_terminal:
            self._say(f"{counted(self._total, 'point')} over {counted(len(plan.calls), 'call')}")
            return
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[findings]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=self._total, findings="")
        self._bar.start()

    def finished(self, result: PointResult) -> None:
        """One point is judged."""
        self._done += 1
        call = result.point.call
        self._worst[call] = max(self._worst.get(call, result.outcome), result.outcome, key=severity)
        if result.grade is not Grade.PASS:
            self._findings += 1
            self._say(f"{result.outcome.value:<12}  {result.point.id}", style=_STYLES[result.grade])
        if self._bar is not None and self._task is not None:
            found = counted(self._findings, "finding")
            self._bar.update(self._task, completed=self._done, description=call, findings=found)
            return
        self._open[call] = self._open.get(call, 1) - 1
        if self._open[call] == 0:
            worst = self._worst[call]
            verdict = "all pass" if GRADES[worst] is Grade.PASS else f"worst: {worst.value}"
            self._say(f"{call}: {counted(self._sizes.get(call, 1), 'point')} done, {verdict}")

    def closed(self) -> None:
        """The run is over, in whatever way."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _say(self, text: str, *, style: str = "") -> None:
        if self._bar is not None:
            self._bar.console.print(Text(text, style=style), soft_wrap=True)
            return
        stamp = f"{self._clock() - self._began:7.1f} s  {self._done:>{len(str(self._total))}}/{self._total}  "
        self._console.print(Text(stamp + text), soft_wrap=True)
