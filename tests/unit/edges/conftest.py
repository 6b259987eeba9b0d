"""An edge of one's own for each test, and the official Python client in a thread beside its event loop."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import pytest
import yaml
from kubernetes import client, config

from harness.platforms.edge_emulator import EdgeEmulator

T = TypeVar("T")
Json = dict[str, Any]


class RunningEdge:
    """An emulator in an event loop of another thread, for clients that block."""

    def __init__(self, loop: asyncio.AbstractEventLoop, emulator: EdgeEmulator) -> None:
        self._loop = loop
        self.emulator = emulator

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def call(self, function: Callable[[], T]) -> T:
        async def in_loop() -> T:
            return function()

        return self.run(in_loop())

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.emulator.address)

    def api_client(self) -> client.ApiClient:
        settings = yaml.safe_load(self.emulator.kubeconfig(self.url))
        made: client.ApiClient = config.new_client_from_config_dict(settings)  # type: ignore[no-untyped-call]
        return made


@pytest.fixture
def edge() -> Iterator[RunningEdge]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    running = RunningEdge(loop, EdgeEmulator("edge01"))
    try:
        running.run(running.emulator.start("127.0.0.1", 0))
        yield running
        running.run(running.emulator.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture
def api(edge: RunningEdge) -> Iterator[client.ApiClient]:
    with edge.api_client() as made:
        yield made


class Raw:
    """Requests as they come, for what the official client hides."""

    def __init__(self, emulator: EdgeEmulator, session: aiohttp.ClientSession) -> None:
        self.emulator = emulator
        self.session = session

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Json]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = {"data": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        async with self.session.request(method, self.url(path), headers=named, **data) as answer:
            return answer.status, await answer.json()

    def url(self, path: str) -> str:
        return "http://{}:{}{}".format(*self.emulator.address, path)


@asynccontextmanager
async def raw_edge(**settings: Any) -> AsyncIterator[Raw]:
    emulator = EdgeEmulator("edge01", **settings)
    await emulator.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session:
            yield Raw(emulator, session)
    finally:
        await emulator.stop()
