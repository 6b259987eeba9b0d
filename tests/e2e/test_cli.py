"""The command line as people and CI use it: a process, its exit code, its output, and what it leaves behind."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main as cli_main

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).parent / "emco-chaos"
WORKLOAD = f"""
version: emco/v2
resourceContext:
  anchor: projects
metadata:
  name: proj1
---
version: emco/v2
resourceContext:
  anchor: projects/proj1/composite-apps
metadata:
  name: ca1
spec:
  compositeAppVersion: v1
---
version: emco/v2
resourceContext:
  anchor: projects/proj1/composite-apps/ca1/v1/apps
metadata:
  name: app1
file: {ROOT}/fixtures/workloads/charts/app1.tgz
"""
FINDING = "orchestrator/apps/create-app1@after:mongo.data.crash"
HEALTHY = "orchestrator/projects/create-proj1@after:mongo.data.crash"


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


class Cli:
    """Runs emco-chaos with a state folder of its own; what was learned is shared with all others."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.state = folder / "state"
        self.env = os.environ | {"XDG_CACHE_HOME": str(cache), "XDG_STATE_HOME": str(self.state), "COLUMNS": "200"}

    def start(self, *arguments: str | Path) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(PROGRAM), *map(str, arguments)],
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str | Path, limit: float = 90) -> Ended:
        with self.start(*arguments) as process:
            try:
                out, err = process.communicate(timeout=limit)
            finally:
                process.kill()
        return Ended(process.returncode, out, err)

    def inside(self, *arguments: str | Path) -> Ended:
        """The same in this process, which saves the start: for what ends before anything is started."""
        with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
            for name, value in self.env.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", [str(PROGRAM), *map(str, arguments)])
            patch.chdir(self.folder)
            out, err = (
                stack.enter_context(redirect_stdout(StringIO())),
                stack.enter_context(redirect_stderr(StringIO())),
            )
            with pytest.raises(SystemExit) as ended:
                cli_main()
        return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue())

    def runs(self) -> list[Path]:
        return sorted(path for path in self.out.glob("*") if not path.is_symlink())

    def undos(self) -> list[str]:
        return sorted(path.name for path in self.state.glob("emco-chaos/undo/*"))


@pytest.fixture
def cli(tmp_path: Path, homes: dict[str, Path]) -> Cli:
    return Cli(tmp_path, homes["XDG_CACHE_HOME"])


