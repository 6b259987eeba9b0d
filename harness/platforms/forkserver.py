"""Starts processes for the supervisor: a small process that forks, and either executes a program or calls a function.

Why not subprocess: a service is started several times for each crash point. Forking the harness is slow and unsafe with
threads; a Python service that is forked from a process which has imported everything already starts in milliseconds
instead of half a second. Both kinds of start go through here, so that there is one way to start, to watch and to reap.

Each start forks twice and the middle process ends at once, so the service becomes a child of the harness (a subreaper):
the harness itself reaps it and learns the signal that ended it. The service dies with the harness (parent-death
signal), and so does this fork server.

Run as `python -m harness.platforms.forkserver FD [MODULE]`: FD is a SOCK_SEQPACKET socket, MODULE what to import first.
Its `warm()` is called once, before anything is forked: what it leaves in memory no start has to do again. Its
`main(name)` is what a request without a program calls. Imports nothing heavy.
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any

from harness.platforms.linux import die_with_parent, mount_privately


def main(arguments: list[str]) -> None:
    """Serve requests until the harness closes its end."""
    channel = socket.socket(fileno=int(arguments[0]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    harness = os.getppid()
    die_with_parent()
    module = importlib.import_module(arguments[1]) if len(arguments) > 1 else None
    if module is not None:
        module.warm()
    gc.collect()
    gc.freeze()
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, 65536, 1)
        if not message:
            return
        request = json.loads(message)
        log = descriptors[0]
        try:
            pid = _start(request, log, channel, harness, module)
            channel.send(json.dumps({"pid": pid}).encode())
        finally:
            os.close(log)


def _start(request: dict[str, Any], log: int, channel: socket.socket, harness: int, module: ModuleType | None) -> int:
    """Fork twice; returns the pid of the grandchild, which runs the service."""
    reading, writing = os.pipe()
    middle = os.fork()
    if middle == 0:
        service = os.fork()
        if service == 0:
            os.close(reading)
            os.close(writing)
            channel.close()
            _become(request, log, harness, module)
        os.write(writing, str(service).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(middle, 0)
    with os.fdopen(reading, "rb") as answer:
        return int(answer.read())


def _become(request: dict[str, Any], log: int, harness: int, module: ModuleType | None) -> None:
    """In the grandchild: set everything up and become the service. Never returns."""
    code = 127
    try:
        while os.getppid() not in (harness, 1):  # the middle process ends within microseconds; only then may
            os.sched_yield()  # the parent-death signal be asked for, or its end would kill us
        die_with_parent()
        if os.getppid() != harness:
            os._exit(1)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        for number, descriptor in ((0, null), (1, log), (2, log)):
            os.dup2(descriptor, number)
        os.chdir(request["cwd"])
        if request["mount"]:
            _mount(request)
        if request["argv"]:
            os.execve(request["argv"][0], request["argv"], request["env"])
        os.environ.clear()
        os.environ.update(request["env"])
        code = _call(module, request["call"])
    except Exception:  # noqa: BLE001  whatever it was, it ends in the service's log and exit code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(code)


def _mount(request: dict[str, Any]) -> None:
    """A folder of its own where the program has its temporary files; without the right to mount, the common one."""
    source, target = request["mount"]
    try:
        mount_privately(source, target)
    except OSError as error:
        print(f"emco-chaos: no temporary folder of its own, /tmp is used ({error})", file=sys.stderr)
        request["env"]["TMPDIR"] = "/tmp"  # noqa: S108  nothing but the system's own is safe here, see the caller


def _call(module: ModuleType | None, name: str) -> int:
    if module is None:
        raise ValueError(f"asked to call {name!r}, but started without a module")
    function: Callable[[str], None] = module.main
    try:
        function(name)
    except SystemExit as exit_:
        if isinstance(exit_.code, str):
            print(exit_.code, file=sys.stderr)
            return 1
        return exit_.code or 0
    return 0


if __name__ == "__main__":
    main(sys.argv[1:])
