"""Emulated edges in a pod, as the harness reads and replaces what they hold."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from harness.faults.victim import HarnessTrouble
from harness.wire.links import Address

Json = dict[str, Any]


class EdgesPod:
    """All edges of one EMCO; their content is read and written together."""

    def __init__(self, names: Sequence[str], address: Address, *, limit: float = 30.0) -> None:
        self.names = tuple(names)
        self._url = "http://{}:{}/edges".format(*address)
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=limit))

    async def close(self) -> None:
        await self._session.close()

    async def objects(self) -> Mapping[str, tuple[Json, ...]]:
        """What each edge holds. Raises HarnessTrouble."""
        held = await self._ask("GET")
        return {name: tuple(held.get(name, ())) for name in self.names}

    async def restore(self, wanted: Mapping[str, Sequence[Json]]) -> None:
        """Make each edge hold exactly this. Raises HarnessTrouble."""
        await self._ask("PUT", {name: list(wanted.get(name, ())) for name in self.names})

    async def _ask(self, method: str, body: Json | None = None) -> Json:
        try:
            async with self._session.request(method, self._url, json=body) as answer:
                if answer.status >= 400:
                    raise HarnessTrouble(f"the emulated edges answer {answer.status}: {(await answer.text())[:200]}")
                held: Json = await answer.json() if answer.status == 200 else {}
                return held
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise HarnessTrouble(f"the emulated edges do not answer: {type(error).__name__} {error}") from error
