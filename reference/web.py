"""REST for the services: routes, errors as answers, and what a client that goes away does to a call under way.

EMCO passes the request's context into everything that a handler does, so that a client's disconnect cancels the
writes that are still to come. A route whose defect is on behaves so; with the defects off, the handler's work goes on
to its end without the client.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import BodyPartReader, web

from reference.defects import Defects
from reference.errors import ApiError, RpcError, StoreError

Handler = Callable[[web.Request], Awaitable[web.Response]]
_LARGEST_BODY = 32 * 1024 * 1024


class Rest:
    """The REST API of one service, below /v2."""

    def __init__(self, *, defects: Defects, log: logging.Logger) -> None:
        self.app = web.Application(client_max_size=_LARGEST_BODY)
        self._defects = defects
        self._log = log
        self._under_way: set[asyncio.Future[web.Response]] = set()

    def add(self, method: str, path: str, handler: Handler, *, switches: tuple[str, ...] = ()) -> None:
        """Serve `method` on /v2`path`. `switches`: the defects with which a disconnect cancels the handler."""
        # A single write is atomic either way; EMCO as it is cancels it.
        cancels = self._defects.any(switches) if switches else bool(self._defects.on)

        async def serve(request: web.Request) -> web.Response:
            if cancels:
                return await self._answer(handler, request)
            work = asyncio.ensure_future(self._answer(handler, request))
            self._under_way.add(work)
            work.add_done_callback(self._under_way.discard)
            return await asyncio.shield(work)

        self.app.router.add_route(method, "/v2" + path, serve)

    async def _answer(self, handler: Handler, request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except ApiError as error:
            return _refusal(error.status, error.message)
        except (StoreError, RpcError) as error:
            self._log.warning("%s %s: %s", request.method, request.path, error)
            return _refusal(500, str(error))

    async def start(self, *, host: str, port: int) -> web.AppRunner:
        """Listen. Raises OSError when the port is taken."""
        runner = web.AppRunner(self.app, handler_cancellation=True, access_log=None, handle_signals=False)
        await runner.setup()
        await web.TCPSite(runner, host, port, backlog=256).start()
        return runner


def _refusal(status: int, message: str) -> web.Response:
    return web.Response(status=status, text=message + "\n")


def reply(status: int, value: Any = None) -> web.Response:
    """A JSON answer; without a value, an empty one."""
    if value is None:
        return web.Response(status=status)
    return web.Response(status=status, text=json.dumps(value) + "\n", content_type="application/json")


async def read_json(request: web.Request, *, required: bool = True) -> Any:
    """The JSON body. Raises ApiError 400 when it is empty (and required), 422 when it is not JSON."""
    return parse_json(await request.read(), required=required)


def parse_json(raw: bytes, *, required: bool = True) -> Any:
    """A body or field as JSON. Raises as read_json does."""
    if not raw.strip():
        if required:
            raise ApiError(400, "Empty body")
        return None
    try:
        return json.loads(raw)
    except ValueError as error:
        raise ApiError(422, f"The body is not JSON: {error}") from error


async def read_multipart(request: web.Request) -> tuple[Any, bytes | None]:
    """The field `metadata` as JSON and the content of the field `file`, if there is one. Raises ApiError 400, 422."""
    if not request.content_type.startswith("multipart/"):
        raise ApiError(422, "The body must be multipart/form-data with the fields metadata and file")
    metadata: Any = None
    file: bytes | None = None
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            raise ApiError(422, "Nested multipart bodies are not understood")
        content = bytes(await part.read(decode=True))
        if part.name == "metadata":
            metadata = parse_json(content)
        elif part.name == "file":
            file = content
    if metadata is None:
        raise ApiError(400, "The field metadata is missing")
    return metadata, file
