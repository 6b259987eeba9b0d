"""Without EMCO's defects, rsync killed at any of its writes brings the context to where it was asked to go."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest

from harness.wire.triggers import Trigger

from . import bench
from .prepared import approved

GROUP = "/v2/projects/proj1/composite-apps/ca1/v1/deployment-intent-groups/dig1"
Side = Literal["before", "after"]


@pytest.mark.timeout(300)  # a hundred crashes and restarts: half a minute where nothing else runs
@pytest.mark.parametrize("side", ["before", "after"])
def test_rsync_killed_at_its_own_writes_recovers(side: Side) -> None:
    asyncio.run(_campaign(side, step=4))


async def _campaign(side: Side, *, step: int) -> None:
    async with bench.running(defects="fixed", monitor=False) as running:
        await approved(running)
        for name in ("instantiate", "update", "rollback", "terminate"):
            await _at_every_write(running, name, side, step=step)


async def _do(running: bench.Bench, name: str) -> bench.Answer:
    body = None
    if name == "rollback":
        actions = (await running.call("orchestrator", "GET", GROUP + "/status")).json["states"]["actions"]
        contexts = [action for action in actions if action["state"] == "Instantiated"]
        body = {"spec": {"revision": str(contexts[-2]["revision"])}}
    return await running.call("orchestrator", "POST", f"{GROUP}/{name}", body)


_BEFORE = {
    "instantiate": (),
    "update": ("instantiate",),
    "rollback": ("instantiate", "update"),
    "terminate": ("instantiate",),
}


async def _at_every_write(running: bench.Bench, name: str, side: Side, *, step: int) -> None:
    control = await _round(running, name, lambda: _do(running, name))
    number = 1
    while True:
        hit = False

        async def crashing(occurrence: int = number) -> bench.Answer:
            nonlocal hit
            armed = running.relay.arm(Trigger("rsync", side, lambda effect: True, occurrence))
            call = asyncio.ensure_future(_do(running, name))
            either: set[asyncio.Future[Any]] = {armed.hit, asyncio.ensure_future(_idle(running, call))}
            done, _ = await asyncio.wait(either, return_when="FIRST_COMPLETED")
            hit = armed.hit in done
            if not hit:
                armed.disarm()
                return await call
            await running.kill("rsync")
            running.relay.drop("rsync")
            await running.start_service("rsync")
            return await call

        after = await _round(running, name, crashing, expected=control)
        assert after == control, f"{name}: rsync killed {side} its write {number}"
        if not hit:
            assert number > 1
            return
        number += step


async def _idle(running: bench.Bench, call: "asyncio.Future[bench.Answer]") -> None:
    await call
    await running.quiet()


async def _round(
    running: bench.Bench, name: str, act: Callable[[], Awaitable[bench.Answer]], *, expected: Any = None
) -> Any:
    for earlier in _BEFORE[name]:
        assert (await _do(running, earlier)).status == 202
        await running.quiet()
    answer = await act()
    assert answer.status == 202, (name, answer, (running.folder / "orchestrator.log").read_text()[-1200:])
    await _idle_rsync(running)
    state = await _state(running)
    # Between an Update and the UpdateDelete that follows it, on a slow machine, rsync looks idle.
    while expected is not None and state != expected and await running.relay.moved(running.relay.seq(), limit=5):
        await running.quiet()
        state = await _state(running)
    if name != "terminate":
        assert (await _do(running, "terminate")).status == 202
        await running.quiet()
    return state


async def _idle_rsync(running: bench.Bench) -> None:
    async with asyncio.timeout(10):
        # A process that restores has not written yet: no effect for a while says nothing here, an empty list does.
        while any(key.startswith("/activecontext/") for key in await running.keys()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await running.quiet()


async def _state(running: bench.Bench) -> Any:
    """The last action's context and what is on the edge, ids masked; and that nothing is active."""
    actions = (await running.call("orchestrator", "GET", GROUP + "/status")).json["states"]["actions"]
    keys = await running.keys()
    active = [key for key in keys if key.startswith("/activecontext/")]
    context = actions[-1]["instance"]
    own = Counter(
        (key.removeprefix(f"/context/{context}/"), re.sub(r"\d{12,}", "<id>", json.dumps(value)))
        for key, value in keys.items()
        if key.startswith(f"/context/{context}/")
    )
    objects = sorted(
        f"{item['kind']} {re.sub(r'[0-9]{12,}', '<id>', item['metadata']['name'])}" for item in running.edge.objects()
    )
    return [action["state"] for action in actions][-1], own, objects, active
