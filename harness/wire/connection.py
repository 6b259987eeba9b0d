"""One relayed connection: two ends, a lane for each direction, a decoder."""

import asyncio
from collections.abc import Callable

from harness.wire.conditions import BlackHole, Condition, Healthy, Reset, Slow
from harness.wire.decoding import Codec, DecodeError
from harness.wire.effects import Effect
from harness.wire.lane import Lane
from harness.wire.owner import Owner
from harness.wire.peer import End

# What a frozen or black-holed lane keeps at most. A peer that waits for answers never sends as much.
_HELD_AT_MOST = 64 * 1024 * 1024


class _Held:
    """The request or reply that a trigger holds on this connection."""

    __slots__ = ("between", "droppable", "ident", "partial", "seq", "side", "start")

    def __init__(self, *, ident: int, seq: int, side: str, start: int, droppable: bool) -> None:
        self.ident = ident
        self.seq = seq
        self.side = side
        self.start = start
        self.droppable = droppable
        self.partial = False  # its beginning was forwarded before the trigger was armed
        self.between = False  # the client has only whole units so far: another one may follow


class Connection:
    """One relayed connection. All methods are called in the event loop, none blocks or awaits."""

    def __init__(self, *, owner: Owner, client: End, codec: Callable[["Connection"], Codec | None], name: str) -> None:
        self.client = client
        self.server: End | None = None
        self.client_ended = False
        self.server_ended = False
        self.frozen = False
        self.name = name
        self.codec = codec(self)
        self.connect: Callable[[], None] = lambda: None  # set by the relay: reach for the target
        self.up = Lane(self._feed_up, self._up_boundary)
        self.down = Lane(self._feed_down, self._down_boundary)
        self._owner = owner
        self._calls: dict[int, tuple[int, int]] = {}  # effects under way: number in the history, end of the request
        self._awaited: int | None = None  # ident whose reply the trigger wants
        self._found: _Held | None = None
        self._held: _Held | None = None
        self._client_reset = self._server_reset = False
        self._closed = False
        self._direct = False
        self.up.origin = client
        self.down.destination = client
        client.on_data = self._from_client
        client.on_ended = self._on_client_ended
        client.on_drained = self._client_drained

    # -- set-up ---------------------------------------------------------------------------------------------------

    def connected(self, server: End) -> None:
        """The target is reached."""
        if self._closed:
            server.close()
            return
        self.server = server
        self.up.destination = server
        self.down.origin = server
        server.on_data = self._from_server
        server.on_ended = self._on_server_ended
        server.on_drained = self._server_drained
        server.stall(stalled=self.frozen)
        server.resume()
        self.client.resume()
        self.settle()

    def unreachable(self, problem: str = "") -> None:
        """The target cannot be reached: the source sees a reset. `problem`: what is wrong beyond that, if anything."""
        if problem:
            self._owner.problem(f"{self.name}: {problem}")
        self.close(reset=True)

    def set_condition(self, condition: Condition) -> None:
        """The link's condition has changed."""
        self.up.condition = self.down.condition = condition
        self.settle()

    def watch_reads(self, *, watched: bool) -> None:
        """Whether the decoder tells of reads."""
        if self.codec is not None:
            self.codec.reads = watched

    def settle(self) -> None:
        """The circumstances have changed (armed, frozen, condition): forward what may go, choose the way."""
        if not self._owner.is_armed():
            self._awaited = None
        for lane in (self.up, self.down):
            if not self._closed and not self._blocked(lane):
                self._advance(lane)
                if lane.origin is not None and not lane.unsent():
                    lane.origin.resume()  # it was stopped if too much was held
        self._choose()
        self._pass_ends_on()

    def _choose(self) -> None:
        self._direct = (
            self.server is not None
            and not (self.frozen or self._closed or self._owner.is_armed())
            and isinstance(self.up.condition, Healthy)
            and not (self.up.late or self.down.late or self.up.held or self.down.held)
        )

    # -- bytes ----------------------------------------------------------------------------------------------------

    def _from_client(self, data: memoryview) -> None:
        if not self._direct:
            self._arrived(self.up, data)
            return
        self.up.passed += len(data)
        server = self.server
        assert server is not None
        server.send(data)
        if self.codec is not None:
            try:
                self.codec.client(data)
            except Exception as error:  # noqa: BLE001  whatever it stumbles over: traffic goes on
                self._undecodable(error)
        if server.waiting():
            self.client.pause()

    def _from_server(self, data: memoryview) -> None:
        if not self._direct:
            self._arrived(self.down, data)
            return
        self.down.passed += len(data)
        self.client.send(data)
        if self.codec is not None:
            try:
                self.codec.server(data)
            except Exception as error:  # noqa: BLE001  whatever it stumbles over: traffic goes on
                self._undecodable(error)
        if self.client.waiting() and self.server is not None:
            self.server.pause()

    def _arrived(self, lane: Lane, data: memoryview) -> None:
        if lane is self.up and isinstance(lane.condition, BlackHole | Reset):
            self._owner.knocked(self, data)
            if isinstance(lane.condition, Reset):
                self.close(reset=True)
                return
        if lane is self.up and lane.is_cut_by(data):
            self._owner.cut(self)
            return
        lane.held += data
        lane.unfed += len(data)
        if not self._blocked(lane):
            self._advance(lane)
            if not self._direct:
                self._choose()
            return
        # Replies that arrive now belong to requests from before: the history should know of them.
        if lane is self.down:
            self._feed(lane, lane.unseen())
        elif self._held is not None and self.given_up():
            self._owner.given_up()
        if len(lane.held) > _HELD_AT_MOST and lane.origin is not None:
            lane.origin.pause()
            self._owner.problem(f"{self.name}: more than {_HELD_AT_MOST >> 20} MiB held, its end may go unnoticed")

    def _blocked(self, lane: Lane) -> bool:
        if self.frozen or self.server is None:
            return True
        condition = lane.condition
        if isinstance(condition, BlackHole):
            return condition.direction in ("both", "to_target" if lane is self.up else "to_source")
        return False

    def _advance(self, lane: Lane) -> None:
        """Forward what is held and decided; may end in a freeze."""
        if self.codec is None or not self._owner.is_armed():
            unseen = lane.unseen()
            self._emit(lane, len(lane.held))
            self._feed(lane, unseen)
            return
        self._feed(lane, lane.unseen())
        found, self._found = self._found, None
        if found is None:
            self._emit(lane, lane.boundary() - lane.passed)
            return
        found.partial = found.start < lane.passed
        found.between = self.down.passed == self._down_boundary()
        self._emit(lane, found.start - lane.passed)
        self._held = found
        self._owner.hit(self, found.seq)
        if lane is self.down:
            self._feed(lane, b"")  # what came with the held reply

    def _feed(self, lane: Lane, data: bytes) -> None:
        if self.codec is None:
            return
        try:
            lane.feed(data)
        except Exception as error:  # noqa: BLE001  whatever it stumbles over: traffic goes on
            self._undecodable(error)

    def _emit(self, lane: Lane, size: int) -> None:
        if size <= 0:
            return
        data = bytes(memoryview(lane.held)[:size])
        del lane.held[:size]
        lane.passed += size
        destination, origin = lane.destination, lane.origin
        assert destination is not None
        if isinstance(lane.condition, Slow) or lane.late:
            delay = lane.condition.delay if isinstance(lane.condition, Slow) else 0.0
            loop = asyncio.get_running_loop()
            lane.late.append((loop.call_later(delay, self._due, lane), data))
        else:
            destination.send(data)
        if origin is not None and lane.unsent():
            origin.pause()

    def _due(self, lane: Lane) -> None:
        """The oldest late piece has arrived."""
        if self.frozen or self._closed:
            return
        now = asyncio.get_running_loop().time()
        while lane.late and lane.late[0][0].when() <= now + 0.001:
            data = lane.late.popleft()[1]
            if lane.destination is not None:
                lane.destination.send(data)
        if not lane.unsent():
            self._drained(lane)

    def _drained(self, lane: Lane) -> None:
        if lane.origin is not None and not lane.late:
            lane.origin.resume()
            self._choose()
            self._pass_ends_on()

    def _server_drained(self) -> None:
        self._drained(self.up)

    def _client_drained(self) -> None:
        self._drained(self.down)

    def _feed_up(self, data: bytes) -> None:
        if self.codec is not None:
            self.codec.client(data)

    def _feed_down(self, data: bytes) -> None:
        if self.codec is not None:
            self.codec.server(data)

    def _up_boundary(self) -> int:
        return self.codec.client_boundary() if self.codec is not None else self.up.passed + len(self.up.held)

    def _down_boundary(self) -> int:
        return self.codec.server_boundary() if self.codec is not None else self.down.passed + len(self.down.held)

    def _undecodable(self, error: Exception) -> None:
        self.codec = None
        self._calls.clear()
        reason = str(error) if isinstance(error, DecodeError) else f"the decoder failed with {error!r}"
        self._owner.problem(f"{self.name}: {reason}; counted nothing from here on")
        self._owner.idle()

    # -- what the decoder says --------------------------------------------------------------------------------------

    def request(self, ident: int, effect: Effect, start: int, end: int, *, droppable: bool) -> bool:
        """`Sink.request`."""
        if effect.read:
            number = self._owner.read(self, effect)
            if number is not None:
                self._found = _Held(ident=ident, seq=number, side="before", start=start, droppable=droppable)
            return number is not None
        seq, wanted = self._owner.requested(self, effect)
        self._calls[ident] = (seq, end)
        if wanted == "after":
            self._awaited = ident
        if wanted != "before":
            return False
        self._found = _Held(ident=ident, seq=seq, side="before", start=start, droppable=droppable)
        return True

    def reply_begins(self, ident: int, start: int) -> bool:
        """`Sink.reply_begins`."""
        if ident != self._awaited:
            return False
        self._awaited = None
        if not self._owner.is_armed():
            return False
        self._found = _Held(ident=ident, seq=self._calls[ident][0], side="after", start=start, droppable=False)
        return True

    def reply(self, ident: int, *, ok: bool | None) -> None:
        """`Sink.reply`."""
        call = self._calls.pop(ident, None)
        if call is not None and ok is not None:
            self._owner.answered(call[0], ok=ok)

    def idle(self) -> None:
        """`Sink.idle`."""
        self._owner.idle()

    # -- freeze, and what follows -------------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Forward nothing any more. Goes on reading, to notice the end and the replies to what went before."""
        self.frozen = True
        self._direct = False
        for end in (self.client, self.server):
            if end is not None:
                end.stall(stalled=True)
                end.resume()

    def given_up(self) -> bool:
        """Whether the source gave up the connection, or the stream, of the held request."""
        held = self._held
        if held is None:
            return False
        multiplexer = self.codec.multiplexer() if self.codec is not None else None
        if self.client_ended or multiplexer is None:
            return self.client_ended
        unseen = bytes(self.up.held[len(self.up.held) - self.up.unfed :]) if self.up.unfed else b""
        return multiplexer.given_up(held.ident, unseen)

    def thaw(self, *, drop_held: bool) -> None:
        """Go on; `drop_held`: without the held request if it was given up."""
        held, self._held = self._held, None
        self.frozen = False
        if held is not None and held.side == "before":
            self._held = held
            given_up = drop_held and self.given_up()
            self._held = None
            if given_up and (self.client_ended or held.partial or not held.droppable):
                self.close()
                return
            if given_up:
                self._leave_out(held)
            else:
                self._owner.forwarded(held.seq, was=True)
        for end in (self.client, self.server):
            if end is not None:
                end.stall(stalled=False)
        if self.server is None:
            self.connect()
            return
        for lane in (self.up, self.down):
            if not self._blocked(lane):
                self._due(lane)
        self.settle()

    def _leave_out(self, held: _Held) -> None:
        self._feed(self.up, self.up.unseen())
        multiplexer = self.codec.multiplexer() if self.codec is not None else None
        if multiplexer is None:
            return
        kept = multiplexer.without(held.ident, bytes(self.up.held))
        self.up.passed += len(self.up.held) - len(kept)
        self.up.held[:] = kept

    def refuse(self) -> bool:
        """Answer the held request with an error in the store's stead, and go on. False, and held still: impossible."""
        held = self._held
        if held is None or held.side != "before" or held.partial or not held.between:
            return False
        self._feed(self.up, self.up.unseen())
        refusal = self.codec.refuse(held.ident, bytes(self.up.held)) if self.codec is not None else None
        if refusal is None:
            return False
        self._held = None
        self._calls.pop(held.ident, None)
        self.up.passed += len(self.up.held) - len(refusal.kept)
        self.up.held[:] = refusal.kept
        self.client.stall(stalled=False)
        self.client.send(refusal.reply)
        self._owner.answered(held.seq, ok=False)
        return True

    def discard(self, *, reset: bool = False) -> None:
        """Close both sides; what has not left never will, and the history is told."""
        sent = self.up.passed - self.up.unsent()
        for seq, end in self._calls.values():
            if end > sent:
                self._owner.forwarded(seq, was=False)
        self._held = None
        self.close(reset=reset)

    # -- ends -----------------------------------------------------------------------------------------------------

    def _on_client_ended(self, reset: bool) -> None:  # noqa: FBT001  the signature of the callback
        self.client_ended = True
        self._client_reset = reset
        self._owner.given_up()
        self._pass_ends_on()

    def _on_server_ended(self, reset: bool) -> None:  # noqa: FBT001  the signature of the callback
        self.server_ended = True
        self._server_reset = reset
        if self.codec is not None:
            self.codec.server_ended()
        self._pass_ends_on()

    def _pass_ends_on(self) -> None:
        """Let each side know that the other one has ended, as soon as it has got everything."""
        if self._closed or self.frozen:
            return
        if self.server is None:
            if self.client_ended:
                self.close()
            return
        if self.client_ended and not self._blocked(self.up) and not self.up.late:
            if self._client_reset:
                self.close(reset=True)
                return
            self._emit(self.up, len(self.up.held))
            self.server.finish()
        if self.server_ended and not self._blocked(self.down) and not self.down.late:
            if self._server_reset:
                self.close(reset=True)
                return
            self._emit(self.down, len(self.down.held))
            self.client.finish()
        left = self.up.unsent() or self.down.unsent() or self.up.held or self.down.held
        if self.client_ended and self.server_ended and not left:
            self.close()

    def close(self, *, reset: bool = False) -> None:
        """Close both sides now."""
        if self._closed:
            return
        self._closed = True
        self._direct = False
        for lane in (self.up, self.down):
            for timer, _ in lane.late:
                timer.cancel()
            lane.late.clear()
        self.client.close(reset=reset)
        if self.server is not None:
            self.server.close(reset=reset)
        self.codec = None
        self._calls.clear()
        self._owner.closed(self)

    def is_closed(self) -> bool:
        """Whether it is gone."""
        return self._closed

    def under_way(self) -> int:
        """Requests without a reply."""
        return len(self.codec.pending) if self.codec is not None else 0
