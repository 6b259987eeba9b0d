"""What the reference's rsync does on one edge, with an edge that is lost at a moment of our choice."""

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reference import events
from reference.deploying import Deployer, Job
from reference.edge import EdgeUnreachable

MANIFEST = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


class LostOnce:
    """An edge that does not answer the first time it is asked for one thing."""

    def __init__(self, lost_at: str) -> None:
        self.lost_at = lost_at
        self.asked: list[str] = []

    async def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what == self.lost_at and self.asked.count(what) == 1:
            raise EdgeUnreachable("it is away")

    async def reach(self) -> None:
        await self._ask("version")

    async def delete(self, *_: Any, **__: Any) -> None:
        await self._ask("delete")

    async def end_report(self, *_: Any, **__: Any) -> None:
        await self._ask("report")


@pytest.mark.parametrize("lost_at", ["delete", "report"])
async def test_a_terminate_that_loses_its_edge_begins_again(lost_at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    edge = LostOnce(lost_at)

    async def connect(_: str) -> LostOnce:
        return edge

    async def nothing(*_: object, **__: object) -> None:
        pass

    contexts = SimpleNamespace(put=nothing, get=nothing)
    notes = SimpleNamespace(defects=frozenset[str](), log=logging.getLogger("test"), write=nothing)
    config = SimpleNamespace(max_retries=None, cleanup_delay=0.0)
    deployer = Deployer(
        config=cast("Any", config),
        records=cast("Any", None),
        contexts=cast("Any", contexts),
        notes=cast("Any", notes),
        spawn=lambda _: None,
        check=nothing,
    )
    monkeypatch.setattr(deployer, "_connect", connect)
    monkeypatch.setattr(deployer, "_reports", SimpleNamespace(close=nothing))
    monkeypatch.setattr(deployer, "watch", lambda _: None)
    job = Job("1", events.TERMINATE, "", "app", "p1+c1", ("a+ConfigMap",), {"a+ConfigMap": MANIFEST}, "n", "1")
    await deployer.run([job])
    assert edge.asked[-2:] == ["delete", "report"]
    assert edge.asked.count("version") == 2
    assert edge.asked.count(lost_at) == 2
