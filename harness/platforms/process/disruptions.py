"""Disruptions on OS processes: implements harness.platforms.disruptions.Disruptable over a ProcessLab."""

import asyncio
import shutil
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import aiohttp

from harness.emco.services import SERVICES
from harness.faults.victim import Death, HarnessTrouble
from harness.platforms.disruptions import Partition, Volume
from harness.platforms.process.lab import ProcessLab
from harness.platforms.process.programs import reachable
from harness.platforms.process.syns import Syns
from harness.platforms.supervisor import Supervised
from harness.wire.conditions import Healthy, Refuse
from harness.wire.links import Link


class ProcessDisruptions:
    """What can be done to the EMCO of one lab. All methods are called in the lab's event loop."""

    def __init__(self, lab: ProcessLab) -> None:
        self._lab = lab
        self._syns = Syns(lab.relay.knocked)
        self._flapping: dict[Link, asyncio.Task[None]] = {}
        self._paused: set[str] = set()

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(self._lab.services)

    @property
    def stores(self) -> tuple[str, ...]:
        return ("mongo", "etcd")

    @property
    def edges(self) -> tuple[str, ...]:
        return tuple(str(name) for name in self._lab.edges)

    async def crash(self, name: str, *, volume: Volume = "kept") -> Death:
        if name in self._lab.services and volume == "lost":
            raise HarnessTrouble(f"{name} has no volume to lose; mongo and etcd have")
        death = await self._process(name).crash()
        if volume == "lost":
            _remove(self._data(name))
        return death

    async def start(self, name: str) -> None:
        if name in self._lab.services:
            await self._lab.victim(name).start()
            return
        await self._process(name).start()
        await self._claim(name)

    async def silent(self, name: str, *, limit: float) -> str:
        if self._process(name).pid is None:
            return f"{name} does not run"
        try:
            async with asyncio.timeout(limit):
                return await self._asked(name)
        except TimeoutError:
            return f"{name} does not answer within {limit:g} s"
        except OSError as error:
            return f"{name} cannot be reached: {error.strerror or error}"

    async def _asked(self, name: str) -> str:
        """Ask a service for something that it has to look up in its store; one without an API for its gRPC port."""
        path = SERVICES[name].alive if name in SERVICES else ""
        if not path:
            info = SERVICES.get(name)
            has_grpc = info is not None and info.grpc_port is not None
            await reachable(self._lab.layout.grpc(name) if has_grpc else self._lab.layout.http(name))
            return ""
        host, port = self._lab.layout.http(name)
        try:
            async with aiohttp.request("GET", f"http://{host}:{port}{path}") as answer:
                return "" if answer.status < 500 else f"{name} answers GET {path} with {answer.status}"
        except aiohttp.ClientError as error:
            return f"{name} does not answer GET {path}: {error}"

    async def down(self) -> tuple[str, ...]:
        known = {**self._lab.stores, **self._lab.services}
        return tuple(name for name, process in known.items() if process.pid is None)

    async def pause(self, name: str) -> None:
        self._process(name).pause()
        self._paused.add(name)

    async def resume(self, name: str) -> None:
        self._process(name).resume()
        self._paused.discard(name)

    async def make_whole(self) -> tuple[str, ...]:
        told = [f"{name} runs again" for name in sorted(self._paused) if self._process(name).pid is not None]
        for name in tuple(self._paused):
            if self._process(name).pid is not None:
                self._process(name).resume()
        self._paused.clear()
        if links := await self.heal("*", "*"):
            told.append(f"{links} links are healthy again")
        if down := await self.down():
            await self.bring_up()
            told.append(f"started: {', '.join(down)}")
        return tuple(told)

    async def partition(self, source: str, target: str, how: Partition) -> int:
        links = self._links(source, target)
        if broken := [link for link in links if self._is_broken(link)]:
            raise HarnessTrouble(f"the link {broken[0].describe()} is broken already; heal it first")
        if how.kind in ("refused", "flapping"):
            self._watch(links)
        if how.kind == "black-hole":
            for link in links:
                self._lab.relay.set_condition(link, how.condition())
            self._watch(links)  # after the relay itself has connected, which is what makes it a black hole
            return len(links)
        for link in links:
            self._lab.relay.set_condition(link, how.condition())
            if how.kind == "flapping":
                self._flapping[link] = asyncio.create_task(self._flap(link, how.seconds))
        return len(links)

    async def heal(self, source: str, target: str) -> int:
        broken = [link for link in self._links(source, target) if self._is_broken(link)]
        for link in broken:
            if (task := self._flapping.pop(link, None)) is not None:
                await _cancelled(task)
            self._lab.relay.heal(link)
        self._syns.forget(tuple(self._lab.relay.address(link) for link in broken))
        return len(broken)

    async def wipe(self) -> tuple[str, ...]:
        running = sorted(self._lab.running)
        await self._lab.kill_services()
        destroyed = [f"{len(running)} services ({', '.join(running)})"]
        for name in self.stores:
            process = self._process(name)
            if process.pid is not None:
                await process.crash()
            files = _remove(self._data(name))
            destroyed.append(f"{name} with its volume ({files} files)")
        return tuple(destroyed)

    async def bring_up(self, *, services: bool = True) -> None:
        down = [self._process(name) for name in self.stores if self._process(name).pid is None]
        for process in down:
            process.launch()
        await asyncio.gather(*(process.answering() for process in down))
        for process in down:
            await self._claim(process.name)
        if services:
            await self._lab.start_services(empty=not (await self._lab.mongo.snapshot()))

    async def close(self) -> None:
        """End what goes on by itself; the links are closed with the lab."""
        for task in self._flapping.values():
            await _cancelled(task)
        self._syns.close()

    # -- inside -----------------------------------------------------------------------------------------------------

    def _process(self, name: str) -> Supervised:
        known: Mapping[str, Supervised] = {**self._lab.services, **self._lab.stores}
        if name in known:
            return known[name]
        if name in self.stores:
            raise HarnessTrouble(f"{name} is a store of your own: the harness neither started it nor ends it")
        raise HarnessTrouble(f"{name!r} is neither a service nor a store here; there are {', '.join(known)}")

    def _data(self, store: str) -> Path:
        return self._process(store).spec.cwd / "data"

    async def _claim(self, store: str) -> None:
        """Mark a store that came up empty as the harness's again."""
        await (self._lab.mongo.claim() if store == "mongo" else self._lab.etcd.claim())

    def _links(self, source: str, target: str) -> tuple[Link, ...]:
        links = self._lab.relay.links()
        found = tuple(one for one in links if fnmatchcase(one.source, source) and fnmatchcase(one.target, target))
        if not found:
            known = ", ".join(sorted({link.describe() for link in links}))
            raise HarnessTrouble(f"no link goes from {source!r} to {target!r}; there are {known}")
        return found

    def _is_broken(self, link: Link) -> bool:
        return link in self._flapping or not isinstance(self._lab.relay.condition(link), Healthy)

    def _watch(self, links: tuple[Link, ...]) -> None:
        self._syns.watch({self._lab.relay.address(link): (link.source, link.target) for link in links})

    async def _flap(self, link: Link, seconds: float) -> None:
        """Refused and healthy in turn, each for `seconds`, until it is healed."""
        while True:
            await asyncio.sleep(seconds)  # the period of the fault itself
            self._lab.relay.heal(link)
            await asyncio.sleep(seconds)
            self._lab.relay.set_condition(link, Refuse())


def _remove(folder: Path) -> int:
    files = sum(1 for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(folder)
    return files


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait({task})
