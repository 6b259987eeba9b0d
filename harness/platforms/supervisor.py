"""Starts, watches, kills and reaps the processes of one environment."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.faults.journal import Journal, process_started
from harness.faults.victim import Death, HarnessTrouble, ServiceDown


class NeverReady(Exception):
    """Raised by ProcessSpec.ready: to wait for longer is no use, and why."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """How a process is started.

    name:  in logs, links and errors
    argv:  program and arguments; empty: the fork server calls its module's `main(call)` instead
    ready: raises OSError while the process does not answer by its protocol yet; is given the size that the log had
           before this start, for programs that only say in their log when they are ready. Raises NeverReady when it
           is not to be waited for any more
    mount: a folder that the process alone sees at another place: (folder, place)
    start_limit: seconds from its start until it answers; more on a machine that is slow, see Supervised
    """

    name: str
    cwd: Path
    env: Mapping[str, str]
    log: Path
    ready: Callable[[int], Awaitable[None]]
    argv: tuple[str, ...] = ()
    call: str = ""
    mount: tuple[str, str] | None = None
    start_limit: float = 20.0


class Starter(Protocol):
    """Starts a process and returns its pid; the process is then a child of this one."""

    def start(self, spec: ProcessSpec, log: int) -> int: ...


class ForkServer:
    """Client of harness.platforms.forkserver. Blocking, but each start takes well under a millisecond."""

    def __init__(self, module: str | None = None, *, env: Mapping[str, str] | None = None) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "harness.platforms.forkserver", str(theirs.fileno())]
        self._process = subprocess.Popen(
            [*command, module] if module else command,
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in a terminal is for us: we end what we started, in order
            env=dict(env) if env is not None else None,
        )
        theirs.close()
        self._socket = ours
        self._socket.settimeout(60.0)

    def start(self, spec: ProcessSpec, log: int) -> int:
        request = {
            "argv": list(spec.argv),
            "call": spec.call,
            "cwd": str(spec.cwd),
            "env": dict(spec.env),
            "mount": spec.mount,
        }
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [log])
            answer = self._socket.recv(65536)
        except OSError as error:
            raise HarnessTrouble(
                f"the fork server does not answer ({error}); it could not start {spec.name}"
            ) from error
        if not answer:
            raise HarnessTrouble(f"the fork server ended (exit {self._process.poll()}); it could not start {spec.name}")
        return int(json.loads(answer)["pid"])

    def close(self) -> None:
        self._socket.close()
        self._process.wait(timeout=10)


@dataclass(slots=True)
class _Running:
    pid: int
    descriptor: int
    undo: int
    ended: "asyncio.Future[Death]" = field(repr=False)


# A start that takes that much longer than this very process ever took on this machine is not slow, it hangs.
_SLOWER = 20
_LONGEST_START = 240.0


class Supervised:
    """One process of the environment: start, crash, stop; satisfies the Victim protocol.

    How long a start may take is at least the spec's limit; where starts that went well took long already, it is many
    times the longest of them, so that a slow machine is not taken for a service that hangs.
    """

    def __init__(self, spec: ProcessSpec, starter: Starter, journal: Journal) -> None:
        self.spec = spec
        self._starter = starter
        self._journal = journal
        self._running: _Running | None = None
        self._log_offset = 0
        self._launched = 0.0
        self._slowest = 0.0  # of the starts that went well, seconds
        self.starts = 0

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def pid(self) -> int | None:
        """Pid while it runs."""
        return self._running.pid if self._running and not self._running.ended.done() else None

    async def start(self) -> None:
        """Start and wait until it answers. Raises ServiceDown with the end of its log when it does not in time."""
        self.launch()
        await self.answering()

    def launch(self) -> None:
        """Start without waiting."""
        if self.pid is not None:
            raise HarnessTrouble(f"{self.name} was to be started, but it runs already (pid {self.pid})")
        with self.spec.log.open("ab") as log:
            self._log_offset = log.tell()
            pid = self._starter.start(self.spec, log.fileno())
        self.starts += 1
        loop = asyncio.get_running_loop()
        self._launched = loop.time()
        descriptor = os.pidfd_open(pid)
        undo = self._journal.record("process", pid=str(pid), started=process_started(pid), what=self.name)
        self._running = _Running(pid, descriptor, undo, loop.create_future())
        loop.add_reader(descriptor, self._reap, self._running)

    @property
    def start_limit(self) -> float:
        """Seconds that its next start may take."""
        return min(max(self.spec.start_limit, _SLOWER * self._slowest), max(self.spec.start_limit, _LONGEST_START))

    async def answering(self) -> None:
        """Wait until the started process answers by its protocol."""
        running, limit, clock = self._running, self.start_limit, asyncio.get_running_loop().time
        if running is None:
            raise HarnessTrouble(f"{self.name} was never started")
        ready = asyncio.ensure_future(self._poll())
        try:
            either: set[asyncio.Future[Any]] = {ready, running.ended}
            await asyncio.wait(either, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if ready.done() and not running.ended.done():  # something else may listen where it could not
                ready.result()
                self._slowest = max(self._slowest, clock() - self._launched)
                return
        except NeverReady as never:
            raise ServiceDown(self.name, str(never), self.log_tail()) from None
        finally:
            ready.cancel()
        if running.ended.done():
            sentence = f"ended right after its start: {running.ended.result().describe()}"
        else:
            before = f"; a start that went well took {self._slowest:.1f} s at most" if self._slowest else ""
            sentence = f"did not answer within {limit:g} s of its start{before}"
        raise ServiceDown(self.name, sentence, self.log_tail())

    async def _poll(self) -> None:
        pause = 0.002
        while True:
            try:
                return await self.spec.ready(self._log_offset)
            except OSError:  # refused or reset: not yet. Anything else is an error
                await asyncio.sleep(pause)  # bounded by the caller's limit
                pause = min(pause * 1.3, 0.008)

    async def crash(self) -> Death:
        """SIGKILL, and what was reaped. Raises HarnessTrouble when it did not run."""
        running = self._running
        if running is None or running.ended.done():
            raise HarnessTrouble(
                f"{self.name} was to be killed, but it did not run any more; its log: {self.log_tail(400)}"
            )
        signal.pidfd_send_signal(running.descriptor, signal.SIGKILL)
        async with asyncio.timeout(10):
            return await asyncio.shield(running.ended)

    async def stop(self) -> None:
        """End it if it runs (SIGKILL: nothing here drains, as EMCO does not)."""
        if self.pid is not None:
            await self.crash()

    def pause(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._running is None or self._running.ended.done():
            raise HarnessTrouble(f"{self.name} does not run, {number.name} would hit nothing")
        signal.pidfd_send_signal(self._running.descriptor, number)

    @property
    def ended(self) -> Death | None:
        """How it ended, when it was started and did."""
        return self._running.ended.result() if self._running and self._running.ended.done() else None

    def log_tail(self, characters: int = 4000) -> str:
        """The end of its log."""
        if not self.spec.log.exists():
            return ""
        with self.spec.log.open("rb") as log:
            log.seek(max(0, self.spec.log.stat().st_size - characters))
            return log.read().decode("utf-8", "backslashreplace")

    def said(self) -> bytes:
        """What its log has of the start at hand."""
        if not self.spec.log.exists():
            return b""
        with self.spec.log.open("rb") as log:
            log.seek(self._log_offset)
            return log.read()

    def _reap(self, running: _Running) -> None:
        asyncio.get_running_loop().remove_reader(running.descriptor)
        status = os.waitid(os.P_PIDFD, running.descriptor, os.WEXITED)
        os.close(running.descriptor)
        self._journal.done(running.undo)
        if status is None:  # cannot be with a readable pidfd; said rather than guessed
            running.ended.set_exception(HarnessTrouble(f"{self.name} ended but could not be reaped"))
        elif status.si_code == os.CLD_EXITED:
            running.ended.set_result(Death(self.name, running.pid, 0, status.si_status))
        else:
            running.ended.set_result(Death(self.name, running.pid, status.si_status, 0))
