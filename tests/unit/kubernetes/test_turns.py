"""Who waits for whom, also where they are processes that get killed."""

import asyncio
import sys
from pathlib import Path

import pytest

from harness.faults.victim import HarnessTrouble
from harness.platforms.kind.turns import turn

HOLDS = """
import asyncio, sys
from pathlib import Path
from harness.platforms.kind.turns import turn
async def hold():
    async with turn(Path(sys.argv[1]), "t"):
        print("has it", flush=True)
        await asyncio.sleep(60)
asyncio.run(hold())
"""


@pytest.mark.parametrize("at_once", [1, 2])
async def test_never_more_than_so_many_are_at_it_and_all_get_their_turn(tmp_path: Path, at_once: int) -> None:
    at_it, most = 0, 0

    async def work() -> None:
        nonlocal at_it, most
        async with turn(tmp_path, "t", at_once=at_once):
            at_it += 1
            most = max(most, at_it)
            await asyncio.sleep(0.01)
            at_it -= 1

    await asyncio.wait_for(asyncio.gather(*(work() for _ in range(4))), 20)
    assert most == at_once


async def test_other_things_have_turns_of_their_own(tmp_path: Path) -> None:
    async with turn(tmp_path, "a", limit=0), turn(tmp_path, "b", limit=0):
        pass


async def test_whoever_waits_longer_than_the_limit_is_told(tmp_path: Path) -> None:
    async with turn(tmp_path, "t"):
        with pytest.raises(HarnessTrouble, match=r"others are at it \(t\) still after 0 s"):
            async with turn(tmp_path, "t", limit=0):
                pass


async def test_the_turn_of_a_killed_process_is_over(tmp_path: Path) -> None:
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDS, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert other.stdout is not None
    assert await other.stdout.readline() == b"has it\n"
    with pytest.raises(HarnessTrouble):
        async with turn(tmp_path, "t", limit=0):
            pass
    other.kill()
    async with turn(tmp_path, "t", limit=10):
        pass
    await other.wait()
