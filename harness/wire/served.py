"""A relay in a process of its own, controlled over a connection: the side that relays.

It runs where nothing but Python is installed (a pod with a stock image), so it imports the decoders and the standard
library, no more. Whoever controls it says the token first; both listening sockets of the control are on loopback.

Control connection, a JSON object a line. Orders carry `do`; those that are answered carry `id`, the answer `re` with
`value` or `error`. Events carry `event`. Questions whether an effect is the one that a trigger waits for go over a
second connection, and the relay stands still until they are answered: only so can an effect be held in the very
callback that decoded it.
"""

import asyncio
import contextlib
import hmac
import os
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, SupportsIndex, TypeVar, overload

from harness.wire.effects import Effect, Observation
from harness.wire.instances import UNKNOWN, Instances
from harness.wire.knocks import Knock
from harness.wire.links import Address, Link, RelayError, Tls
from harness.wire.messages import (
    LONGEST_LINE,
    MalformedMessage,
    condition_from_json,
    effect_to_json,
    observation_to_json,
    read,
    write,
)
from harness.wire.ping import ping
from harness.wire.relay import Relay
from harness.wire.served_config import Json, LinkSpec, ServedConfig
from harness.wire.syns import Syns
from harness.wire.triggers import Armed, Trigger

T = TypeVar("T")
_ASK_LIMIT = 10.0
_TOKEN_LIMIT = 10.0
_PROBE_PAUSE = 0.005
_PROBE_LIMIT = 1.0


class _Announced(list[T], Generic[T]):
    """A list that tells of what is appended to it or replaced in it, and where: the relay writes what it sees there."""

    def __init__(self, announce: Callable[[int, T], None]) -> None:
        super().__init__()
        self._announce = announce

    def append(self, item: T) -> None:
        super().append(item)
        self._announce(len(self) - 1, item)

    @overload
    def __setitem__(self, place: SupportsIndex, item: T) -> None: ...
    @overload
    def __setitem__(self, place: slice, item: Any) -> None: ...
    def __setitem__(self, place: Any, item: Any) -> None:
        super().__setitem__(place, item)
        self._announce(place, item)


@dataclass(slots=True)
class _Master:
    """Who controls the relay."""

    writer: asyncio.StreamWriter
    armed: dict[int, Armed] = field(default_factory=dict)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)