@pytest.fixture(scope="session")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("workload") / "small.yaml"
    path.write_text(WORKLOAD, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def replayed(tmp_path_factory: pytest.TempPathFactory, homes: dict[str, Path], workload: Path) -> tuple[Ended, Path]:
    """The replay of one known finding, and its folder."""
    cli = Cli(tmp_path_factory.mktemp("replayed"), homes["XDG_CACHE_HOME"])
    ended = cli("replay", FINDING, "-w", workload, "--out", cli.out)
    assert len(cli.runs()) == 1, ended
    return ended, cli.runs()[0]


# -- usage ----------------------------------------------------------------------------------------------------------


def test_help_lists_the_commands(cli: Cli) -> None:
    ended = cli("--help")
    assert ended.code == 0
    for command in ("run", "replay", "points", "learn", "compare", "export", "baseline", "rollback"):
        assert f"│ {command} " in ended.out


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["run", "--nonsense"], "No such option: --nonsense"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["replay"], "Missing argument"),
        (["baseline", "run", "file"], "Missing option '--reason'"),
        (["run", "--most", "-1"], "Invalid value for '--most'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_options_do_not_allow(cli: Cli, arguments: list[str], sentence: str) -> None:
    ended = cli.inside(*arguments)
    assert ended.code == 2
    assert sentence in ended.err
    assert (cli.runs(), cli.state.exists()) == ([], False)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["run", "-w", "gone.yaml"], "--workload gone.yaml: no such file"),
        (["run", "-w", "{w}", "--values", "gone.yaml"], "--values gone.yaml: no such file"),
        (
            ["run", "-w", "{w}", "--faults", "crash,quake"],
            "unknown fault 'quake'; known: crash, disconnect, none, reset, error",
        ),
        (["run", "-w", "{w}", "--shard", "3/2"], "--shard 3/2: K/N is expected, such as 1/4"),
        (["run", "-w", "{w}", "--shard", "0/2"], "--shard 0/2: K/N is expected, such as 1/4"),
        (["run", "-w", "{w}", "-n", "65"], "65 workers: a number from 1 to 64 is expected"),
        (["run", "-w", "{w}", "--emco-bin", "gone"], "--emco-bin gone: no such folder"),
        (
            ["run", "-w", "{w}", "--emco-bin", "."],
            "--emco-bin .: no executable orchestrator/orchestrator and no executable orchestrator, but",
        ),
        (["points", "-w", "{w}", "--emco-bin", "gone"], "--emco-bin gone: no such folder"),
        (["run", "-w", "{w}", "--mongo-uri", "nonsense"], "--mongo-uri nonsense: a host and a port are expected"),
        (["run", "-w", "{w}", "--out", "/dev/null/x"], "--out /dev/null/x: no folder can be made there"),
        (["run", "-w", "{w}", "--baseline", "gone.yaml"], "gone.yaml"),
        (["compare", "gone", "gone"], "gone: there is no summary of a run here"),
        (["export", "gone", "x"], "gone: there is no summary of a run here"),
        (["baseline", "gone", "file", "--reason", "r", "--owner", "o"], "gone: there is no summary of a run here"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_sentence_and_nothing_is_started(
    cli: Cli, workload: Path, arguments: list[str], sentence: str
) -> None:
    out = [] if "--out" in arguments or arguments[0] != "run" else ["--out", str(cli.out)]
    ended = cli.inside(*(argument.replace("{w}", str(workload)) for argument in arguments), *out)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("emco-chaos: ")
    assert sentence in ended.err
    assert len(ended.err.splitlines()) == 1
    assert (cli.runs(), cli.undos()) == ([], [])


def test_an_unknown_fault_on_the_real_command_line(cli: Cli, workload: Path) -> None:
    ended = cli("run", "-w", workload, "--faults", "quake", "--out", cli.out)
    assert ended == Ended(2, "", "emco-chaos: unknown fault 'quake'; known: crash, disconnect, none, reset, error\n")


@pytest.mark.parametrize(
    "text, line, sentence",
    [
        ("version: emco/v2\nresourceContext: [\n", 3, "expected"),
        ("version: emco/v9\nresourceContext:\n  anchor: projects\nmetadata:\n  name: x\n", 1, "expected 'emco/v2'"),
        ("version: emco/v2\nresourceContext:\n  anchor: nobodys/things\nmetadata:\n  name: x\n", 3, "nobodys/things"),
    ],
    ids=["no yaml", "another version", "unknown resource"],
)
def test_a_malformed_workload_is_shown_with_file_and_line(cli: Cli, text: str, line: int, sentence: str) -> None:
    (cli.folder / "bad.yaml").write_text(text, encoding="utf-8")
    ended = cli.inside("run", "-w", "bad.yaml", "--out", cli.out)
    assert ended.code == 2
    assert ended.err.startswith(f"emco-chaos: bad.yaml:{line}: ")
    assert sentence in ended.err
    assert (cli.runs(), cli.undos()) == ([], [])


def test_a_pattern_that_matches_no_point(cli: Cli, workload: Path) -> None:
    ended = cli("run", "no/such/point", "-w", workload, "-n", "1", "--out", cli.out)
    assert ended.code == 2
    assert ended.err.startswith("emco-chaos: no crash point matches 'no/such/point'; `emco-chaos points` lists them")
    assert cli.undos() == []


# -- stores of somebody else ----------------------------------------------------------------------------------------


@pytest.fixture
def nobody() -> Iterator[str]:
    """Host and port where nobody listens, and nobody will meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{sock.getsockname()[1]}"


class Something(BaseHTTPRequestHandler):
    """Answers everything, but is no etcd."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Something) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


def command_lines(pids: Iterable[int]) -> bytes:
    """What everybody on the machine can read of these processes."""
    found = b""
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += Path(f"/proc/{pid}/cmdline").read_bytes()
    return found


def test_a_mongo_that_does_not_answer_and_whose_password_nobody_sees(cli: Cli, workload: Path, nobody: str) -> None:
    cli.env["EMCO_CHAOS_MONGO_URI"] = f"mongodb://me:sentinel@{nobody}"
    process = cli.start("run", "-w", workload, "--out", cli.out)
    wait_for(lambda: len(cli.undos()) == 2, "no worker was started")
    below = children(process.pid)
    seen = command_lines(below)
    for descriptor in below.values():
        os.close(descriptor)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"emco-chaos: mongo at {nobody} does not answer" in err
    assert b"harness.worker" in seen
    assert b"sentinel" not in seen
    written = [path.read_bytes() for path in cli.out.rglob("*") if path.is_file()]
    assert not [text for text in (out.encode(), err.encode(), *written) if b"sentinel" in text]
    assert cli.undos() == []


def test_an_etcd_that_is_something_else(cli: Cli, workload: Path, web_server: str) -> None:
    ended = cli("run", "-w", workload, "--out", cli.out, "--etcd-endpoint", web_server)
    assert ended.code == 2
    assert f"emco-chaos: what answers at {web_server} is no etcd" in ended.err
    assert cli.undos() == []


# -- runs -----------------------------------------------------------------------------------------------------------


def summary(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    return found


def test_a_call_that_is_refused_without_any_fault_is_named(cli: Cli) -> None:
    project = WORKLOAD.partition("---")[0]
    (cli.folder / "twice.yaml").write_text(f"{project}---{project}", encoding="utf-8")
    ended = cli("run", "-w", "twice.yaml", "-n", "1", "--out", cli.out)
    assert ended.code == 3
    sentence = "orchestrator/projects/create-proj1-2 (POST /v2/projects) was answered 409 without any fault"
    assert sentence in ended.out
    found = summary(cli.runs()[0])
    assert (found["status"], sentence in found["trouble"]) == ("failed", True)
    assert cli.undos() == []


def test_a_run_without_findings(cli: Cli, workload: Path) -> None:
    ended = cli("run", "orchestrator/projects/create-proj1", "-w", workload, "-n", "1", "--out", cli.out)
    assert ended.code == 0, ended
    found = summary(cli.runs()[0])
    assert (found["status"], found["trouble"], found["reference"]) == ("complete", "", True)
    assert [result["id"] for result in found["results"]][:2] == [
        "orchestrator/projects/create-proj1@before:mongo.data.crash",
        HEALTHY,
    ]
    assert {result["outcome"] for result in found["results"]} == {"atomic"}
    assert all(result["proof"]["proven"] for result in found["results"])
    assert (cli.out / "latest" / "summary.json").is_file()
    assert cli.undos() == []
    assert cli("rollback") == Ended(0, "nothing to undo\n", "")


def test_what_cannot_be_undone_is_kept_and_said_and_the_rest_is_undone(cli: Cli, tmp_path: Path) -> None:
    folder = cli.state / "emco-chaos" / "undo"
    folder.mkdir(parents=True)
    for name, kind in (("1-1", "folder"), ("2-2", "of-tomorrow"), ("3-3", "folder")):
        line = json.dumps({"do": 1, "kind": kind, "path": str(tmp_path / name)})
        (folder / f"{name}.undo").write_text(f"{line}\n", encoding="utf-8")
    ended = cli("rollback")
    assert (ended.code, cli.undos()) == (3, ["2-2.undo"])
    assert ended.out.splitlines()[-1] == "2 acts undone"
    assert "could not be undone: of-tomorrow" in ended.err
    assert f"it is kept in {folder / '2-2.undo'}" in ended.err


def test_the_plan_is_printed_and_nothing_is_injected(cli: Cli, workload: Path) -> None:
    ended = cli("points", "-w", workload, "--json", "--faults", "crash")
    assert ended.code == 0
    points = [point for call in json.loads(ended.out)["calls"] for point in call["points"]]
    assert {point["fault"] for point in points} == {"crash"}
    assert ("create-app1", "after", "mongo.data") in {
        (point["call"].rpartition("/")[2], point["side"], point["effect"]) for point in points
    }
    assert (cli.runs(), cli.undos()) == ([], [])


def test_the_replay_of_a_finding_shows_what_is_known_of_it(replayed: tuple[Ended, Path]) -> None:
    ended, run = replayed
    assert ended.code == 1, ended
    for text in (
        f"needs-repair  {FINDING}",
        "repeating answers 409 over a partial record",
        "unexpected  mongo emco.resources {app,compositeApp,compositeAppVersion,project} app1/ca1/v1/proj1",
        "repaired by: undo+redo",
    ):
        assert text in ended.out
    result = summary(run)["results"][0]
    assert (result["id"], result["outcome"], result["grade"]) == (FINDING, "needs-repair", "fail")
    assert result["proof"]["how"].startswith("SIGKILL reaped")


def test_an_accepted_finding_makes_no_failure(cli: Cli, workload: Path, replayed: tuple[Ended, Path]) -> None:
    file = cli.folder / "accepted.yaml"
    ended = cli.inside("baseline", replayed[1], file, "--reason", "known", "--owner", "me")
    assert ended == Ended(0, f"{file}: 1 accepted finding, all new\n", "")
    again = cli.inside("baseline", replayed[1], file, "--reason", "known", "--owner", "me")
    assert again == Ended(0, f"{file}: 1 accepted finding, 0 new\n", "")
    ended = cli("run", FINDING, "-w", workload, "-n", "1", "--out", cli.out, "--baseline", file)
    assert ended.code == 0, ended


def test_a_finding_is_exported_as_one_file(cli: Cli, replayed: tuple[Ended, Path]) -> None:
    file = cli.folder / "finding.md"
    assert cli.inside("export", replayed[1], FINDING, "--to", file) == Ended(0, "", "")
    text = file.read_text(encoding="utf-8")
    assert text.startswith(f"# needs-repair: `{FINDING}`\n")
    assert "SIGKILL reaped" in text
    ended = cli.inside("export", replayed[1], "apps/create-app1@after")
    assert (ended.code, ended.out) == (2, "")
    assert f"has no result for `apps/create-app1@after`; did you mean {FINDING}?" in ended.err
    ended = cli.inside("export", replayed[1], FINDING, "--to", "/dev/null/x")
    assert (ended.code, "--to /dev/null/x: cannot be written" in ended.err) == (2, True)


def test_two_runs_are_compared(cli: Cli, workload: Path, replayed: tuple[Ended, Path]) -> None:
    """What a run was not to do is neither gone nor new."""
    assert cli("replay", HEALTHY, "-w", workload, "--out", cli.out).code == 0
    ended = cli.inside("compare", replayed[1], cli.runs()[0], "--json")
    found = json.loads(ended.out)
    assert (ended.code, found["gone"], found["new"], found["only_a"], found["only_b"]) == (0, [], [], [], [])
    assert all(note.endswith("had: these are not compared") for note in found["notes"])
    assert len(found["notes"]) == 2
    ended = cli.inside("compare", replayed[1], replayed[1])
    assert (ended.code, FINDING in ended.out) == (0, False)


# -- early ends -----------------------------------------------------------------------------------------------------


def children(pid: int) -> dict[int, int]:
    """All processes below this one: pid -> pidfd, which is readable when it has ended."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(encoding="ascii", errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found: dict[int, int] = {}
    below = [pid]
    while below:
        for child in parents.get(below.pop(), ()):
            try:
                found[child] = os.pidfd_open(child)
            except ProcessLookupError:
                continue
            below.append(child)
    return found


def wait_for(condition: Callable[[], bool], what: str, *, limit: float = 60) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


class Running:
    """A run that is at its points, with everything that it started."""

    def __init__(self, cli: Cli, workload: Path) -> None:
        self.cli = cli
        self.process = cli.start("run", "-w", workload, "-n", "1", "--faults", "crash", "--out", cli.out)
        wait_for(lambda: any(cli.out.glob("*/results.jsonl")), "no point was finished")
        self.children = children(self.process.pid)
        self.folder = next(Path("/dev/shm").glob(f"emco-chaos-{os.getuid()}/{self.worker}-*"), None)

    @property
    def worker(self) -> int:
        return next(iter(self.children))  # direct children come first

    def ended(self) -> bool:
        """Whether everything ends within half a minute."""
        deadline = time.monotonic() + 30
        for descriptor in self.children.values():
            if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return False
        return True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile the worker does nothing, so that the run cannot be over before it was looked at."""
        worker = self.children[self.worker]
        signal.pidfd_send_signal(worker, signal.SIGSTOP)
        yield
        signal.pidfd_send_signal(worker, signal.SIGCONT)

    def close(self) -> None:
        for descriptor in self.children.values():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)
        self.process.kill()
        self.process.communicate(timeout=10)


@pytest.fixture
def running(cli: Cli, workload: Path) -> Iterator[Running]:
    made = Running(cli, workload)
    yield made
    made.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_with_a_summary_and_nothing_left(running: Running, number: signal.Signals) -> None:
    cli = running.cli
    assert len(running.children) >= 5  # worker, two fork servers, two stores
    with running.held():
        assert "left alone" in cli("rollback").out
    running.process.send_signal(number)
    out, err = running.process.communicate(timeout=60)
    assert running.process.returncode == 3, (out, err)
    assert running.ended()
    found = summary(cli.runs()[0])
    assert (found["status"], found["trouble"]) == ("interrupted", f"ended by {number.name}")
    assert found["results"]
    assert (cli.undos(), cli("rollback").out) == ([], "nothing to undo\n")
    assert running.folder is None or not running.folder.exists()


def test_when_the_harness_is_killed_everything_ends_and_nothing_is_left_to_undo(running: Running) -> None:
    running.process.kill()
    assert running.ended()
    assert running.cli("rollback").code == 0
    assert running.cli.undos() == []
    assert running.folder is None or not running.folder.exists()


def test_when_harness_and_worker_are_killed_rollback_removes_what_they_left(running: Running) -> None:
    running.process.kill()
    os.kill(running.worker, signal.SIGKILL)
    assert running.ended()
    assert len(running.cli.undos()) == 2
    ended = running.cli("rollback")
    assert ended.code == 0
    if running.folder is not None:
        assert f"folder {running.folder} removed" in ended.out
        assert not running.folder.exists()
    assert (running.cli.undos(), running.cli("rollback").out) == ([], "nothing to undo\n")


def test_learning_ends_on_a_signal_too(cli: Cli, tmp_path: Path) -> None:
    """A workload that nobody has learned yet, so that there is something to end."""
    other = tmp_path / "other.yaml"
    other.write_text(WORKLOAD.replace("proj1", "proj2"), encoding="utf-8")
    process = cli.start("learn", "-w", other)
    wait_for(lambda: len(cli.undos()) == 2, "nothing was started")
    below = children(process.pid)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[-1]) == (
        3,
        "emco-chaos: trouble: ended by SIGTERM; everything was undone",
    )
    for descriptor in below.values():
        assert select.select([descriptor], [], [], 10)[0]
        os.close(descriptor)
    assert cli.undos() == []
