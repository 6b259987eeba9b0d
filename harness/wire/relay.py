"""The relay: stands between services and what they talk to, writes down every effect, and stops exactly between two.

It forwards bytes and never alters them. One relay serves any number of links in one event loop; all of its methods must
be called there. Everything that freezes does so in the callback that decoded the effect, so that no other byte slips
through.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from typing import Self

from harness.wire.bell import Bell
from harness.wire.conditions import BlackHole, Condition, Cut, Healthy, Refuse, Reset
from harness.wire.connection import Connection
from harness.wire.decoding import Codec
from harness.wire.effects import Observation
from harness.wire.http1 import HttpCodec, request_line
from harness.wire.http2 import Http2Codec, opens_stream
from harness.wire.knocks import Knock
from harness.wire.links import Address, Arrival, Link, Listener, RelayError, is_open
from harness.wire.mongo import MongoCodec
from harness.wire.peer import Peer, TlsPeer
from harness.wire.source import Source
from harness.wire.triggers import Armed, Trigger

_BUFFER = 256 * 1024
_ACCEPT_AGAIN = 0.2  # seconds


class Relay:
    """Links, their history, and control over their sources. `async with` closes all links at the end."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.history: list[Observation] = []
        self.reads: list[Observation] = []  # of sources whose reads are watched; seq: of the effect that came next
        self.problems: list[str] = []
        self.knocks: list[Knock] = []
        self.cuts: list[tuple[float, Link]] = []  # when a connection of which link was cut (conditions.Cut)
        self.bell = Bell()
        self._listeners: dict[Link, Listener] = {}
        self._sources: dict[str, Source] = {}
        self._at: dict[Connection, Listener] = {}
        self._unasked: dict[
            Connection, int
        ] = {}  # which knock a connection was asked for with, until it asks something
        self._tasks: set[asyncio.Task[None]] = set()
        self._buffer = memoryview(bytearray(_BUFFER))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- links ------------------------------------------------------------------------------------------------------

    async def open(self, link: Link) -> None:
        """Listen. Raises RelayError if the address cannot be had or the link is open already."""
        if link in self._listeners:
            raise RelayError(f"the link {link.describe()} is open already")
        listener = Listener(link)
        self._listen(listener)
        self._listeners[link] = listener

    async def close(self, link: Link | None = None) -> None:
        """Stop listening and close all connections of the link, or of all links."""
        for listener in [self._listener(link)] if link is not None else list(self._listeners.values()):
            self._stop_listening(listener)
            for connection in tuple(listener.connections):
                connection.close()
            del self._listeners[listener.link]
        tasks = tuple(self._tasks) if link is None else ()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def address(self, link: Link) -> Address:
        """Where the link listens, with the port that was found."""
        return self._listener(link).address

    def connected(self, link: Link) -> int:
        """How many connections of a link there are that their source has not ended."""
        return sum(not one.client_ended for one in self._listener(link).connections)

    def set_condition(self, link: Link, condition: Condition) -> None:
        """Break or heal a link; `Healthy()` heals. Raises RelayError if it cannot listen again."""
        listener = self._listener(link)
        listener.condition = condition
        deaf = isinstance(condition, BlackHole) and not condition.connects
        if isinstance(condition, Refuse) or deaf or listener.hears_nobody():
            self._stop_listening(listener)
        if deaf:
            listener.listen_to_nobody()
        elif listener.sock is None and not isinstance(condition, Refuse):
            self._listen(listener)
        for connection in tuple(listener.connections):
            if isinstance(condition, Refuse | Reset):
                connection.close(reset=True)
            else:
                connection.set_condition(condition)
                if not connection.frozen:
                    connection.connect()  # one that waited for its first request, to be reset

    def heal(self, link: Link) -> None:
        """The link is healthy again."""
        self.set_condition(link, Healthy())

    def links(self) -> tuple[Link, ...]:
        """All links that are open."""
        return tuple(self._listeners)

    def condition(self, link: Link) -> Condition:
        """What is wrong with a link."""
        return self._listener(link).condition

    # -- history ----------------------------------------------------------------------------------------------------

    def knocked(self, source: str, target: str, *, ago: float = 0.0) -> None:
        """Note that a connection was asked for; also for who sees it where the relay cannot, as nobody listens.

        ago: seconds since then
        """
        self.knocks.append(Knock(self.clock() - ago, source, target, "connect"))
        self.bell.ring()

    def asked(self, source: str, connection: Connection, data: memoryview) -> None:
        """Note what a source sent into a broken link: with its connection's knock, or as one more."""
        listener = self._at[connection]
        first = request_line(data) if listener.link.protocol == "http" else ""
        number = self._unasked.pop(connection, None)
        if number is not None:
            self.knocks[number] = replace(self.knocks[number], asked=first)
        elif first or listener.link.protocol != "http" or opens_stream(bytes(data)):  # else the rest of one
            self.knocks.append(Knock(self.clock(), source, listener.link.target, "send", first))
        self.bell.ring()

    def seq(self) -> int:
        """Number that the next effect will get."""
        return len(self.history)

    def since(self, seq: int) -> tuple[Observation, ...]:
        """Observations from this number on."""
        return tuple(self.history[seq:])

    def under_way(self, source: str | None = None) -> int:
        """Requests, reads too, that have no reply yet; streams do not count."""
        return sum(
            connection.under_way()
            for name, known in self._sources.items()
            if source is None or name == source
            for connection in known.connections
        )

    def last_effect_at(self) -> float:
        """When the last effect was requested or answered, seconds of the clock; the relay's first link before that."""
        return max((source.last_effect_at for source in self._sources.values()), default=self.clock())

    async def quiet(
        self, *, seconds: float, limit: float, ignore: AbstractSet[str] = frozenset(), from_now: bool = False
    ) -> bool:
        """Wait until there was no effect for `seconds` and nothing is under way; False if it takes longer than `limit`.

        ignore: sources that do not matter;  from_now: the seconds count from now, whatever was before
        """
        earliest = self.clock() + seconds if from_now else 0.0
        deadline = self.clock() + limit
        while True:
            now = self.clock()
            watched = [source for name, source in self._sources.items() if name not in ignore]
            busy = any(connection.under_way() for source in watched for connection in source.connections)
            due = max(max((source.last_effect_at for source in watched), default=now - seconds) + seconds, earliest)
            if not busy and now >= due:
                return True
            if now >= deadline:
                return False
            await self.bell.wait((deadline if busy else min(due, deadline)) - now)

    async def moved(self, seq: int, *, limit: float) -> bool:
        """Wait for an effect with this number or a later one; False if there is none within `limit` seconds."""
        deadline = self.clock() + limit
        while len(self.history) <= seq:
            now = self.clock()
            if now >= deadline:
                return False
            await self.bell.wait(deadline - now)
        return True

    # -- control ----------------------------------------------------------------------------------------------------

    def arm(self, trigger: Trigger) -> Armed:
        """Stop the source at the trigger. Raises RelayError if one is armed for it, or it is frozen."""
        source = self._source(trigger.source)
        if source.armed is not None:
            raise RelayError(f"a trigger is armed for {trigger.source} already")
        if source.frozen:
            raise RelayError(f"{trigger.source} is frozen: drop or release it before arming")
        if trigger.occurrence < 1:
            raise RelayError(f"a trigger's occurrence counts from 1, not {trigger.occurrence}")
        source.armed = Armed(trigger, asyncio.get_running_loop().create_future(), source.disarm)
        source.settle()
        return source.armed

    def freeze(self, source: str) -> None:
        """Forward nothing from or to the source any more; new connections are accepted and held."""
        self._source(source).freeze()

    def thaw(self, source: str) -> None:
        """Go on; everything that was held is forwarded."""
        self._source(source).thaw(drop_held=False)

    def release(self, source: str, *, drop_held: bool) -> None:
        """Go on. drop_held: the held request is not forwarded if the service gave it up meanwhile."""
        self._source(source).thaw(drop_held=drop_held)

    def watch_reads(self, source: str, *, watched: bool) -> None:
        """Whether triggers for the source see its reads of stores, too, and `reads` has them. Only `before` works."""
        known = self._source(source)
        known.reads = watched
        for connection in known.connections:
            connection.watch_reads(watched=watched)

    def reset_held(self, source: str) -> None:
        """Reset the connection of what is held, which never arrives, and go on. Raises RelayError if nothing is."""
        self._holder(source).discard(reset=True)
        self._source(source).thaw(drop_held=False)

    async def refuse_held(self, source: str) -> bool:
        """Answer what is held with an error as its store makes them, and go on; False: it is held still.

        Only a request (`before`) to mongo or etcd can be refused. Raises RelayError if nothing is held.
        """
        if not self._holder(source).refuse():
            return False
        self._source(source).thaw(drop_held=False)
        return True

    def drop(self, source: str) -> None:
        """Close both sides of all the source's connections, discard what is held, let new connections through."""
        self._source(source).drop()

    async def synced(self) -> None:
        """Whatever was ordered is in effect and whatever was seen is known: always so where the relay is at hand."""

    async def ended(self, source: str, *, limit: float) -> tuple[int, int]:
        """Connections that the source had when it was frozen, and how many of them it has ended; waits for all."""
        known = self._source(source)
        deadline = self.clock() + limit
        while True:
            total, gone = known.ended()
            now = self.clock()
            if gone == total or now >= deadline:
                return total, gone
            await known.bell.wait(deadline - now)

    async def gave_up(self, source: str, limit: float) -> bool:
        """Whether the frozen source gives up the connection or stream of the held effect within `limit` seconds."""
        known = self._source(source)
        deadline = self.clock() + limit
        while True:
            if self._holder(source).given_up():
                return True
            now = self.clock()
            if now >= deadline:
                return False
            await known.bell.wait(deadline - now)

    # -- inside -----------------------------------------------------------------------------------------------------

    def target_of(self, connection: Connection) -> str:
        """Name of the connection's target."""
        return self._at[connection].link.target

    def cut(self, connection: Connection) -> None:
        """Reset a connection that is to be cut; its link becomes what it is to be afterwards when it was the last."""
        listener = self._at[connection]
        condition = listener.condition
        assert isinstance(condition, Cut)
        self.cuts.append((self.clock(), listener.link))
        connection.close(reset=True)
        left = condition.times - 1
        self.set_condition(listener.link, replace(condition, times=left) if left else condition.then)
        self.bell.ring()

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        self._unasked.pop(connection, None)
        listener = self._at.pop(connection, None)
        if listener is not None:
            listener.connections.discard(connection)

    def _holder(self, source: str) -> Connection:
        holder = self._source(source).holder
        if holder is None:
            raise RelayError(f"no effect of {source} is held")
        return holder

    def _source(self, name: str) -> Source:
        if name not in self._sources:
            self._sources[name] = Source(name, self)
        return self._sources[name]

    def _listener(self, link: Link) -> Listener:
        if link not in self._listeners:
            raise RelayError(f"the link {link.describe()} is not open")
        return self._listeners[link]

    def _listen(self, listener: Listener) -> None:
        sock = listener.listen()
        asyncio.get_running_loop().add_reader(sock, self._accept, listener)

    def _stop_listening(self, listener: Listener) -> None:
        if listener.sock is not None:
            asyncio.get_running_loop().remove_reader(listener.sock)
        listener.close()

    def _accept(self, listener: Listener) -> None:
        while listener.sock is not None:
            try:
                sock, address = listener.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # Out of descriptors, most likely. Whoever connects waits; trying again at once would only spin.
                self.problems.append(f"link {listener.link.describe()}: cannot accept: {error.strerror}")
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener.sock)
                loop.call_later(_ACCEPT_AGAIN, self._accept_again, listener, listener.sock)
                return
            if listener.link.gate is None:
                self._accepted(listener, sock, address)
            else:
                let_in = partial(self._accepted, listener, sock, address)
                listener.link.gate(Arrival(address, let_in, sock.close, partial(is_open, sock)))

    def _accept_again(self, listener: Listener, sock: socket.socket) -> None:
        if listener.sock is sock:
            asyncio.get_running_loop().add_reader(sock, self._accept, listener)

    def _accepted(self, listener: Listener, sock: socket.socket, address: Address) -> None:
        loop = asyncio.get_running_loop()
        link = listener.link
        peer = Peer(loop, sock, self._buffer)
        name = link.identify(address) if link.identify else link.source
        self.knocked(name, link.target)
        client: Peer | TlsPeer = peer
        if link.tls is not None:
            link.tls.server.set_alpn_protocols(["h2", "http/1.1"] if link.tls.client is not None else ["http/1.1"])
            client = TlsPeer(peer, link.tls.server)
        source = self._source(name)
        connection = Connection(
            owner=source, client=client, codec=lambda sink: _codec(link, sink), name=f"link {link.describe()}"
        )
        self._at[connection] = listener
        if not isinstance(listener.condition, Healthy):
            self._unasked[connection] = len(self.knocks) - 1
        listener.connections.add(connection)
        source.connections.add(connection)
        connection.watch_reads(watched=source.reads)
        connection.set_condition(listener.condition)
        if isinstance(client, TlsPeer):
            client.on_failed = lambda why: connection.unreachable(f"no TLS with the client: {why}" if why else "")
            client.on_ready = lambda protocol: self._may_connect(source, connection, listener, protocol)
            client.start()
        else:
            self._may_connect(source, connection, listener, None)

    def _may_connect(self, source: Source, connection: Connection, listener: Listener, protocol: str | None) -> None:
        connection.connect = lambda: self._connect(connection, listener.link, protocol)
        if source.frozen:
            connection.freeze()
        elif isinstance(listener.condition, Reset):
            connection.client.resume()
        else:
            connection.connect()

    def _connect(self, connection: Connection, link: Link, protocol: str | None) -> None:
        connection.connect = _nothing
        task = asyncio.get_running_loop().create_task(self._reach(connection, link, protocol))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reach(self, connection: Connection, link: Link, protocol: str | None) -> None:
        loop = asyncio.get_running_loop()
        sock: socket.socket | None = None
        try:
            host, port = link.locate() if link.locate is not None else link.upstream
            async with asyncio.timeout(link.reach):
                family, _, _, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]
                sock = socket.socket(family, socket.SOCK_STREAM)
                sock.setblocking(False)
                await loop.sock_connect(sock, address)
        except OSError:  # TimeoutError is one
            if sock is not None:
                sock.close()
            connection.unreachable()
            return
        except asyncio.CancelledError:
            if sock is not None:
                sock.close()
            raise
        if connection.is_closed():
            sock.close()
            return
        peer = Peer(loop, sock, self._buffer)
        if link.tls is None or link.tls.client is None:
            connection.connected(peer)
            return
        link.tls.client.set_alpn_protocols([protocol] if protocol else [])
        upstream = TlsPeer(peer, link.tls.client, server_hostname=host)
        upstream.on_failed = lambda why: connection.unreachable(f"no TLS with {host}:{port}: {why}" if why else "")
        upstream.on_ready = lambda _: connection.connected(upstream)
        upstream.start()


def _nothing() -> None:
    pass


def _codec(link: Link, sink: Connection) -> Codec | None:
    if link.protocol == "mongo":
        return MongoCodec(sink)
    if link.protocol == "http":
        return HttpCodec(sink, target=link.target)
    if link.protocol == "tcp":
        return None
    return Http2Codec(sink, meaning=link.protocol, streams=link.streams)
