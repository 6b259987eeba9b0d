"""Processes that are really started, watched, killed and reaped; and that do not outlive the harness."""

import asyncio
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from harness.faults.journal import Journal, left, process_started
from harness.faults.victim import Death, HarnessTrouble, ServiceDown
from harness.platforms import supervisor
from harness.platforms.linux import become_subreaper
from harness.platforms.supervisor import ForkServer, NeverReady, ProcessSpec, Supervised

ROOT = Path(__file__).parents[3]
SET_CHILD_SUBREAPER = 36
MODULE = """
import os, sys, time
warmed = []
def warm():
    warmed.append(os.getpid())
def main(name):
    print("called", name, os.getcwd(), sorted(os.environ), flush=True)
    if name == "warmed":
        print("times", len(warmed), "here", os.getpid() in warmed, flush=True)
    if name == "says why":
        sys.exit("no such service")
    if name == "code":
        sys.exit(2)
    if name == "raises":
        raise ValueError("broken")
    if name == "stays":
        time.sleep(60)
"""
SLOW_THEN_UP = "import time; time.sleep(0.1); print('up', flush=True); time.sleep(60)"
UP = "print('up', flush=True); import time; time.sleep(60)"


@pytest.fixture(scope="module")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    folder = tmp_path_factory.mktemp("module")
    (folder / "called.py").write_text(MODULE, encoding="utf-8")
    become_subreaper()
    with closing(ForkServer("called", env={"PYTHONPATH": f"{ROOT}:{folder}"})) as server:
        yield server
    ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal(tmp_path / "1-1.undo")) as undos:
        yield undos


Make = Callable[..., Supervised]


@pytest.fixture
def make(tmp_path: Path, fork_server: ForkServer, journal: Journal) -> Iterator[Make]:
    """Makes processes that run Python code; kills what a test leaves."""
    made: list[Supervised] = []
    log = tmp_path / "p.log"

    async def says_up(offset: int) -> None:
        if b"up" not in log.read_bytes()[offset:]:
            raise ConnectionRefusedError

    def build(
        code: str = UP,
        *,
        ready: Callable[[int], Awaitable[None]] = says_up,
        argv: tuple[str, ...] = (),
        call: str = "",
        limit: float = 20,
    ) -> Supervised:
        argv = argv or (() if call else (sys.executable, "-c", code))
        spec = ProcessSpec("p", tmp_path, {"ONLY": "this"}, log, ready, argv, call, start_limit=limit)
        made.append(Supervised(spec, fork_server, journal))
        return made[-1]

    yield build
    for process in made:
        if process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
            os.waitpid(process.pid, 0)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  the kernel tells nobody
        await asyncio.sleep(0.002)


async def ended(process: Supervised) -> Death:
    await until(lambda: process.ended is not None)
    assert process.ended is not None
    return process.ended


async def test_a_process_is_up_when_it_answers_and_not_before(make: Make) -> None:
    process = make("import time; time.sleep(0.2); " + UP)
    process.launch()
    pid = process.pid
    assert pid is not None
    assert process.log_tail() == ""
    await process.answering()
    assert (process.log_tail(), process.pid, process.starts) == ("up\n", pid, 1)
    await process.stop()


async def test_a_crash_is_reaped_with_the_signal(make: Make, journal: Journal) -> None:
    process = make()
    await process.start()
    pid = process.pid
    assert pid is not None
    assert [undo.arguments["pid"] for undo in left(journal.path)] == [str(pid)]
    assert await process.crash() == Death("p", pid, signal.SIGKILL, 0)
    assert (process.pid, process_started(pid), left(journal.path)) == (None, "", ())


async def test_the_undo_names_the_process_for_good(make: Make, journal: Journal) -> None:
    process = make()
    await process.start()
    assert process.pid is not None
    expected = {"pid": str(process.pid), "started": process_started(process.pid), "what": "p"}
    assert left(journal.path)[0].arguments == expected
    await process.stop()


