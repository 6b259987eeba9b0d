"""A client of a Kubernetes API server, as small as the harness needs it: ask, list, watch, and where kinds live."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import aiohttp

from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.access import Access
from harness.platforms.edges.connections import Connector

Json = dict[str, Any]
MERGE_PATCH = "application/merge-patch+json"
_ANSWER_LIMIT = 30.0
_WATCH_LIMIT = 600
_LONGEST_LINE = 16 * 1024 * 1024
_PAUSE = 0.2


class Refused(HarnessTrouble):
    """The API server refused; with the status code of its answer."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class ApiClient:
    """One API server. Every call raises HarnessTrouble when there is no answer."""

    def __init__(self, name: str, access: Access) -> None:
        self.name = name
        self._url = access.url
        self._discovered: dict[str, list[Json]] = {}
        self._connector = Connector(access)
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            headers={"Authorization": f"Bearer {access.token}"} if access.token else {},
            timeout=aiohttp.ClientTimeout(total=_ANSWER_LIMIT),
            read_bufsize=_LONGEST_LINE,  # an event of a watch is one line
        )

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: str = "",
        accept: Iterable[int] = (),
        content: str = "application/json",
    ) -> Json:
        """The answer's body. Raises Refused for a status from 400 on that is not among those to accept."""
        url = f"{self._url}{path}{'?' + query if query else ''}"
        data = json.dumps(body) if body is not None else None
        headers = {"Content-Type": content} if data is not None else {}
        try:
            async with self._session.request(method, url, data=data, headers=headers) as answer:
                text = await answer.text(errors="backslashreplace")
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise HarnessTrouble(self._unanswered(method, path, error)) from error
        read = _read(text)
        if status >= 400 and status not in accept:
            why = read.get("message") or text[:200]
            raise Refused(status, f"cluster {self.name}: {method} {path} was answered {status}: {why}")
        return read

    def _unanswered(self, method: str, path: str, error: Exception) -> str:
        why = str(error) or f"nothing came within {_ANSWER_LIMIT:g} s"
        return f"cluster {self.name}, {self._url}: no answer to {method} {path}: {why}"

    async def text(self, path: str, *, query: str = "") -> str:
        """What is answered where that is no JSON, such as a log. Raises Refused for a status from 400 on."""
        try:
            async with self._session.get(f"{self._url}{path}{'?' + query if query else ''}") as answer:
                text = await answer.text(errors="backslashreplace")
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise HarnessTrouble(self._unanswered("GET", path, error)) from error
        if status >= 400:
            raise Refused(status, f"cluster {self.name}: GET {path} was answered {status}: {text[:200]}")
        return text

    async def watch(self, path: str, *, query: str, since: str) -> AsyncIterator[Json]:
        """Events of a collection from this version on, until the server ends the watch."""
        asked = f"{self._url}{path}?watch=1&resourceVersion={since}&timeoutSeconds={_WATCH_LIMIT}&{query}"
        limit = aiohttp.ClientTimeout(total=_WATCH_LIMIT + _ANSWER_LIMIT)
        try:
            async with self._session.get(asked, timeout=limit) as answer:
                if answer.status >= 400:
                    raise Refused(answer.status, f"cluster {self.name}: watching {path} was answered {answer.status}")
                async for line in answer.content:
                    yield _read(line.decode("utf-8", "backslashreplace"))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise HarnessTrouble(
                f"cluster {self.name}: the watch of {path} broke: {type(error).__name__} {error}"
            ) from error

    async def resources(self, api_version: str) -> list[Json]:
        """The resources of a group's version, as discovery lists them; asked once, and again while there are none."""
        if not self._discovered.get(api_version):
            listed = await self.ask("GET", base_path(api_version), accept=(404,))
            self._discovered[api_version] = [one for one in listed.get("resources") or () if "/" not in one["name"]]
        return self._discovered[api_version]

    async def all_resources(self) -> list[tuple[str, Json]]:
        """Every resource in its preferred version, as (apiVersion, entry)."""
        groups = (await self.ask("GET", "/apis")).get("groups") or ()
        versions = ["v1", *(str(group["preferredVersion"]["groupVersion"]) for group in groups)]
        return [(version, entry) for version in versions for entry in await self.resources(version)]

    async def close(self) -> None:
        """Close all connections."""
        await self._connector.end(self._session)


async def gone(api: ApiClient, path: str, *, limit: float) -> None:
    """Wait until something is not there any more. Raises HarnessTrouble when it is after `limit` seconds."""
    deadline = asyncio.get_running_loop().time() + limit
    while (await api.ask("GET", path, accept=(404,))).get("kind") != "Status":
        if asyncio.get_running_loop().time() > deadline:
            raise HarnessTrouble(f"{path.rsplit('/', 1)[-1]} is not gone within {limit:g} s")
        await asyncio.sleep(_PAUSE)  # only the API server knows; bounded by the limit


def base_path(api_version: str) -> str:
    """`/api/v1` or `/apis/group/version`."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _read(text: str) -> Json:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