class ServedRelay:
    """Relays as configured, and does what its master says. One master at a time: a new one replaces the old."""

    def __init__(self, config: ServedConfig, token: str) -> None:
        self._config = config
        self._token = token.encode()
        self._relay = Relay()
        self._relay.history = _Announced(self._observed)
        self._relay.knocks = _Announced(self._knocked)
        self._relay.problems = _Announced(lambda _, text: self._say({"event": "problem", "text": text}))
        self._relay.cuts = _Announced(self._cut)
        self._relay.reads = _Announced(lambda _, one: self._say({"event": "read", "one": observation_to_json(one)}))
        self._syns = Syns(self._tried)
        self._doors = Relay()
        self._instances = Instances(config.sources, clock=self._relay.clock, changed=self._let_in)
        self._links: list[Link] = []
        self._orders = self._what_is_obeyed()
        self._master: _Master | None = None
        self._asks: socket.socket | None = None
        self._servers: list[asyncio.Server] = []
        self.control: Address = config.control
        self.asks: Address = config.asks

    async def start(self) -> None:
        """Listen. Raises RelayError or OSError when an address cannot be had."""
        for spec in self._config.links:
            link = self._link(spec)
            await self._relay.open(link)
            self._links.append(link)
        for spec in self._config.doors:
            await self._doors.open(self._link(spec.as_door()))
        control = await asyncio.start_server(self._controlled, *self._config.control, limit=LONGEST_LINE)
        asks = await asyncio.start_server(self._asked, *self._config.asks, limit=LONGEST_LINE)
        health = await asyncio.start_server(_well, *self._config.health)
        self._servers = [control, asks, health]
        self.control, self.asks = (one.sockets[0].getsockname()[:2] for one in (control, asks))

    async def close(self) -> None:
        """Close everything."""
        self._part_with_master()
        for server in self._servers:
            server.close()
        if self._asks is not None:
            self._asks.close()
        self._instances.close()
        self._syns.close()
        await self._relay.close()
        await self._doors.close()

    def address(self, source: str, target: str) -> Address:
        """Where a link or a door listens."""
        for relay in (self._relay, self._doors):
            for link in relay.links():
                if (link.source, link.target) == (source, target):
                    return relay.address(link)
        raise RelayError(f"there is no link {source} -> {target}")

    def _link(self, spec: LinkSpec) -> Link:
        gated, several = spec.gated and spec.source in self._config.sources, not spec.gated and spec.protocol != "tcp"
        return Link(
            spec.source,
            spec.target,
            spec.protocol,
            spec.listen,
            spec.upstream,
            streams=frozenset(spec.streams),
            identify=self._instances.source_at if several else None,
            gate=self._instances.gate(spec.source) if gated else self._instances.common_gate if several else None,
            locate=partial(self._locate, spec.upstream) if spec.instance else None,
            tls=_tls(spec.tls) if spec.tls else None,
            reach=spec.reach,
        )

    def _locate(self, upstream: Address) -> Address:
        source, port = upstream
        host = self._instances.address(source)
        if not host:
            raise ConnectionRefusedError(f"no instance of {source} was let in")
        return host, port

    # -- the master -------------------------------------------------------------------------------------------------

    def _say(self, message: Json) -> None:
        if self._master is not None:
            self._master.writer.write(write(message))

    def _observed(self, _: int, one: Observation) -> None:
        self._say({"event": "observed", "one": observation_to_json(one)})

    def _knocked(self, number: int, one: Knock) -> None:
        self._say({"event": "knocked", "number": number, "one": [one.at, one.source, one.target, one.kind, one.asked]})

    def _tried(self, source: str, target: str, host: str, ago: float) -> None:
        """A connection was asked for where nobody listens; instances that wait to be let in do not count."""
        known = self._instances.source_at((host, 0))
        if source in (known, UNKNOWN) or source not in self._config.sources:
            self._relay.knocked(known if source == UNKNOWN else source, target, ago=ago)

    def _cut(self, _: int, one: tuple[float, Link]) -> None:
        self._say({"event": "cut", "at": one[0], "link": self._links.index(one[1])})

    def _let_in(self, source: str) -> None:
        self._say({"event": "let in", "source": source, "address": self._instances.address(source)})

    async def _authentic(self, reader: asyncio.StreamReader) -> bool:
        try:
            async with asyncio.timeout(_TOKEN_LIMIT):
                line = await reader.readline()
        except (TimeoutError, ValueError, OSError):
            return False
        return hmac.compare_digest(line.rstrip(b"\n"), self._token)

    async def _controlled(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await self._authentic(reader):
            writer.close()
            return
        self._part_with_master()
        self._heal()
        master = self._master = _Master(writer)
        instances = {source: self._instances.address(source) for source in self._config.sources}
        hello = {"clock": self._relay.clock(), "seq": self._relay.seq(), "instances": instances}
        self._say({"event": "hello", **hello, "knocks": len(self._relay.knocks)})
        try:
            while line := await reader.readline():
                self._obey(master, read(line))
        except (MalformedMessage, ValueError, OSError) as error:
            self._say({"event": "problem", "text": f"the control connection ended: {error}"})
        finally:
            if self._master is master:
                self._part_with_master()
            writer.close()

    def _part_with_master(self) -> None:
        """Nobody is there to decide any more: what is frozen stays so, triggers are taken back."""
        master, self._master = self._master, None
        if master is not None:
            for armed in master.armed.values():
                armed.disarm()
            for task in master.tasks:
                task.cancel()
            master.writer.close()

    def _heal(self) -> None:
        """A new master finds every link healthy, whatever the one before did not come to undo."""
        self._syns.close()
        for link in self._links:
            self._relay.heal(link)

    async def _asked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Keep the connection for questions. It is used from inside of callbacks, with blocking calls on its socket."""
        if not await self._authentic(reader):
            writer.close()
            return
        transport = writer.transport
        transport.pause_reading()  # type: ignore[attr-defined]  # of streams it is a transport for both directions
        descriptor = os.dup(writer.get_extra_info("socket").fileno())
        transport.abort()
        if self._asks is not None:
            self._asks.close()
        self._asks = socket.socket(fileno=descriptor)
        self._asks.settimeout(_ASK_LIMIT)
        self._asks.sendall(b"ready\n")

    def _is_it(self, number: int, effect: Effect) -> bool:
        """Whether the master says that this is the effect to stop at. Raises RelayError without an answer."""
        if self._asks is None:
            raise RelayError("there is nobody to ask whether an effect is the one to stop at")
        try:
            self._asks.sendall(write({"armed": number, "effect": effect_to_json(effect)}))
            answer = b""
            while not answer.endswith(b"\n"):
                more = self._asks.recv(65536)
                if not more:
                    raise RelayError("the connection for questions has ended")
                answer += more
        except OSError as error:
            raise RelayError(f"no answer whether an effect is the one to stop at: {error}") from error
        said = read(answer)
        if "error" in said:
            raise RelayError(str(said["error"]))
        return bool(said["yes"])

    # -- orders -----------------------------------------------------------------------------------------------------

    def _what_is_obeyed(self) -> Mapping[str, Callable[[_Master, Json], Any]]:
        relay, instances = self._relay, self._instances

        def of_source(act: Callable[[str], Any]) -> Callable[[_Master, Json], Any]:
            return lambda _, order: act(order["source"])

        return {
            "sync": lambda _, __: None,
            "arm": self._arm,
            "disarm": self._disarm,
            "drop": self._drop,
            "condition": self._condition,
            "count": self._count,
            "freeze": of_source(relay.freeze),
            "thaw": of_source(relay.thaw),
            "release": lambda _, order: relay.release(order["source"], drop_held=order["drop_held"]),
            "watch_reads": lambda _, order: relay.watch_reads(order["source"], watched=order["watched"]),
            "reset_held": of_source(relay.reset_held),
            "refuse_held": of_source(relay.refuse_held),
            "want": of_source(instances.want),
            "beside": of_source(instances.beside),
            "retire_older": of_source(instances.retire_older),
            "ban": lambda _, order: instances.ban(order["address"]),
            "answers": lambda _, order: self._answers(order),
            "hung_up": lambda _, order: self._hung_up(order),
            "quiet": lambda _, order: self._quiet(order),
            "ended": lambda _, order: self._ended(order),
            "gave_up": lambda _, order: self._gave_up(order),
        }

    def _obey(self, master: _Master, order: Json) -> None:
        name = str(order.get("do", ""))
        act = self._orders.get(name)
        if act is None:
            raise MalformedMessage(f"there is no order {name!r}")
        with self._answering(order):
            value = act(master, order)
            if isinstance(value, Coroutine):
                task = asyncio.ensure_future(self._answer_later(order, value))
                master.tasks.add(task)
                task.add_done_callback(master.tasks.discard)
            elif "id" in order:
                self._say({"re": order["id"], "value": value})

    async def _answer_later(self, order: Json, work: Coroutine[Any, Any, Any]) -> None:
        with self._answering(order):
            value = await work
            self._say({"re": order["id"], "value": value})

    @contextlib.contextmanager
    def _answering(self, order: Json) -> Iterator[None]:
        """What goes wrong is the answer; where none is expected, it is said on its own."""
        try:
            yield
        except (RelayError, OSError, KeyError, IndexError, MalformedMessage) as error:
            text = str(error) if isinstance(error, RelayError) else f"{order.get('do')}: {error!r}"
            self._say({"re": order["id"], "error": text} if "id" in order else {"event": "trouble", "text": text})

    def _arm(self, master: _Master, order: Json) -> None:
        number = int(order["armed"])
        trigger = Trigger(order["source"], order["side"], partial(self._is_it, number), int(order["occurrence"]))
        armed = master.armed[number] = self._relay.arm(trigger)
        armed.hit.add_done_callback(partial(self._hit, number))

    def _hit(self, number: int, hit: "asyncio.Future[Any]") -> None:
        if self._master is not None:
            self._master.armed.pop(number, None)
        if hit.cancelled():
            return
        if (error := hit.exception()) is not None:
            self._say({"event": "hit", "armed": number, "error": str(error)})
        else:
            self._say({"event": "hit", "armed": number, "seq": hit.result().seq, "at": hit.result().at})

    def _disarm(self, master: _Master, order: Json) -> None:
        armed = master.armed.pop(int(order["armed"]), None)
        if armed is not None:
            armed.disarm()

    def _drop(self, _: _Master, order: Json) -> None:
        """The source's instance is done for: its connections are closed, and it is let in no more."""
        self._relay.drop(order["source"])
        if order["source"] in self._config.sources:
            self._instances.retire(order["source"])

    def _condition(self, _: _Master, order: Json) -> None:
        self._relay.set_condition(self._links[order["link"]], condition_from_json(order["condition"]))

    def _count(self, _: _Master, order: Json) -> None:
        """Whether tries to connect to links are counted that nobody accepts."""
        links = [self._links[number] for number in order["links"]]
        names = {self._relay.address(link): (link.source, link.target) for link in links}
        if order["counted"]:
            self._syns.watch(names)
        else:
            self._syns.forget(tuple(names))

    async def _answers(self, order: Json) -> str:
        """Why a source's instance does not answer on its ports within the limit; empty when it does."""
        source, ports = order["source"], [int(port) for port in order["ports"]]
        asked = [(_reachable, port) for port in ports] + [(ping, int(port)) for port in order["pinged"]]
        deadline = self._relay.clock() + float(order["limit"])
        why = f"no instance of {source} came"
        while self._relay.clock() < deadline:
            host = self._instances.newest(source)
            if host:
                try:
                    for ask, port in asked:
                        async with asyncio.timeout(_PROBE_LIMIT):
                            await ask(host, port)
                except (OSError, TimeoutError) as error:
                    why = f"{source} does not answer on its ports: {str(error) or type(error).__name__}"
                else:
                    return ""
            await asyncio.sleep(_PROBE_PAUSE)  # nothing announces that a port is open; bounded by the limit
        return why

    async def _hung_up(self, order: Json) -> bool:
        """Whether the master has no connection through a door any more, within the limit."""
        (door,) = (link for link in self._doors.links() if link.target == order["target"])
        deadline = self._relay.clock() + float(order["limit"])
        while self._doors.connected(door):
            left = deadline - self._relay.clock()
            if left <= 0:
                return False
            await self._doors.bell.wait(left)
        return True

    async def _quiet(self, order: Json) -> bool:
        return await self._relay.quiet(
            seconds=order["seconds"], limit=order["limit"], ignore=set(order["ignore"]), from_now=order["from_now"]
        )

    async def _gave_up(self, order: Json) -> bool:
        return await self._relay.gave_up(order["source"], limit=order["limit"])

    async def _ended(self, order: Json) -> tuple[int, int]:
        return await self._relay.ended(order["source"], limit=order["limit"])


def _tls(files: str) -> Tls:
    """Raises OSError when a file cannot be read, or is no certificate."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(f"{files}.server.pem")
    client = ssl.create_default_context(cafile=f"{files}.authority.pem")
    client.load_cert_chain(f"{files}.client.pem")
    return Tls(server, client)


async def _well(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _reachable(host: str, port: int) -> None:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    await writer.wait_closed()


def main(arguments: list[str]) -> None:
    """`CONFIG`: a file with the configuration. The token is in the environment variable EMCO_CHAOS_TOKEN."""
    config = ServedConfig.from_json(Path(arguments[0]).read_text(encoding="utf-8"))
    token = os.environ.get("EMCO_CHAOS_TOKEN", "")
    if not token:
        sys.exit("EMCO_CHAOS_TOKEN is not set")
    asyncio.run(_serve(config, token))


async def _serve(config: ServedConfig, token: str) -> None:
    relay = ServedRelay(config, token)
    await relay.start()
    await asyncio.Event().wait()
