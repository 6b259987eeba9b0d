"""The emulator as an HTTP server in the caller's event loop."""

import asyncio
import base64
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from harness.platforms.edge_emulator import problems
from harness.platforms.edge_emulator.api import Api
from harness.platforms.edge_emulator.problems import ApiError
from harness.platforms.edge_emulator.routes import Call
from harness.platforms.edge_emulator.watch import Watch

Json = dict[str, Any]

_WATCH_SECONDS = 1800.0
# A watcher that far behind is cut off: it lists again, as it has to do with the real API.
_WATCH_BACKLOG = 10_000
_LOG_LENGTH = 100_000
# What the real API takes.
_BODY_BYTES = 3 * 1024 * 1024
# So much that a body that is taken never pauses the connection: it is read once, when it is complete.
_READ_BUFFER = 4 * _BODY_BYTES


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One answered request, or one watch that has begun.

    time: wall clock, seconds;  query: as sent, without the question mark;  status: HTTP status of the answer
    """

    time: float
    method: str
    path: str
    query: str
    user_agent: str
    status: int


class _Request(web.BaseRequest):
    """A request with its answer to come. It stays open for a watch, whose answer is a stream."""

    answered: "asyncio.Future[web.Response]"


class EdgeEmulator:
    """A Kubernetes API for one edge cluster: plain HTTP/1.1, no authentication, everything in memory.

    name:    of the edge, for its kubeconfig and its certificate authority
    ready:   whether workloads become ready at once, or never (see set_ready)
    monitor: whether the status of ResourceBundleState objects is kept, as EMCO's monitor does
    now:     wall clock in seconds;  new_uid: a fresh unique id
    """

    def __init__(
        self,
        name: str,
        *,
        ready: bool = True,
        monitor: bool = True,
        now: Callable[[], float] = time.time,
        new_uid: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self.name = name
        self._now = now
        self._ready = ready
        self._api = Api(name, ready=ready, monitor=monitor, now=now, new_uid=new_uid)
        self._log: deque[LoggedRequest] = deque(maxlen=_LOG_LENGTH)
        self._watchers: dict[asyncio.Task[Any], Callable[[], None]] = {}
        self._runner: web.ServerRunner | None = None
        self._address: tuple[str, int] | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes a free one. Raises OSError if the address cannot be had, RuntimeError if started."""
        if self._runner is not None:
            raise RuntimeError(f"the edge {self.name} listens already on {self._address}")
        server = web.Server(
            self._serve,
            request_factory=self._receive,
            access_log=None,
            handler_cancellation=True,
            read_bufsize=_READ_BUFFER,
        )
        runner = web.ServerRunner(server, shutdown_timeout=2.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner, self._address = runner, runner.addresses[0][:2]

    async def stop(self) -> None:
        """End all watches and stop listening. The objects stay: a later start serves them again."""
        await self._end_watches()
        runner, self._runner, self._address = self._runner, None, None
        if runner is not None:
            await runner.cleanup()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: host and port. Raises RuntimeError if it does not."""
        if self._address is None:
            raise RuntimeError(f"the edge {self.name} is not started")
        return self._address

    @property
    def request_log(self) -> tuple[LoggedRequest, ...]:
        """The latest requests (100 000 at most), oldest first."""
        return tuple(self._log)

    def objects(self) -> list[Json]:
        """Copies of all objects that clients made or changed; what every cluster has from the start is not in it."""
        return self._api.client_objects()

    async def restore(self, objects: list[Json]) -> None:
        """Replace everything by these objects, as `objects` returned them: uids and versions are kept.

        What comes after that becomes ready, or not, as at the start. All watches end, and cannot be resumed: their
        clients list again. Raises ValueError, and changes nothing, for
        an object of an unknown kind or without uid or version.
        """
        self._api.restore(objects)
        self._api.is_ready = self._ready
        await self._end_watches()

    def set_ready(self, *, ready: bool) -> None:
        """Make workloads ready, or not, from now on: those that exist and those to come."""
        self._api.set_ready(ready=ready)

    @property
    def is_ready(self) -> bool:
        """Whether workloads become ready."""
        return self._api.is_ready

    def delete(self, obj: Json) -> None:
        """Delete an object as a client would, without an entry in the log. Raises ValueError when it is not there."""
        self._api.delete(obj)

    def kubeconfig(self, server_url: str, *, ca_pem: str = "") -> str:
        """A minimal kubeconfig (YAML) for a client that reaches this edge at `server_url`.

        ca_pem: the authority of the certificate at that address, when something in front of the edge ends TLS
        """
        cluster: Json = {"server": server_url}
        if ca_pem:
            cluster["certificate-authority-data"] = _base64(ca_pem)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": self.name, "cluster": cluster}],
            # No secret: the emulator asks for none, some clients refuse to go without.
            "users": [{"name": "admin", "user": {"token": "emulated"}}],
            "contexts": [{"name": self.name, "context": {"cluster": self.name, "user": "admin"}}],
            "current-context": self.name,
        }
        return yaml.safe_dump(config, sort_keys=False)

    # -- HTTP --------------------------------------------------------------------------------------------------------

    def _receive(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        """Make the request, and carry it out as soon as its body is complete.

        Not in the handler's task: that one is cancelled when the connection ends, and what a cut connection leaves
        behind must not depend on which of the two the loop sees first.
        """
        loop = asyncio.get_running_loop()
        request = _Request(message, payload, protocol, writer, task, loop)
        answered: asyncio.Future[web.Response] = loop.create_future()
        request.answered = answered

        def arrived() -> None:
            try:
                answered.set_result(self._answer(request, payload.read_nowait()))
            except Exception as error:  # noqa: BLE001 - whatever it is, the handler raises it: a 500 and a log entry
                answered.set_exception(error)

        def complete() -> None:
            loop.call_soon(arrived)

        if not _call(request).watching and not _too_large(request):
            # As the next thing the loop does: still before it can hear of the connection's end, but no longer inside
            # the parser, which must not be entered again by reading from it.
            payload.on_eof(complete)
        return request

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        call = _call(request)
        if call.watching:
            return await self._watch(request, call)
        if _too_large(request):
            self._note(request, 413)
            return _json(problems.too_large(_BODY_BYTES).status(), 413)
        assert isinstance(request, _Request), "all requests are made by _receive"
        return await request.answered

    def _answer(self, request: web.BaseRequest, body: bytes) -> web.Response:
        if request.path in ("/healthz", "/readyz", "/livez"):
            self._note(request, 200)
            return web.Response(text="ok")
        try:
            status, answer = self._api.answer(_call(request, body))
        except ApiError as error:
            status, answer = error.code, error.status()
        self._note(request, status)
        return _json(answer, status)

    async def _watch(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        try:
            watch = Watch(self._api, call)
        except ApiError as error:
            self._note(request, error.code)
            return _json(error.status(), error.code)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        self._note(request, 200)
        queue: asyncio.Queue[Json | None] = asyncio.Queue()

        def offer(event: Json | None) -> None:
            queue.put_nowait(event if queue.qsize() < _WATCH_BACKLOG else None)

        task = asyncio.current_task()
        assert task is not None, "a handler runs in a task"
        self._watchers[task] = lambda: offer(None)
        end = watch.begin(offer)
        try:
            try:
                async with asyncio.timeout(watch.seconds or _WATCH_SECONDS):
                    while (event := await queue.get()) is not None:
                        await response.write(msgspec.json.encode(event) + b"\n")
            except TimeoutError:
                await response.write(b"".join(msgspec.json.encode(event) + b"\n" for event in watch.farewell()))
            await response.write_eof()
        except ConnectionError:
            return response  # the client is gone, there is nobody to say the end to
        finally:
            end()
            del self._watchers[task]
        return response

    async def _end_watches(self) -> None:
        tasks = list(self._watchers)
        for end in list(self._watchers.values()):
            end()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=1.0)
            for task in stuck:
                task.cancel()  # its client does not read

    def _note(self, request: web.BaseRequest, status: int) -> None:
        agent = request.headers.get("User-Agent", "")
        entry = LoggedRequest(self._now(), request.method, request.path, request.query_string, agent, status)
        self._log.append(entry)


def _call(request: web.BaseRequest, body: bytes = b"") -> Call:
    headers = request.headers
    accept = ",".join(headers.getall("Accept", ()))
    return Call(request.method, request.path, request.query, headers.get("Content-Type", ""), accept, body)


def _too_large(request: web.BaseRequest) -> bool:
    return (request.content_length or 0) > _BODY_BYTES


def _json(value: Json, status: int) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
