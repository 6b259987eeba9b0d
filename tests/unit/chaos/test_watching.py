"""When a watch looks, on a clock and effects by hand."""

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from harness.chaos.watching import Seen, Watch
from harness.emco.status import NOTHING_SAID, GroupStatus

TAKES = 0.01  # seconds, a look


class EndOfWorld(Exception):
    """Nobody waits any longer."""


def said(deployed: str) -> GroupStatus:
    return GroupStatus(deployed, "", {}, {}, ())


class World:
    """A group of which a look finds what `status` says, and a relay on whose clock only waiting takes time."""

    def __init__(self, *effects: float, ends: float = 20.0) -> None:
        self.status, self.time, self.looks = said("Instantiating"), 0.0, list[float]()
        self.effects, self.ends = effects, ends
        self.lab = SimpleNamespace(relay=self)

    def seq(self) -> int:
        return sum(at <= self.time for at in self.effects)

    def clock(self) -> float:
        return self.time

    async def moved(self, seq: int, *, limit: float) -> bool:
        if self.time >= self.ends:
            raise EndOfWorld
        ends = self.time + limit
        self.time = min([ends, *(at for at in self.effects[seq:] if at <= ends)])
        return self.seq() > seq

    async def look(self, _: Any) -> Seen:
        self.looks.append(self.time)
        self.time += TAKES
        await asyncio.sleep(0)
        return Seen(self.time, self.status, {})


@pytest.fixture(autouse=True)
def no_breath(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.chaos.watching._BREATH", 0.0)


def watched(world: World) -> Watch:
    watch = Watch(world.look)
    with pytest.raises(EndOfWorld):
        asyncio.run(watch.run(world))  # type: ignore[arg-type]  # what a watch needs of a campaign
    return watch


def test_where_nothing_is_written_it_looks_less_and_less_often_but_each_2_s() -> None:
    world = World()
    watch = watched(world)
    pauses = [later - earlier for earlier, later in pairwise(world.looks)]
    assert pauses[0] == pytest.approx(0.2 + TAKES)
    assert all(earlier < later + 1e-9 for earlier, later in pairwise(pauses))
    assert pauses[-1] == pytest.approx(2.0 + TAKES)
    assert len(watch.seen) == 1


def test_it_looks_after_each_effect_and_often_again_after_it() -> None:
    world = World(5.05, 5.1, ends=6.0)
    watched(world)
    assert {5.05, 5.1} <= set(world.looks)
    assert any(at == pytest.approx(5.3 + TAKES) for at in world.looks)


def test_what_does_not_answer_is_asked_as_often_as_at_first() -> None:
    world = World()
    world.status = NOTHING_SAID
    watched(world)
    assert all(later - earlier == pytest.approx(0.2 + TAKES) for earlier, later in pairwise(world.looks))


def test_several_that_ask_at_once_are_answered_by_one_look() -> None:
    world = World()

    async def ask() -> list[Seen]:
        watch = Watch(world.look)
        return await asyncio.gather(*(watch.now(world, since=0.0) for _ in range(3)))  # type: ignore[arg-type]  # as above

    assert len(asyncio.run(ask())) == 3
    assert len(world.looks) == 1


@pytest.mark.parametrize(
    "since, time, looks",
    [
        (0.0, 0.5, 1),  # nothing was written, and it is young
        (0.4, 0.5, 2),  # it began before what is asked about
        (0.0, 1.9, 1),
        (0.0, 2.1, 2),  # too old: EMCO may have gone meanwhile, of which no effect tells
    ],
)
def test_a_look_is_used_again_only_where_it_tells_what_is_now(since: float, time: float, looks: int) -> None:
    world = World()

    async def ask() -> None:
        watch = Watch(world.look)
        for at in (0.0, time):
            world.time = at
            await watch.now(world, since=min(since, at))  # type: ignore[arg-type]  # as above

    asyncio.run(ask())
    assert len(world.looks) == looks


def test_a_look_before_an_effect_is_not_used_after_it() -> None:
    world = World(0.1)

    async def ask() -> list[Seen]:
        watch = Watch(world.look)
        first = await watch.now(world, since=0.0)  # type: ignore[arg-type]  # as above
        world.time, world.status = 0.2, said("Instantiated")
        return [first, await watch.now(world, since=0.0), *watch.seen]  # type: ignore[arg-type]  # as above

    assert [seen.status.deployed for seen in asyncio.run(ask())] == [
        "Instantiating", "Instantiated", "Instantiating", "Instantiated",
    ]  # fmt: skip
