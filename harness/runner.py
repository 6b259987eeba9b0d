"""Runs the points of a plan on several workers, each a process with an environment of its own."""

import asyncio
import contextlib
import itertools
import json
import random
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from harness.crashpoints.library import Library
from harness.crashpoints.model import CrashPoint, Plan, PointResult
from harness.faults.victim import HarnessTrouble
from harness.planning import library_folder, stored_plan
from harness.platforms.settings import Settings
from harness.work import Work
from harness.worker import read_result

_READY_LIMITS = {"process": 120.0, "kind": 900.0, "kubernetes": 900.0}  # seconds, by platform
_CLOSE_LIMITS = {"process": 30.0, "kind": 180.0, "kubernetes": 300.0}
_POINT_LIMIT = 300.0
_MOST_LINE = 64 * 1024 * 1024


class WorkerTrouble(HarnessTrouble):
    """A worker could not do what it was told; `usage` when the settings are at fault."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Worker:
    """Client of one worker process."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, settings: Settings, number: int) -> None:
        self._process = process
        self._log = log
        self._ready_limit, self._close_limit = _READY_LIMITS[settings.platform], _CLOSE_LIMITS[settings.platform]
        if settings.platform == "kind":  # clusters are made a few at a time, so the last worker waits for all others
            self._ready_limit *= settings.workers
        self.environment = ""
        # Not among its arguments: everybody on the machine can read those, and an address may hold a password.
        self._write(settings_json(settings.of_worker(number)).encode())
        self.retries = 0
        self.problems: tuple[str, ...] = ()

    async def ready(self) -> None:
        """Wait until its environment is up."""
        self.environment = (await self._next("ready", self._ready_limit))["environment"]

    async def learn(self, told: Callable[[int, str], None]) -> None:
        """Run the workload once without faults."""
        self._say({"do": "learn"})
        while True:
            line = await self._line(_POINT_LIMIT)
            if line["event"] == "done":
                return
            told(line["index"], line["call"])

    async def control(self, call: str) -> None:
        """Make the control runs of a call."""
        self._say({"do": "control", "call": call})
        await self._next("controlled", _POINT_LIMIT)

    async def run(self, point: CrashPoint) -> PointResult:
        """The judgement of one point."""
        self._say({"do": "run", "point": msgspec.to_builtins(point)})
        line = await self._next("result", _POINT_LIMIT)
        self.retries, self.problems = line["retries"], tuple(line["problems"])
        return read_result(line)

    async def close(self) -> str:
        """End its input and wait: it takes its environment down itself. What of that went wrong; empty for nothing."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(self._close_limit):
                said = await self._rest()
        except TimeoutError:
            self._process.kill()  # what it leaves behind is in its undo journal
            await self._process.wait()
            return (
                f"a worker did not take its environment down within {self._close_limit:g} s, and was killed; "
                "`emco-chaos rollback` undoes what it left"
            )
        return "; ".join(said)

    async def _rest(self) -> list[str]:
        """The troubles that it tells until it ends."""
        assert self._process.stdout is not None
        said = []
        while text := await self._process.stdout.readline():
            line = json.loads(text)
            if line["event"] == "trouble":
                said.append(str(line["text"]))
        if (code := await self._process.wait()) != 0 and not said:
            said.append(self._ended(code))
        return said

    def _say(self, order: dict[str, Any]) -> None:
        self._write(json.dumps(order).encode())

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")

    async def _next(self, event: str, limit: float) -> dict[str, Any]:
        line = await self._line(limit)
        if line["event"] != event:
            raise WorkerTrouble("harness", f"a worker said {line['event']!r} where {event!r} was expected")
        return line

    async def _line(self, limit: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(limit):
                text = await self._process.stdout.readline()
        except TimeoutError:
            raise WorkerTrouble("harness", f"a worker said nothing for {limit:g} s; its log: {self._tail()}") from None
        if not text:
            raise WorkerTrouble("harness", self._ended(await self._process.wait()))
        line: dict[str, Any] = json.loads(text)
        if line["event"] == "trouble":
            raise WorkerTrouble(line["kind"], line["text"])
        return line

    def _ended(self, code: int) -> str:
        told = f"a worker ended (exit {code}); `emco-chaos rollback` removes what it left"
        return f"{told}; {self._log.name}: {self._tail() or 'nothing'}"

    def _tail(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="backslashreplace")[-3000:] if self._log.exists() else ""


@contextlib.asynccontextmanager
async def workers(settings: Settings, count: int, logs: Path) -> AsyncIterator[tuple[Worker, ...]]:
    """Start workers side by side; they are taken down at the end, whatever happens."""
    started: list[Worker] = []
    trouble: WorkerTrouble | None = None
    try:
        for number in range(count):
            log = logs / f"worker-{number}.log"
            with log.open("wb") as output:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "harness.worker", f"w{number}",
                    stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=output, limit=_MOST_LINE,
                    start_new_session=True,
                )  # fmt: skip
            started.append(Worker(process, log, settings, number))
        await _side_by_side([asyncio.ensure_future(worker.ready()) for worker in started])
        yield tuple(started)
    except WorkerTrouble as error:
        trouble = error
        raise
    finally:
        said = [text for text in await asyncio.gather(*(worker.close() for worker in started)) if text]
        if said and (trouble is None or trouble.kind != "usage"):  # what the user has to mend comes first
            texts = dict.fromkeys((*([str(trouble)] if trouble else ()), *said))
            raise WorkerTrouble("harness", "; ".join(texts))


def settings_json(settings: Settings) -> str:
    """Settings as a worker reads them."""
    return msgspec.json.encode(settings, enc_hook=str).decode()


def load_plan(settings: Settings, work: Work, environment: str) -> Plan | None:
    """The plan, if the workload was learned before."""
    return stored_plan(work, settings, Library(library_folder(settings, work, environment)))


def grouped(points: Sequence[CrashPoint], seed: int) -> list[list[CrashPoint]]:
    """Points by call, most points first: control runs are made once, and the last group to end is a short one."""
    groups: dict[str, list[CrashPoint]] = {}
    for point in points:
        groups.setdefault(point.call, []).append(point)
    ordered = list(groups.values())
    random.Random(seed).shuffle(ordered)  # noqa: S311  an order, not a secret
    return sorted(ordered, key=len, reverse=True)


async def run_controls(crew: Sequence[Worker], calls: Sequence[str], *, finished: Callable[[int, str], None]) -> None:
    """Make the control runs of all these calls, shared among the workers."""
    queue = list(calls)
    done = itertools.count()

    async def serve(worker: Worker) -> None:
        while queue:
            call = queue.pop(0)
            await worker.control(call)
            finished(next(done), call)

    await _side_by_side([asyncio.ensure_future(serve(worker)) for worker in crew])


async def run_points(
    crew: Sequence[Worker],
    points: Sequence[CrashPoint],
    seed: int,
    *,
    started: Callable[[CrashPoint], None],
    finished: Callable[[PointResult], None],
) -> None:
    """Run all points; raises the first trouble of a worker after the others have ended their points."""
    queue = grouped(points, seed)

    async def serve(worker: Worker) -> None:
        while queue:
            for point in queue.pop(0):
                started(point)
                finished(await worker.run(point))

    await _side_by_side([asyncio.ensure_future(serve(worker)) for worker in crew])


async def _side_by_side(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Until all are done, or one fails, which ends the others: none is left that listens to a worker."""
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
