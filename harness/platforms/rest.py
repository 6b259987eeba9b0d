"""EMCO's REST calls as a client of the run sends them, with the run's addresses in them."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp

from harness.crashpoints.lab import Call as AnyCall
from harness.crashpoints.model import Told
from harness.emco.calls import Call
from harness.emco.endpoints import Endpoints, rewrite
from harness.faults.victim import HarnessTrouble
from harness.platforms.sending import one_attempt
from harness.wire.links import Address

_CONNECTIVITY = (
    "connection error",
    "connection refused",
    "transport: error while dialing",
    "rpc error: code = unavailable",
    "not defined in the referential schema",
    "server selection error",
    "connection is not ready",
    "is not in ready state",
)
_MOST_BODY = 600
_ERRORS = 400
_OCTETS = "application/octet-stream"


class RestClient:
    """Each call is sent once, over a connection of its own.

    address: where a service's API is;  limit: seconds until a call is answered
    retries: how many answers were nothing but a lost connection between services, and were therefore repeated
    """

    def __init__(self, address: Callable[[str], Address], endpoints: Endpoints, *, limit: float) -> None:
        self.retries = 0
        self._address = address
        self._endpoints = endpoints
        self._limit = limit
        self._http = one_attempt(limit)

    async def close(self) -> None:
        await self._http.close()

    async def send(self, call: AnyCall) -> Told:
        """Send a call; answers that are nothing but connectivity between services are repeated, within the limit."""
        deadline = asyncio.get_running_loop().time() + self._limit
        while True:
            told = await self.send_once(call)
            if not _only_connectivity(told) or asyncio.get_running_loop().time() > deadline:
                return told
            self.retries += 1
            await asyncio.sleep(0.02)  # gRPC connections come back by themselves; bounded by the deadline

    async def send_once(self, call: AnyCall) -> Told:
        """Send a call; being cancelled closes the connection at once."""
        own = rewrite(_own(call), self._endpoints)
        host, port = self._address(own.service)
        url = f"http://{host}:{port}{own.path}"
        try:
            if own.multipart is not None:
                form = aiohttp.FormData()
                form.add_field("metadata", json.dumps(own.multipart.metadata), content_type="application/json")
                for part in own.multipart.files:
                    form.add_field(part.form_field, part.content, filename=part.filename, content_type=_OCTETS)
                request = self._http.request(own.method, url, data=form)
            else:
                body = json.dumps(own.json) if own.json is not None else None
                request = self._http.request(own.method, url, data=body, headers={"Content-Type": "application/json"})
            async with request as answer:
                return Told(answer.status, (await answer.text(errors="backslashreplace"))[:_MOST_BODY])
        except TimeoutError:
            return Told(None, f"no answer within {self._limit:g} s")
        except aiohttp.ClientError as error:
            return Told(None, f"{type(error).__name__}: {error}")

    async def ask(self, service: str, path: str) -> Any:
        """The JSON that a GET is answered with; None where the answer is an error, no JSON, or none at all."""
        host, port = self._address(service)
        try:
            async with self._http.get(f"http://{host}:{port}{path}") as answer:
                return json.loads(await answer.read()) if answer.status < _ERRORS else None
        except (TimeoutError, ValueError, aiohttp.ClientError):
            return None


def _own(call: AnyCall) -> Call:
    if not isinstance(call, Call):
        raise HarnessTrouble(f"{call!r} is no EMCO call")
    return call


def _only_connectivity(told: Told) -> bool:
    """A refusal that says only that services cannot reach each other yet: CONNECTING counts as failure in EMCO."""
    body = told.body.lower()
    return told.kind == "refused" and any(text in body for text in _CONNECTIVITY)
