"""etcd's KV service over gRPC: single keys, prefixes, and transactions where several keys must change as one."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from grpclib.client import Channel, Handler, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from grpclib.protocol import H2Protocol
from h2.events import RemoteSettingsChanged
from h2.exceptions import H2Error

from reference.errors import StoreError
from reference.proto import etcd_kv_pb2 as kv

_Request = TypeVar("_Request")
_Reply = TypeVar("_Reply")


# grpclib's connection drops its members when it is closed: a call that is about to use them gets an AttributeError.
CONNECTION_ERRORS = (StreamTerminatedError, ProtocolError, H2Error, AttributeError)
"""What grpclib and h2 raise, besides OSError, when a connection ends in the middle of a call."""


_TRIES, _PAUSE = 100, 0.025
"""How often, and seconds apart, an operation is sent again whose connection was lost: as etcd's own client does it."""

_LONGEST_PAUSE = 1.0


class _Greeted(H2Protocol):
    """A connection that tells when the server has said its first word."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.greeted = asyncio.get_running_loop().create_future()
        super().connection_made(transport)
        changed = self.processor.process_remote_settings_changed

        def settings(event: RemoteSettingsChanged) -> None:
            changed(event)
            if not self.greeted.done():
                self.greeted.set_result(None)

        self.processor.processors[RemoteSettingsChanged] = settings

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if not self.greeted.done():
            self.greeted.set_exception(ConnectionResetError("the server went away before it said a word"))
            self.greeted.exception()  # seen, also where nobody waits any more


class _Channel(Channel):
    """Is connected once the server has sent its settings, as in grpc-go: that something accepts connections on its
    behalf says nothing of it. Nothing public of grpclib has a place for that."""

    def _protocol_factory(self) -> H2Protocol:
        return _Greeted(Handler(), self._config, self._h2_config)

    async def _create_connection(self) -> H2Protocol:
        protocol = await super()._create_connection()
        assert isinstance(protocol, _Greeted)
        try:
            await protocol.greeted
        except BaseException:
            protocol.processor.close()
            raise
        return protocol


class Etcd:
    """One HTTP/2 connection to one etcd. Values are bytes; a cancelled operation resets its stream.

    As with etcd's own client, an operation waits for a server that cannot be reached, as long as its caller does; a
    read whose connection is lost is sent again, a write is not: it may have been done. `again`: writes, all idempotent,
    may be sent again as well.
    """

    def __init__(self, *, host: str, port: int, dial_limit: float = 5.0, again: bool = False) -> None:
        self._where = f"{host}:{port}"
        self._dial_limit = dial_limit
        self._again = again
        self._channel = _Channel(host, port)
        service = "/etcdserverpb.KV/"
        self._range: UnaryUnaryMethod[kv.RangeRequest, kv.RangeResponse] = UnaryUnaryMethod(
            self._channel, service + "Range", kv.RangeRequest, kv.RangeResponse
        )
        self._put: UnaryUnaryMethod[kv.PutRequest, kv.PutResponse] = UnaryUnaryMethod(
            self._channel, service + "Put", kv.PutRequest, kv.PutResponse
        )
        self._delete: UnaryUnaryMethod[kv.DeleteRangeRequest, kv.DeleteRangeResponse] = UnaryUnaryMethod(
            self._channel, service + "DeleteRange", kv.DeleteRangeRequest, kv.DeleteRangeResponse
        )
        self._txn: UnaryUnaryMethod[kv.TxnRequest, kv.TxnResponse] = UnaryUnaryMethod(
            self._channel, service + "Txn", kv.TxnRequest, kv.TxnResponse
        )

    async def get(self, key: str) -> bytes | None:
        """The value of one key, or None. Raises StoreError."""
        reply = await self._call(self._range, kv.RangeRequest(key=key.encode()))
        return reply.kvs[0].value if reply.kvs else None

    async def list(self, prefix: str, *, keys_only: bool = False) -> dict[str, bytes]:
        """All keys that begin with `prefix`, in order. Raises StoreError."""
        start = prefix.encode()
        reply = await self._call(self._range, kv.RangeRequest(key=start, range_end=_after(start), keys_only=keys_only))
        return {pair.key.decode(): pair.value for pair in reply.kvs}

    async def put(self, key: str, value: bytes) -> None:
        """Set one key. Raises StoreError."""
        await self._call(self._put, kv.PutRequest(key=key.encode(), value=value))

    async def delete(self, prefix: str) -> int:
        """Delete all keys that begin with `prefix`; returns how many there were. Raises StoreError."""
        start = prefix.encode()
        reply = await self._call(self._delete, kv.DeleteRangeRequest(key=start, range_end=_after(start)))
        return reply.deleted

    async def put_all(self, values: Mapping[str, bytes], *, if_exists: Sequence[str] = ()) -> bool:
        """Set several keys as one, if those of `if_exists` are there; says whether it was done. Raises StoreError."""
        request = kv.TxnRequest(
            compare=[
                kv.Compare(key=key.encode(), target=kv.Compare.VERSION, result=kv.Compare.GREATER, version=0)
                for key in if_exists
            ],
            success=[
                kv.RequestOp(request_put=kv.PutRequest(key=key.encode(), value=value)) for key, value in values.items()
            ],
        )
        return (await self._call(self._txn, request)).succeeded

    async def _call(self, method: UnaryUnaryMethod[_Request, _Reply], request: _Request) -> _Reply:
        tries = _TRIES if self._again or isinstance(request, kv.RangeRequest) else 1
        while True:
            await self._connected()
            try:
                return await method(request)
            except (OSError, *CONNECTION_ERRORS) as error:
                tries -= 1
                if tries <= 0:
                    raise StoreError(f"etcd at {self._where} failed: {_why(error)}") from error
            except GRPCError as error:
                tries -= 1
                # A read that a server cannot answer for the moment is sent again by etcd's own client, too.
                if tries <= 0 or not (self._again or error.status is Status.UNAVAILABLE):
                    raise StoreError(f"etcd at {self._where} failed: {_why(error)}") from error
            # Nothing tells when a lost server is back: this is the back-off of the repeat.
            await asyncio.sleep(_PAUSE)

    async def _connected(self) -> None:
        pause = _PAUSE
        while True:
            try:
                async with asyncio.timeout(self._dial_limit):
                    await self._channel.__connect__()
            except (OSError, TimeoutError, *CONNECTION_ERRORS):
                # Nothing tells when a server begins to listen: this is the back-off of the reconnection.
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                return

    def close(self) -> None:
        self._channel.close()


def _after(prefix: bytes) -> bytes:
    """The first key behind all keys that begin with `prefix`."""
    assert prefix
    assert prefix[-1] < 0xFF
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _why(error: Any) -> str:
    message = getattr(error, "message", None)
    return str(message or error or type(error).__name__)
