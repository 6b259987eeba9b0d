"""gRPC between the services: the callers' side of rsync.

rsync's address comes from its record in mongo at every call. A caller waits up to a second for its connection to become
ready. How a connection that fails in the middle is taken is the caller's choice: EMCO takes it for a refusal, although
rsync may have accepted; with `patient` the caller asks again (rsync accepts an event that it already has) and, when
rsync stays away, looks into etcd for what became of it.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.exceptions import GRPCError

from reference.contexts import Contexts
from reference.errors import RpcError, RpcLost
from reference.etcd import CONNECTION_ERRORS
from reference.proto import installapp_pb2, updateapp_pb2
from reference.records import Records

INSTALL = "/installapp/InstallApp"
UNINSTALL = "/installapp/UninstallApp"
UPDATE = "/updateapp/UpdateApp"
ROLLBACK = "/updateapp/RollbackApp"

_LONG, _SHORT = 600.0, 10.0
_PATIENCE = 5.0
_RSYNC = {"controller": "rsync", "controllerGroup": "orchestrator"}


@dataclass(frozen=True, slots=True)
class _Question:
    """One request to rsync, and the event by which etcd shows that it was accepted."""

    path: str
    request: Any
    reply: Any
    accepted: str
    message: str
    limit: float
    context: str
    event: str
    other: str = ""


class Rsync:
    """Callers' view of rsync. `ready`: seconds to wait for a connection."""

    def __init__(self, *, records: Records, contexts: Contexts, ready: float) -> None:
        self._records = records
        self._contexts = contexts
        self._ready = ready
        self._channel: Channel | None = None
        self._address: tuple[str, int] | None = None

    async def install(self, context: str, *, patient: bool) -> None:
        """Have rsync apply a context. Raises RpcError when it did not accept, StoreError."""
        request = installapp_pb2.InstallAppRequest(app_context=context)
        reply = installapp_pb2.InstallAppResponse
        accepted, message = "app_context_installed", "app_context_install_message"
        await self._ask(
            _Question(INSTALL, request, reply, accepted, message, _LONG, context, "Instantiate"), patient=patient
        )

    async def uninstall(self, context: str, *, patient: bool) -> None:
        """Have rsync remove what a context applied. Raises as install does."""
        request = installapp_pb2.UninstallAppRequest(app_context=context)
        reply = installapp_pb2.UninstallAppResponse
        accepted, message = "app_context_uninstalled", "app_context_uninstall_message"
        await self._ask(
            _Question(UNINSTALL, request, reply, accepted, message, _SHORT, context, "Terminate"), patient=patient
        )

    async def update(self, *, old: str, new: str, patient: bool) -> None:
        """Have rsync move from one context to another. Raises as install does."""
        request = updateapp_pb2.UpdateAppRequest(update_from_app_context=old, update_to_app_context=new)
        reply = updateapp_pb2.UpdateAppResponse
        accepted, message = "app_context_updated", "app_context_update_message"
        await self._ask(
            _Question(UPDATE, request, reply, accepted, message, _LONG, new, "Update", old), patient=patient
        )

    async def _ask(self, question: _Question, *, patient: bool) -> None:
        clock = asyncio.get_running_loop().time
        until = clock() + _PATIENCE
        while True:
            try:
                return await self._once(question)
            except RpcLost:
                if not patient:
                    raise
                if await self._contexts.accepted(question.context, event=question.event, other=question.other):
                    return None
                if clock() > until:
                    raise
            # rsync may be on its way back; nothing announces it, so this is the back-off of the repeat.
            await asyncio.sleep(0.05)

    async def _once(self, question: _Question) -> None:
        channel = await self._connected()
        method: UnaryUnaryMethod[Any, Any] = UnaryUnaryMethod(
            channel, question.path, type(question.request), question.reply
        )
        try:
            answer = await method(question.request, timeout=question.limit)
        except GRPCError as error:
            raise RpcError(f"rsync refused {question.path}: {error.message or error.status.name}") from error
        except TimeoutError as error:
            raise RpcLost(f"rsync did not answer {question.path} within {question.limit:g} s") from error
        except (OSError, *CONNECTION_ERRORS) as error:
            raise RpcLost(f"The connection to rsync failed during {question.path}: {error}") from error
        if not getattr(answer, question.accepted):
            raise RpcError(f"rsync did not accept: {getattr(answer, question.message)}")

    async def _connected(self) -> Channel:
        record = await self._records.find(_RSYNC, "data")
        if record is None:
            raise RpcError("rsync is not registered as a controller")
        address = (str(record["spec"]["host"]), int(record["spec"]["port"]))
        if self._channel is None or address != self._address:
            self.close()
            self._channel, self._address = Channel(*address), address
        clock = asyncio.get_running_loop().time
        until = clock() + self._ready
        pause = 0.02
        while True:
            try:
                async with asyncio.timeout(max(until - clock(), 0.001)):
                    await self._channel.__connect__()
            except (OSError, TimeoutError) as error:
                if clock() + pause > until:
                    raise RpcLost(f"rsync at {address[0]}:{address[1]} is not ready") from error
            else:
                return self._channel
            # Nothing tells when a server begins to listen: this is the back-off of the reconnection.
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.2)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