async def test_a_process_that_exits_by_itself_says_its_code(make: Make) -> None:
    process = make("import sys; print('up', flush=True); sys.exit(4)")
    process.launch()
    death = await ended(process)
    assert (death.signal, death.code) == (0, 4)
    with pytest.raises(HarnessTrouble, match=r"p was to be killed, but it did not run any more; its log: up"):
        await process.crash()


async def test_a_process_that_ends_at_its_start_is_down_with_its_log(make: Make) -> None:
    process = make("import sys; print('panic: no config', file=sys.stderr); sys.exit(3)")
    with pytest.raises(ServiceDown, match=r"^p: ended right after its start: exit code 3 \(pid \d+\)$") as down:
        await process.start()
    assert down.value.log == "panic: no config\n"


async def test_a_process_that_does_not_answer_in_time_is_down_with_its_log(make: Make) -> None:
    process = make("print('waiting for mongo', flush=True); import time; time.sleep(60)", limit=0.5)
    with pytest.raises(ServiceDown, match=r"^p: did not answer within 0\.5 s of its start$") as down:
        await process.start()
    assert down.value.log == "waiting for mongo\n"
    assert process.pid is not None
    await process.stop()


async def test_on_a_slow_machine_a_start_may_take_longer(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """What good starts take here decides: a process that needs long each time is slow, and does not hang."""
    monkeypatch.setattr(supervisor, "_SLOWER", 1000)
    process = make(SLOW_THEN_UP, limit=60)
    await process.start()
    await process.stop()
    process.spec = replace(process.spec, start_limit=0.001)
    await process.start()
    await process.stop()


async def test_a_start_that_hangs_says_how_long_good_ones_took(make: Make) -> None:
    process = make(limit=0.5)
    await process.start()
    await process.stop()
    process.spec = replace(process.spec, argv=(sys.executable, "-c", "import time; time.sleep(60)"))
    process._slowest = 0.01  # on a machine that is busy now
    with pytest.raises(ServiceDown) as down:
        await process.start()
    assert str(down.value) == ("p: did not answer within 0.5 s of its start; a start that went well took 0.0 s at most")
    await process.stop()


async def test_a_process_that_will_never_be_ready_is_down_at_once_and_runs(make: Make) -> None:
    async def never(_: int) -> None:
        raise NeverReady("did not load the schema within 20 s")

    process = make(limit=600)
    process.spec = replace(process.spec, ready=never)
    with pytest.raises(ServiceDown, match=r"^p: did not load the schema within 20 s$"):
        await process.start()
    assert process.pid is not None
    await process.stop()


async def test_only_what_the_log_says_since_the_start_counts(make: Make) -> None:
    process = make()
    await process.start()
    await process.crash()
    process.launch()
    assert process._log_offset == len("up\n")
    await process.answering()
    assert (process.log_tail(), process.starts) == ("up\nup\n", 2)
    await process.stop()


async def test_trouble_that_is_no_refusal_is_not_waited_for(make: Make) -> None:
    async def broken(_: int) -> None:
        raise ValueError("no such port")

    process = make(ready=broken)
    with pytest.raises(ValueError, match="no such port"):
        await process.start()
    await process.stop()


async def test_a_process_is_not_started_twice_and_not_stopped_twice(make: Make) -> None:
    process = make()
    with pytest.raises(HarnessTrouble, match="p was never started"):
        await process.answering()
    await process.stop()
    await process.start()
    with pytest.raises(HarnessTrouble, match=r"p was to be started, but it runs already \(pid \d+\)"):
        await process.start()
    await process.stop()
    await process.stop()


async def test_a_process_gets_its_own_folder_and_environment_and_no_input(make: Make, tmp_path: Path) -> None:
    show = "json.dumps([os.getcwd(), os.environ.get('ONLY'), 'HOME' in os.environ, sys.stdin.read()])"
    process = make(f"import json, os, sys; print({show}); {UP}")
    await process.start()
    assert json.loads(process.log_tail().splitlines()[0]) == [str(tmp_path), "this", False, ""]
    await process.stop()


async def test_a_program_that_cannot_be_executed_is_down(make: Make) -> None:
    process = make(argv=("/nowhere/program",))
    with pytest.raises(ServiceDown, match=r"exit code 127") as down:
        await process.start()
    assert "FileNotFoundError" in down.value.log


@pytest.mark.parametrize(
    "name, code, text",
    [("plain", 0, "called plain"), ("code", 2, "called code"), ("says why", 1, "no such service\n"),
     ("raises", 127, "ValueError: broken\n"), ("warmed", 0, "times 1 here False\n")],
)  # fmt: skip
async def test_a_function_is_called_where_no_program_is_named(make: Make, name: str, code: int, text: str) -> None:
    process = make(call=name)
    process.launch()
    death = await ended(process)
    assert (death.signal, death.code) == (0, code)
    assert text in process.log_tail()


async def test_a_function_has_the_environment_and_folder_of_its_own_and_can_be_killed(
    make: Make, tmp_path: Path
) -> None:
    async def says_called(_: int) -> None:
        if not process.log_tail():
            raise ConnectionRefusedError

    process = make(call="stays", ready=says_called)
    await process.start()
    assert process.log_tail() == f"called stays {tmp_path} ['ONLY']\n"
    assert (await process.crash()).signal == signal.SIGKILL


async def test_pause_and_resume(make: Make) -> None:
    def condition() -> str:
        return Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]

    process = make()
    with pytest.raises(HarnessTrouble, match="p does not run, SIGSTOP would hit nothing"):
        process.pause()
    await process.start()
    process.pause()
    await until(lambda: condition() == "T")
    process.resume()
    await until(lambda: condition() != "T")
    await process.stop()


