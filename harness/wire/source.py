"""One source of traffic, such as a service: its connections, its trigger, whether it is frozen.

All its connections freeze in the callback that decoded the effect, so that no other byte slips through.
"""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from harness.wire.bell import Bell
from harness.wire.connection import Connection
from harness.wire.effects import Effect, Observation
from harness.wire.triggers import Armed, Hit

if TYPE_CHECKING:
    from harness.wire.relay import Relay


class Source:
    """Everything about one source: its connections, its trigger, whether it is frozen (`owner.Owner`)."""

    def __init__(self, name: str, relay: "Relay") -> None:
        self.name = name
        self.relay = relay
        self.connections: set[Connection] = set()
        self.armed: Armed | None = None
        self.frozen = False
        self.reads = False  # watched
        self.at_freeze: tuple[Connection, ...] = ()
        self.holder: Connection | None = None  # of the held effect
        self.last_effect_at = relay.clock()
        self.bell = Bell()

    # -- Owner

    def requested(self, connection: Connection, effect: Effect) -> tuple[int, Literal["", "before", "after"]]:
        relay = self.relay
        now = self.last_effect_at = relay.clock()
        seq = len(relay.history)
        side = self._wanted(effect)
        target = relay.target_of(connection)
        relay.history.append(Observation(seq, self.name, target, effect, now, None, side != "before"))
        relay.bell.ring()
        return seq, side

    def _wanted(self, effect: Effect) -> Literal["", "before", "after"]:
        armed = self.armed
        if armed is None:
            return ""
        try:
            return armed.trigger.side if armed.wants(effect) else ""
        except Exception as error:  # noqa: BLE001  it is the caller's function: it gets its error back
            self.armed = None
            asyncio.get_running_loop().call_soon(self.settle)  # not now: a decoder is at work
            if not armed.hit.done():
                armed.hit.set_exception(error)
            return ""

    def read(self, connection: Connection, effect: Effect) -> int | None:
        relay = self.relay
        target = relay.target_of(connection)
        relay.reads.append(Observation(len(relay.history), self.name, target, effect, relay.clock()))
        if not self._wanted(effect):
            return None
        return self.requested_read(target, effect)

    def requested_read(self, target: str, effect: Effect) -> int:
        """A read that is held is told of in the history, like an effect."""
        seq = len(self.relay.history)
        self.relay.history.append(Observation(seq, self.name, target, effect, self.relay.clock()))
        self.relay.bell.ring()
        return seq

    def answered(self, seq: int, *, ok: bool | None) -> None:
        now = self.last_effect_at = self.relay.clock()
        self.relay.history[seq] = replace(self.relay.history[seq], answered=now, ok=ok)

    def forwarded(self, seq: int, *, was: bool) -> None:
        self.relay.history[seq] = replace(self.relay.history[seq], forwarded=was)

    def hit(self, connection: Connection, seq: int) -> None:
        armed, self.armed = self.armed, None
        self.holder = connection
        self.freeze()
        if armed is not None and not armed.hit.done():
            armed.hit.set_result(Hit(self.relay.history[seq].effect, seq, self.relay.clock()))

    def is_armed(self) -> bool:
        return self.armed is not None

    def idle(self) -> None:
        if self.relay.bell:
            self.relay.bell.ring()

    def given_up(self) -> None:
        self.bell.ring()
        self.relay.bell.ring()

    def knocked(self, connection: Connection, data: memoryview) -> None:
        self.relay.asked(self.name, connection, data)

    def cut(self, connection: Connection) -> None:
        self.relay.cut(connection)

    def closed(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self.relay.forget(connection)
        self.bell.ring()
        self.relay.bell.ring()

    def problem(self, text: str) -> None:
        self.relay.problems.append(text)

    # -- for the relay

    def settle(self) -> None:
        for connection in tuple(self.connections):
            connection.settle()

    def disarm(self, armed: Armed) -> None:
        if self.armed is armed:
            self.armed = None
            self.settle()

    def freeze(self) -> None:
        if self.frozen:
            return
        self.frozen = True
        self.at_freeze = tuple(self.connections)
        for connection in self.at_freeze:
            connection.freeze()

    def thaw(self, *, drop_held: bool) -> None:
        self.frozen = False
        self.holder = None
        for connection in tuple(self.connections):
            connection.thaw(drop_held=drop_held)

    def drop(self) -> None:
        self.frozen = False
        self.holder = None
        for connection in tuple(self.connections):
            connection.discard()

    def ended(self) -> tuple[int, int]:
        # One that the relay closed itself (its target cannot be reached) says nothing of the source.
        known = [one for one in self.at_freeze if one.client_ended or not one.is_closed()]
        return len(known), sum(one.client_ended for one in known)
