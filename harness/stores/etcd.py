"""etcd as the harness itself talks to it: its JSON gateway, directly, past the relays."""

import base64
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import aiohttp

from harness.stores.mongo import StoreError

# etcd's default limits are 128 operations and 1.5 MiB for one request.
_LARGEST_TRANSACTION = 100
_LARGEST_REQUEST = 1_000_000
_ALL = base64.b64encode(b"\0").decode()
MARKER_KEY = b"/emco-chaos/marker"


class Etcd:
    """One etcd without TLS; user and password where it asks for them."""

    def __init__(self, host: str, port: int, *, user: str = "", password: str = "") -> None:
        self.address = f"{host}:{port}"
        self._user = user
        self._password = password
        self._token = ""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))

    async def close(self) -> None:
        await self._session.close()

    async def check(self) -> str:
        """The server's version. Raises StoreError when nothing answers, or something that is no etcd."""
        try:
            async with self._session.get(f"http://{self.address}/version") as answer:
                version = await answer.json(content_type=None)
                return str(version["etcdserver"])
        except (aiohttp.ClientError, TimeoutError) as error:
            raise StoreError(f"etcd at {self.address} does not answer: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"what answers at {self.address} is no etcd ({error!r})") from error

    async def check_claim(self) -> None:
        """Whether it may be marked as the harness's. Raises StoreError when it holds anything of somebody else."""
        content = await self.snapshot()
        if content and not await self.marked():
            raise StoreError(
                f"etcd at {self.address} holds {len(content)} keys and lacks the harness's marker: restore would "
                f"replace them. Give an empty etcd, or put the key {MARKER_KEY.decode()} to opt in."
            )

    async def claim(self) -> None:
        """Mark the server as the harness's. Raises StoreError when it holds anything of somebody else."""
        await self.check_claim()
        await self.mark()

    async def marked(self) -> bool:
        """Whether it carries the harness's marker."""
        return bool((await self._call("range", {"key": _encode(MARKER_KEY)})).get("kvs"))

    async def mark(self) -> None:
        await self._call("put", {"key": _encode(MARKER_KEY), "value": _encode(b"1")})

    async def unmark(self) -> None:
        await self._call("deleterange", {"key": _encode(MARKER_KEY)})

    async def snapshot(self) -> dict[bytes, bytes]:
        """All keys but the marker."""
        answer = await self._call("range", {"key": _ALL, "range_end": _ALL})
        content = {base64.b64decode(kv["key"]): base64.b64decode(kv.get("value", "")) for kv in answer.get("kvs", ())}
        content.pop(MARKER_KEY, None)
        return content

    async def restore(self, content: Mapping[bytes, bytes]) -> None:
        """Make the content exactly this, in as few transactions as etcd allows."""
        now = await self.snapshot()
        operations = [
            (len(key), {"request_delete_range": {"key": _encode(key)}}) for key in now if key not in content
        ] + [
            (len(key) + len(value), {"request_put": {"key": _encode(key), "value": _encode(value)}})
            for key, value in content.items()
            if now.get(key) != value
        ]
        for transaction in _transactions(operations):
            await self._call("txn", {"success": transaction})

    async def _call(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if self._user and not self._token:
            self._token = await self._authenticate()
        status, text = await self._post(f"kv/{method}", body)
        if status == 401 and self._user:  # tokens end after some minutes
            self._token = await self._authenticate()
            status, text = await self._post(f"kv/{method}", body)
        return self._answer(method, status, text)

    async def _authenticate(self) -> str:
        self._token = ""
        status, text = await self._post("auth/authenticate", {"name": self._user, "password": self._password})
        return str(self._answer("authenticate", status, text).get("token", ""))

    def _answer(self, method: str, status: int, text: str) -> dict[str, Any]:
        if status != 200:
            raise StoreError(f"etcd at {self.address}: {method} answered {status}: {text[:200]}")
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise StoreError(f"what answers at {self.address} is no etcd ({error!r})") from error
        return answer if isinstance(answer, dict) else {}

    async def _post(self, path: str, body: Mapping[str, Any]) -> tuple[int, str]:
        headers = {"Content-Type": "application/json"} | ({"Authorization": self._token} if self._token else {})
        data = io.BytesIO(json.dumps(body).encode())  # in a file: aiohttp warns of large bodies in one piece
        try:
            async with self._session.post(f"http://{self.address}/v3/{path}", data=data, headers=headers) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise StoreError(f"etcd at {self.address} does not answer: {error}") from error


def _transactions(operations: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
    """Operations, each with its size in bytes, in groups that etcd takes as one transaction."""
    group: list[dict[str, Any]] = []
    room = _LARGEST_REQUEST
    for size, operation in operations:
        if group and (len(group) == _LARGEST_TRANSACTION or size > room):
            yield group
            group, room = [], _LARGEST_REQUEST
        group.append(operation)
        room -= size
    if group:
        yield group


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
