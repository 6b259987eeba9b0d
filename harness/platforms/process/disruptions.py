"""Disruptions on OS processes: implements harness.platforms.disruptions.Disruptable over a ProcessLab."""

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import aiohttp

from harness.emco.services import DATA_KEY, SERVICES
from harness.faults.victim import Death, HarnessTrouble
from harness.platforms.disruptions import Partition, Volume
from harness.platforms.edges.edge import let_all_run
from harness.platforms.flapping import Flapping
from harness.platforms.process.lab import ProcessLab
from harness.platforms.process.programs import reachable
from harness.platforms.process.volumes import Volumes
from harness.platforms.supervisor import Supervised
from harness.wire.conditions import Cut, Healthy
from harness.wire.links import Link, RelayError
from harness.wire.ping import ping
from harness.wire.syns import Syns


class ProcessDisruptions:
    """What can be done to the EMCO of one lab. All methods are called in the lab's event loop."""

    def __init__(self, lab: ProcessLab) -> None:
        self._lab = lab
        self._syns = Syns(lambda source, target, _, ago: lab.relay.knocked(source, target, ago=ago))
        self._flapping = Flapping(lab.relay)
        self._paused: set[str] = set()
        self._volumes = Volumes()

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(self._lab.services)

    @property
    def stores(self) -> tuple[str, ...]:
        return ("mongo", "etcd")

    @property
    def edges(self) -> tuple[str, ...]:
        return tuple(str(name) for name in self._lab.edges)

    @property
    def data_key(self) -> str:
        return next((one.spec.env.get(DATA_KEY, "") for one in self._lab.services.values()), "")

    def set_data_key(self, key: str) -> None:
        for service in self._lab.services.values():
            without = {name: value for name, value in service.spec.env.items() if name != DATA_KEY}
            service.spec = replace(service.spec, env=without | ({DATA_KEY: key} if key else {}))

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
        """Ask a service for something that it has to look up in mongo; one without an API to answer a ping at its gRPC
        port, at the service itself, so that no relay sees it."""
        path = SERVICES[name].alive if name in SERVICES else ""
        if not path:
            info = SERVICES.get(name)
            if info is not None and info.grpc_port is not None:
                await ping(*self._lab.at_work.grpc(name))
            else:
                await reachable(self._lab.http(name))
            return ""
        host, port = self._lab.http(name)
        try:
            async with aiohttp.request("GET", f"http://{host}:{port}{path}") as answer:
                return "" if answer.status < 400 else f"{name} answers GET {path} with {answer.status}"
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

    async def begin_overlap(self, service: str) -> str:
        if service in self.stores:
            raise HarnessTrouble(f"{service} is a store: a second instance of it would be another store")
        return await self._lab.at_work.begin_overlap(service)

    async def end_overlap(self, service: str) -> Death:
        return await self._lab.at_work.end_overlap(service)

    async def shrink(self, store: str, megabytes: int) -> None:
        await self._volumes.shrink(self._process(store), megabytes)

    async def fill(self, store: str) -> int:
        return self._volumes.fill(store)

    async def free(self, store: str) -> int:
        return self._volumes.free(store)

    async def make_whole(self, name: str = "*", *, services: bool = True) -> tuple[str, ...]:
        told = []
        for service in self._lab.at_work.overlapping:
            if not fnmatchcase(service, name):
                continue
            await self.end_overlap(service)
            told.append(f"the older {service} is ended")
        for paused in sorted(one for one in self._paused if fnmatchcase(one, name)):
            if self._process(paused).pid is not None:
                self._process(paused).resume()
                told.append(f"{paused} runs again")
            self._paused.discard(paused)
        if links := await self._heal("*", name):
            told.append(f"{links} links are healthy again")
        told += await let_all_run(self._lab.edges.values(), name)
        for small in self._volumes.small if name == "*" else ():
            await self._volumes.enlarge(self._process(small))
            told.append(f"{small} has a large volume again")
        wanted = [one for one in await self.down() if services or one in self.stores]
        if down := [one for one in wanted if fnmatchcase(one, name)]:
            await (self.bring_up(services=services) if name == "*" else self.start(name))
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
                self._flapping.begin(link, how.seconds)
        return len(links)

    async def cut(self, source: str, target: str, sent: bytes, *, times: int = 1, then: Partition | None = None) -> int:
        links = self._links(source, target)
        if broken := [link for link in links if self._is_broken(link)]:
            raise HarnessTrouble(f"the link {broken[0].describe()} is broken already; heal it first")
        if then is not None and then.kind in ("refused", "flapping"):
            raise HarnessTrouble(f"what a cut link is afterwards cannot be {then.kind}: nobody could count its tries")
        for link in links:
            self._lab.relay.set_condition(link, Cut(sent, times, then.condition() if then else Healthy()))
        return len(links)

    async def heal(self, source: str, target: str) -> int:
        self._links(source, target)  # a pattern that fits nothing is a mistake
        return await self._heal(source, target)

    async def _heal(self, source: str, target: str) -> int:
        links = [one for one in self._lab.relay.links() if _fits(one, source, target)]
        broken = [link for link in links if self._is_broken(link)]
        for link in broken:
            await self._flapping.end(link)
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
        await self._flapping.close()
        self._syns.close()
        self._volumes.close()

    async def leave(self) -> None:
        await self._lab.kill_services()

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
        found = tuple(one for one in links if _fits(one, source, target))
        if not found:
            known = ", ".join(sorted({link.describe() for link in links}))
            raise HarnessTrouble(f"no link goes from {source!r} to {target!r}; there are {known}")
        return found

    def _is_broken(self, link: Link) -> bool:
        return link in self._flapping or not isinstance(self._lab.relay.condition(link), Healthy)

    def _watch(self, links: tuple[Link, ...]) -> None:
        try:
            self._syns.watch({self._lab.relay.address(link): (link.source, link.target) for link in links})
        except RelayError as error:
            raise HarnessTrouble(str(error)) from error


def _fits(link: Link, source: str, target: str) -> bool:
    return fnmatchcase(link.source, source) and fnmatchcase(link.target, target)


def _remove(folder: Path) -> int:
    files = sum(1 for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(folder)
    return files
