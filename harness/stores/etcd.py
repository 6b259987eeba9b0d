"""etcd as the harness itself talks to it: its JSON gateway, directly, past the relays."""

import base64
from collections.abc import Mapping
from typing import Any

import aiohttp

from harness.stores.mongo import StoreError

_LARGEST_TRANSACTION = 100  # etcd's default limit is 128 operations
_ALL = base64.b64encode(b"\0").decode()
MARKER_KEY = b"/emco-chaos/marker"


class Etcd:
    """One etcd without TLS or users."""

    def __init__(self, host: str, port: int) -> None:
        self.address = f"{host}:{port}"
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

    async def claim(self) -> None:
        """Mark the server as the harness's. Raises StoreError when it holds anything of somebody else."""
        content = await self.snapshot()
        answer = await self._call("range", {"key": _encode(MARKER_KEY)})
        if content and not answer.get("kvs"):
            raise StoreError(
                f"etcd at {self.address} holds {len(content)} keys and lacks the harness's marker: restore would "
                f"replace them. Give an empty etcd, or put the key {MARKER_KEY.decode()} to opt in."
            )
        await self._call("put", {"key": _encode(MARKER_KEY), "value": _encode(b"1")})

    async def snapshot(self) -> dict[bytes, bytes]:
        """All keys but the marker."""
        answer = await self._call("range", {"key": _ALL, "range_end": _ALL})
        content = {base64.b64decode(kv["key"]): base64.b64decode(kv.get("value", "")) for kv in answer.get("kvs", ())}
        content.pop(MARKER_KEY, None)
        return content

    async def restore(self, content: Mapping[bytes, bytes]) -> None:
        """Make the content exactly this, in as few transactions as etcd allows."""
        now = await self.snapshot()
        operations: list[dict[str, Any]] = [
            {"request_delete_range": {"key": _encode(key)}} for key in now if key not in content
        ] + [
            {"request_put": {"key": _encode(key), "value": _encode(value)}}
            for key, value in content.items()
            if now.get(key) != value
        ]
        for first in range(0, len(operations), _LARGEST_TRANSACTION):
            await self._call("txn", {"success": operations[first : first + _LARGEST_TRANSACTION]})

    async def _call(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            async with self._session.post(f"http://{self.address}/v3/kv/{method}", json=body) as answer:
                if answer.status != 200:
                    raise StoreError(
                        f"etcd at {self.address}: {method} answered {answer.status}: {(await answer.text())[:200]}"
                    )
                result: dict[str, Any] = await answer.json(content_type=None)
                return result
        except (aiohttp.ClientError, TimeoutError) as error:
            raise StoreError(f"etcd at {self.address} does not answer: {error}") from error


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
