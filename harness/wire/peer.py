"""The two ends of a relayed connection: non-blocking sockets driven by the event loop's readiness callbacks.

Not asyncio transports, because a frozen connection must not send what it has taken already, must notice that its other
end is gone, and must be as fast as can be: the callback that reads a request sends it in the same breath.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Protocol

from harness.wire.decoding import Data

_LINGER_RESET = struct.pack("ii", 1, 0)
_RECORD = 64 * 1024


class End(Protocol):
    """One end of a connection."""

    on_data: Callable[[memoryview], None]
    on_ended: Callable[[bool], None]  # with whether by a reset; once, or once more by a reset after that
    on_drained: Callable[[], None]  # everything that waited is sent

    def start(self) -> None: ...
    def send(self, data: Data) -> None: ...
    def waiting(self) -> int: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def stall(self, *, stalled: bool) -> None: ...
    def finish(self) -> None: ...
    def close(self, *, reset: bool = False) -> None: ...


def _nothing() -> None:
    pass


def _no_data(data: memoryview) -> None:
    raise AssertionError(f"{len(data)} bytes arrived at an end that nobody listens to")


def _no_end(reset: bool) -> None:  # noqa: FBT001  the signature of the callback
    pass


class Peer:
    """A plain TCP socket as an `End`. `buffer` is shared: what is in it is used up before the callback returns."""

    __slots__ = (
        "_buffer",
        "_closed",
        "_ended",
        "_finished",
        "_finishing",
        "_loop",
        "_reading",
        "_receive",
        "_reset",
        "_sock",
        "_stalled",
        "_transmit",
        "_writing",
        "on_data",
        "on_drained",
        "on_ended",
        "out",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, buffer: memoryview) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.on_data: Callable[[memoryview], None] = _no_data
        self.on_ended: Callable[[bool], None] = _no_end
        self.on_drained: Callable[[], None] = _nothing
        self.out = bytearray()
        self._loop = loop
        self._sock = sock
        self._buffer = buffer
        self._receive = sock.recv_into
        self._transmit = sock.send
        self._reading = self._writing = self._stalled = self._ended = self._closed = False
        self._finishing = self._finished = self._reset = False

    def start(self) -> None:
        """Begin to read."""
        self.resume()

    def _readable(self) -> None:
        try:
            size = self._receive(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._has_ended(reset=True)
            return
        if size:
            self.on_data(self._buffer[:size])
        else:
            self._has_ended(reset=False)

    def send(self, data: Data) -> None:
        """Send at once as much as goes; the rest waits."""
        if self.out or self._stalled or self._closed:
            if not self._closed:
                self.out += data
                self._want_write()
            return
        try:
            sent = self._transmit(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._broken()
            return
        if sent != len(data):
            self.out += data[sent:]
            self._want_write()

    def waiting(self) -> int:
        """Bytes that are not sent yet."""
        return len(self.out)

    def pause(self) -> None:
        """Stop reading: nothing more is taken from the other side, nor its end noticed."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock)

    def resume(self) -> None:
        """Read again."""
        if not (self._reading or self._ended or self._closed):
            self._reading = True
            self._loop.add_reader(self._sock, self._readable)

    def stall(self, *, stalled: bool) -> None:
        """While stalled nothing is sent, not even what waited already."""
        self._stalled = stalled
        if stalled and self._writing:
            self._writing = False
            self._loop.remove_writer(self._sock)
        elif not stalled and self.out:
            self._want_write()

    def finish(self) -> None:
        """Close our direction once everything is sent."""
        self._finishing = True
        if not (self.out or self._closed or self._finished):
            self._finished = True
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                self._broken()

    def close(self, *, reset: bool = False) -> None:
        """Close both directions now; what waited is lost."""
        if self._closed:
            return
        self.pause()
        self.stall(stalled=True)
        self._closed = True
        self.out.clear()
        if reset:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self._sock.close()

    def _want_write(self) -> None:
        if not (self._writing or self._stalled or self._closed):
            self._writing = True
            self._loop.add_writer(self._sock, self._writable)

    def _writable(self) -> None:
        try:
            sent = self._transmit(self.out)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._broken()
            return
        del self.out[:sent]
        if not self.out:
            self._writing = False
            self._loop.remove_writer(self._sock)
            if self._finishing:
                self.finish()
            self.on_drained()

    def _broken(self) -> None:
        # Not at once: who sends is in the middle of something.
        self.out.clear()
        self.stall(stalled=True)
        self._loop.call_soon(lambda: self._has_ended(reset=True))

    def _has_ended(self, *, reset: bool) -> None:
        """Its end may have come in good order, and what is sent to it all the same is reset: that is said as well, or
        who sends waits for ever."""
        if self._closed or (self._ended and (self._reset or not reset)):
            return
        self.pause()
        self._ended, self._reset = True, reset
        self.on_ended(reset)