async def test_a_fork_server_that_is_gone_is_trouble_of_the_harness(
    make: Make, tmp_path: Path, journal: Journal
) -> None:
    server = ForkServer()
    server._process.kill()
    server._process.wait(10)
    spec = ProcessSpec("p", tmp_path, {}, tmp_path / "p.log", make().spec.ready, (sys.executable, "-c", ""))
    with closing(server), pytest.raises(HarnessTrouble, match=r"the fork server .* could not start p"):
        Supervised(spec, server, journal).launch()


HARNESS = """
import sys, threading
from pathlib import Path
from harness.platforms import supervisor
from harness.platforms.linux import become_subreaper
from harness.platforms.supervisor import ForkServer, ProcessSpec
become_subreaper()
server = ForkServer()
folder = Path(sys.argv[1])
spec = ProcessSpec("sleep", folder, {}, folder / "log", None, ("/bin/sleep", "60"))
with spec.log.open("ab") as log:
    print(server._process.pid, server.start(spec, log.fileno()), flush=True)
threading.Event().wait()
"""


def test_everything_dies_with_a_harness_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HARNESS, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as harness:
        assert harness.stdout is not None
        pids = [int(text) for text in harness.stdout.readline().split()]
        waiting = [os.pidfd_open(pid) for pid in pids]
        try:
            assert len(pids) == 2
            assert select.select(waiting, [], [], 0.05)[0] == []
            harness.kill()
            for descriptor in waiting:
                assert select.select([descriptor], [], [], 10)[0] == [descriptor]
        finally:
            harness.kill()
            for descriptor in waiting:
                os.close(descriptor)


async def test_what_it_said_is_that_of_the_start_at_hand(make: Make) -> None:
    process = make("import os; print(os.getpid(), flush=True); import time; time.sleep(60)", limit=60)
    process.spec = replace(process.spec, ready=partial(_has_printed, process))
    assert process.said() == b""
    for _ in range(2):
        await process.start()
        assert process.said() == f"{process.pid}\n".encode()
        await process.stop()


async def _has_printed(process: Supervised, offset: int) -> None:
    if process.spec.log.stat().st_size == offset:
        raise ConnectionRefusedError
