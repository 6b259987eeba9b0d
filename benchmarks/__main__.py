"""`python -m benchmarks`: measures what docs/performance.md keeps. `relay` for the relay alone, `points` for the rest.

Figures are medians of one run on one machine; what counts is the ratio to the baseline of the same run.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from harness.campaign import Campaign, open_campaign
from harness.defaults import GOLDEN, make_settings
from harness.platforms.settings import FAULTS, Settings
from harness.work import prepare


def main() -> None:
    """Measure and print a table and JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--emco-bin", type=Path, help="also with real EMCO binaries")
    parser.add_argument("--runs", type=int, default=1, help="full runs for each number of workers")
    parser.add_argument("--quick", action="store_true", help="parts only, no full runs")
    options = parser.parse_args()
    figures: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
    }
    for name, folder in (("reference", None), ("binaries", options.emco_bin)):
        if name == "binaries" and folder is None:
            continue
        figures[name] = {"parts (ms)": uvloop.run(_parts(_settings(folder)))}
        if not options.quick:
            for workers in (1, 2):
                figures[name][f"{workers} workers"] = [_run(folder, workers) for _ in range(options.runs)]
    print(json.dumps(figures, indent=2))


def _settings(emco_bin: Path | None) -> Settings:
    return make_settings(
        workload=GOLDEN,
        values=None,
        emco_bin=emco_bin,
        reference="faithful",
        mongo_uri="",
        etcd_endpoint="",
        faults=",".join(FAULTS),
        workers=1,
        seed=0,
        isolate=True,
    )


async def _parts(settings: Settings) -> dict[str, float]:
    """What one point is made of, each alone."""
    began = time.perf_counter()
    async with open_campaign(settings, prepare(settings), name="bench") as campaign:
        booted = time.perf_counter()
        lessons = await campaign.learn()
        middle = next(lesson for lesson in lessons if lesson.subject.call.name.endswith("replace-ai1"))
        lab = campaign.lab
        await lab.clean_slate(middle.before)

        async def call() -> None:
            await lab.send(middle.subject.call)

        parts = {
            "boot": 1000 * (booted - began),
            "clean slate, all services": await _median(lambda: lab.clean_slate(middle.before)),
            "clean slate, one service": await _median(
                lambda: lab.clean_slate(middle.before, only=frozenset({"orchestrator"}))
            ),
            "restore mongo, nothing to do": await _median(lambda: lab.mongo.restore(middle.before.mongo)),
            "restore etcd, nothing to do": await _median(lambda: lab.etcd.restore(middle.before.etcd)),
            "snapshot": await _median(lab.snapshot),
            "a call of two writes": await _median(call),
            "crash and restart": await _median(lambda: _crash(campaign)),
        }
    return {name: round(value, 1) for name, value in parts.items()}


async def _crash(campaign: Campaign) -> None:
    victim = campaign.lab.victim("orchestrator")
    await victim.crash()
    await victim.start()


async def _median(work: Callable[[], Awaitable[Any]], times: int = 15) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        await work()
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)


def _run(emco_bin: Path | None, workers: int) -> dict[str, float]:
    """One full run by the command line, learning included; its own figures."""
    command = [sys.executable, "-m", "harness.cli", "run", "--no-baseline", "--workers", str(workers), "--json"]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": folder}
        command += ["--out", folder, *(["--emco-bin", str(emco_bin)] if emco_bin else [])]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
    summary = json.loads(done.stdout)
    return {**summary["performance"], "seconds": summary["seconds"], "points": summary["counts"]["ran"]}


if __name__ == "__main__":
    main()
