"""One worker of a run: a process with an environment of its own, told what to do by lines of JSON.

`retries` and `problems` of a result are those of the worker so far: answers that were nothing but lost connectivity
and were therefore repeated; connections whose traffic could not be decoded.

In:  the settings, then {"do": "learn"} | {"do": "control", "call"}
     | {"do": "run", "point": {...}} | end of input: take everything down and end
Out: {"event": "ready"} | {"event": "learned", "index", "call"} | {"event": "done"}
     | {"event": "controlled"}
     | {"event": "result", "result": {...}} | {"event": "trouble", "kind", "text"}
Run as `python -m harness.worker NAME`. Logs go to standard error.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import uvloop

from harness.campaign import Campaign, open_campaign
from harness.crashpoints.learn import CallFails, DoesNotSettle
from harness.crashpoints.model import CrashPoint, PointResult
from harness.faults.victim import HarnessTrouble, ServiceDown, UsageError
from harness.platforms.settings import Settings, as_path
from harness.stores.mongo import StoreError
from harness.stores.snapshot import SnapshotError
from harness.work import prepare

Say = Callable[[dict[str, Any]], None]


def main(arguments: list[str]) -> None:
    """Serve until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the runner decides: it closes our input
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # nothing else may print between the lines

    def say(line: dict[str, Any]) -> None:
        out.write(json.dumps(line).encode() + b"\n")

    with os.fdopen(0, "rb", buffering=0, closefd=False) as orders:  # unbuffered: what follows is read elsewhere
        first = orders.readline()
    if not first:
        return  # the runner ended before it said anything
    settings = msgspec.json.decode(first, type=Settings, dec_hook=as_path)
    try:
        uvloop.run(_serve(settings, arguments[0], say))
    except (UsageError, StoreError) as error:
        say({"event": "trouble", "kind": "usage", "text": str(error)})
    except ServiceDown as down:
        say({"event": "trouble", "kind": "service", "text": f"{down}\n{down.log}"})
    except (HarnessTrouble, SnapshotError, OSError) as error:
        say({"event": "trouble", "kind": "harness", "text": f"{type(error).__name__}: {error}"})


async def _serve(settings: Settings, name: str, say: Say) -> None:
    """Do what the lines say, one after the other; the end of the input stops what is under way."""
    lines: asyncio.Queue[bytes] = asyncio.Queue()
    reading = asyncio.ensure_future(_read(lines))
    working = asyncio.ensure_future(_work(settings, name, say, lines))
    await asyncio.wait({reading, working}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        working.cancel()
        await asyncio.wait({working})
    reading.cancel()
    if not working.cancelled():
        working.result()


async def _read(lines: "asyncio.Queue[bytes]") -> None:
    """Lines of standard input; returns at its end."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb", closefd=False))
    while line := await reader.readline():
        lines.put_nowait(line)


async def _work(settings: Settings, name: str, say: Say, lines: "asyncio.Queue[bytes]") -> None:
    work = prepare(settings)
    async with open_campaign(settings, work, name=name) as campaign:
        say({"event": "ready", "environment": campaign.lab.environment})
        while True:
            order = json.loads(await lines.get())
            if order["do"] == "learn":
                await _learn(campaign, say)
            elif order["do"] == "control":
                await campaign.control(order["call"])
                say({"event": "controlled"})
            else:
                result = await campaign.run(msgspec.convert(order["point"], CrashPoint))
                lab = campaign.lab
                seen = {"retries": lab.connectivity_retries, "problems": lab.relay.problems}
                say({"event": "result", "result": msgspec.to_builtins(result, enc_hook=str), **seen})


async def _learn(campaign: Campaign, say: Say) -> None:
    try:
        await campaign.learn(lambda index, call: say({"event": "learned", "index": index, "call": call}))
    except (CallFails, DoesNotSettle) as error:
        say({"event": "trouble", "kind": "learning", "text": str(error)})
    else:
        say({"event": "done", "retries": campaign.lab.connectivity_retries})


def read_result(line: dict[str, Any]) -> PointResult:
    """The result in a line of output."""
    return msgspec.convert(line["result"], PointResult)


if __name__ == "__main__":
    main(sys.argv[1:])
