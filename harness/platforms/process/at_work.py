"""Which process of each service is at work, and where it listens.

Mostly there is one. During an overlap there are two, as where a pod is replaced: the older one goes on with what it has
in hand and with the connections it has; whoever connects from now on is led to the newer one.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from harness.emco.services import DATA_KEY
from harness.faults.victim import Death, HarnessTrouble
from harness.platforms.process.layout import Address, Layout, SocketOwners
from harness.platforms.supervisor import Supervised


@dataclass(frozen=True, slots=True)
class Placed:
    """A service's process. layout: its ports are those of this one."""

    process: Supervised
    layout: Layout


class AtWork:
    """The services of one environment.

    first:  every service's process at its usual ports
    beside: makes a process of a service at other ports, whose connections take the same links
    owners: is told which processes each service has
    """

    def __init__(self, first: Mapping[str, Placed], *, beside: Callable[[str], Placed], owners: SocketOwners) -> None:
        self._first = first
        self._now = dict(first)
        self._older: dict[str, Placed] = {}
        self._beside = beside
        self._owners = owners

    @property
    def processes(self) -> Mapping[str, Supervised]:
        """By service: the process at work, in an overlap the newer one."""
        return {name: one.process for name, one in self._now.items()}

    @property
    def overlapping(self) -> tuple[str, ...]:
        """Services of which two are at work."""
        return tuple(name for name, one in self._older.items() if one.process.pid is not None)

    def http(self, service: str) -> Address:
        """Where a service has its API."""
        return self._layout(service).http(service)

    def grpc(self, service: str) -> Address:
        """Where a service has its gRPC server."""
        return self._layout(service).grpc(service)

    def _layout(self, service: str) -> Layout:
        if service not in self._now:
            raise HarnessTrouble(f"{service} is not among the services of this environment: {', '.join(self._now)}")
        return self._now[service].layout

    def tell_owners(self) -> None:
        """Whoever tells from which service a connection comes is told of the processes that there are now."""
        there = {name: [one.process] for name, one in self._now.items()}
        for name, older in self._older.items():
            there[name].append(older.process)
        self._owners.pids = {
            name: tuple(process.pid for process in processes if process.pid is not None)
            for name, processes in there.items()
        }

    async def begin_overlap(self, service: str) -> str:
        """Start another instance of a service beside the one at work; which two there are, in words.

        Raises HarnessTrouble where none is at work, or two are; ServiceDown when the newer one does not come up.
        """
        self._layout(service)
        older = self._now.get(service)
        if older is None or older.process.pid is None:
            raise HarnessTrouble(f"{service} does not run: there is nothing that another one could run beside")
        if service in self.overlapping:
            raise HarnessTrouble(f"two instances of {service} are at work already")
        newer = self._beside(service) if older is self._first[service] else self._first[service]
        _share_key(older.process, newer.process)
        newer.process.launch()
        self._older[service], self._now[service] = older, newer
        self.tell_owners()
        try:
            await newer.process.answering()
        except BaseException:
            await newer.process.stop()
            self._now[service] = self._older.pop(service)
            raise
        return f"two instances of {service} are at work, pids {older.process.pid} and {newer.process.pid}"

    async def end_overlap(self, service: str) -> Death:
        """SIGKILL the older of two instances. Raises HarnessTrouble where there is one only, or where it has ended."""
        if service not in self._older:
            raise HarnessTrouble(f"there is no older instance of {service} to be killed")
        return await self._older.pop(service).process.crash()

    async def stop(self) -> None:
        """End all; the next ones are at their usual ports again, with the data key that is set now."""
        await asyncio.gather(*(one.process.stop() for one in (*self._now.values(), *self._older.values())))
        for name, first in self._first.items():
            _share_key(self._now[name].process, first.process)
        self._now, self._older = dict(self._first), {}


def _share_key(one: Supervised, other: Supervised) -> None:
    """Give the other the data key that one has, or none."""
    without = {name: value for name, value in other.spec.env.items() if name != DATA_KEY}
    key = {name: value for name, value in one.spec.env.items() if name == DATA_KEY}
    other.spec = replace(other.spec, env=without | key)
