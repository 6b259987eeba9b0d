"""The ends of containers as a node tells of them; a stand-in prints them."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.faults.victim import HarnessTrouble
from harness.platforms.kind.node import Exit, KindNode
from tests.unit.kubernetes.small_cluster import until

PRINT = """
import pathlib, sys, time
turns = pathlib.Path(sys.argv[1])
number = len(list(turns.glob("begun-*")))
(turns / f"begun-{number}").touch()
sys.stdout.write((turns / f"say-{number}").read_text())
sys.stdout.flush()
if (turns / f"say-{number + 1}").exists():
    sys.exit(0)
time.sleep(60)
"""


def end(container: str, name: str = "") -> str:
    """A line that tells of the end of a container's process, or of that of a command in it."""
    told = {"container_id": container, "id": name or container, "pid": 7, "exit_status": 1}
    return f"2026-01-01 00:00:00 +0000 UTC k8s.io /tasks/exit {json.dumps(told)}\n"


class Told:
    """What a node told."""

    def __init__(self) -> None:
        self.ended: list[Exit] = []
        self.missed: list[str] = []


@asynccontextmanager
async def following(folder: Path, *texts: str) -> AsyncIterator[tuple[KindNode, Told]]:
    """A node whose events come to an end after each text but the last."""
    for number, text in enumerate(texts):
        (folder / f"say-{number}").write_text(text, encoding="utf-8")
    told = Told()
    program = (sys.executable, "-c", PRINT, str(folder))
    node = KindNode("n", ended=told.ended.append, missed=told.missed.append, follow=program)
    await node.begin()
    try:
        yield node, told
    finally:
        await node.close()


async def test_ends_of_containers_are_told_and_those_of_commands_in_them_are_not(tmp_path: Path) -> None:
    other = '2026-01-01 00:00:00 +0000 UTC k8s.io /tasks/start {"container_id": "a"}\n'
    async with following(tmp_path, other + end("a", "probe") + end("a") + end("b")) as (_, told):
        await until(lambda: len(told.ended) == 2)
        assert told.ended == [Exit("a", 7, 1), Exit("b", 7, 1)]
        assert told.missed == []


@pytest.mark.parametrize("line", ["x /tasks/exit {torn\n", "x /tasks/exit nothing\n", 'x /tasks/exit {"id": "a"}\n'])
async def test_a_line_that_cannot_be_read_is_told_as_missed_and_the_next_is_read(tmp_path: Path, line: str) -> None:
    async with following(tmp_path, line + end("a")) as (_, told):
        await until(lambda: len(told.ended) == 1)
        (missed,) = told.missed
        assert missed.startswith("node n told of an end that cannot be read")


@pytest.mark.parametrize("last", ["", "x" * 3_000_000], ids=["it came to an end", "a line without end"])
async def test_events_that_break_off_are_followed_again_and_that_is_told(tmp_path: Path, last: str) -> None:
    async with following(tmp_path, end("a") + last, end("b")) as (_, told):
        await until(lambda: len(told.ended) == 2)
        assert told.ended[1] == Exit("b", 7, 1)
        assert told.missed[0].endswith("ends of containers may have been missed")
        assert told.missed[1:] == ["the events of node n were not followed for a while"]


async def test_nothing_is_killed_while_its_end_would_not_be_seen(tmp_path: Path) -> None:
    async with following(tmp_path, "", end("b")) as (node, told):
        await until(lambda: told.missed != [])
        await asyncio.sleep(0)
        with pytest.raises(HarnessTrouble, match="the events of node n are not followed now"):
            await node.kill("a")


class Kept(KindNode):
    """A node that keeps what it has begun."""

    begun: tuple[asyncio.subprocess.Process, ...] = ()

    async def _events(self) -> asyncio.subprocess.Process:
        process = await super()._events()
        self.begun += (process,)
        return process


async def test_who_closes_while_events_that_broke_off_are_ended_leaves_no_process_unwaited_for() -> None:
    async def close() -> list[int | None]:
        await node.close()
        return [process.returncode for process in node.begun]

    closing: list[asyncio.Task[list[int | None]]] = []
    lives_on = (sys.executable, "-c", "import os, time; os.close(1); time.sleep(60)")
    node = Kept(
        "n", ended=lambda _: None, missed=lambda _: closing.append(asyncio.ensure_future(close())), follow=lives_on
    )
    await node.begin()
    await until(lambda: closing != [])
    assert await closing[0] == [-signal.SIGKILL]