class TlsPeer:
    """A TLS end on top of a plain one. on_ready is called with the protocol that was agreed on, None without one.

    on_failed is called with what went wrong in the handshake, with nothing if the other side never said a word.
    """

    def __init__(self, peer: Peer, context: ssl.SSLContext, *, server_hostname: str | None = None) -> None:
        self.on_data: Callable[[memoryview], None] = _no_data
        self.on_ended: Callable[[bool], None] = _no_end
        self.on_drained: Callable[[], None] = _nothing
        self.on_ready: Callable[[str | None], None] = lambda _: None
        self.on_failed: Callable[[str], None] = lambda _: None
        self._peer = peer
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_hostname is None, server_hostname=server_hostname
        )
        self._ready = self._ended = self._reset = self._finishing = self._heard = False
        peer.on_data = self._arrived
        peer.on_ended = self._has_ended
        peer.on_drained = self._drained

    def start(self) -> None:
        """Begin the handshake."""
        self._peer.start()
        self._handshake()

    def send(self, data: Data) -> None:
        """Encrypt and send."""
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view[:_RECORD]) :]
        self._flush()

    def waiting(self) -> int:
        """Encrypted bytes that are not sent yet."""
        return self._peer.waiting()

    def pause(self) -> None:
        """As `Peer.pause`."""
        self._peer.pause()

    def resume(self) -> None:
        """As `Peer.resume`."""
        self._peer.resume()

    def stall(self, *, stalled: bool) -> None:
        """As `Peer.stall`."""
        self._peer.stall(stalled=stalled)

    def finish(self) -> None:
        """Say that nothing more follows, and close our direction."""
        if self._finishing:
            return
        self._finishing = True
        # The other side has not said so yet, which is what it raises for; ours is in the outgoing buffer all the same.
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        self._flush()
        self._peer.finish()

    def close(self, *, reset: bool = False) -> None:
        """As `Peer.close`."""
        self._peer.close(reset=reset)

    def _drained(self) -> None:
        self.on_drained()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._peer.send(self._outgoing.read())

    def _handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._flush()
            self.on_failed(str(error))
            return
        self._flush()
        self._ready = True
        self.on_ready(self._tls.selected_alpn_protocol())

    def _arrived(self, data: memoryview) -> None:
        self._heard = True
        self._incoming.write(data)
        if not self._ready:
            self._handshake()
            if not self._ready:
                return
        while True:
            try:
                plain = self._tls.read(_RECORD)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as error:
                self._has_ended(not isinstance(error, ssl.SSLZeroReturnError))
                return
            if not plain:
                self._has_ended(False)
                return
            self.on_data(memoryview(plain))
        self._flush()  # answers of TLS itself

    def _has_ended(self, reset: bool) -> None:  # noqa: FBT001  the signature of the callback
        if self._ended and (self._reset or not reset):
            return
        self._ended, self._reset = True, reset
        if self._ready:
            self.on_ended(reset)
        else:
            self.on_failed("the other side went away during the handshake" if self._heard else "")
