"""What edges report through ResourceBundleStates, written into the AppContexts that it is about."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from reference.contexts import Contexts, cluster_path, go_json, root
from reference.edge import Edge, EdgeError
from reference.errors import StoreError

_AGAIN = 2.0


class Reports:
    """One watch per edge, begun when first needed and begun again when it ends."""

    def __init__(self, *, contexts: Contexts, log: logging.Logger) -> None:
        self._contexts = contexts
        self._log = log
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._lock = asyncio.Lock()

    def watch(self, cluster: str, connect: Callable[[], Awaitable[Edge]]) -> None:
        """Watch an edge from now on, if it is not watched yet."""
        if cluster not in self._watches:
            self._watches[cluster] = asyncio.ensure_future(self._watch(cluster, connect))

    async def note(self, cluster: str, report: Mapping[str, Any]) -> None:
        """Write one report into its context, if that is still there and says something else. Raises StoreError."""
        context, dash, app = str(report["metadata"]["name"]).partition("-")
        if not dash:
            return
        status = report.get("status") or {"ready": False, "resourceCount": 0}
        path = root(context) + cluster_path(app, cluster)
        values = {
            path + "status/": go_json(go_json(status).decode()),
            path + "resourcesready/": go_json(bool(status.get("ready"))),
        }
        # The context may be deleted meanwhile; its keys must not come back one by one.
        async with self._lock:
            if await self._contexts.etcd.get(path) is None:
                return
            for key, value in values.items():
                if await self._contexts.etcd.get(key) != value:
                    await self._contexts.etcd.put(key, value)

    async def _watch(self, cluster: str, connect: Callable[[], Awaitable[Edge]]) -> None:
        while True:
            try:
                edge = await connect()
                async for report in edge.reports():
                    await self.note(cluster, report)
            except (EdgeError, StoreError, json.JSONDecodeError) as error:
                self._log.info("watch of %s: %s", cluster, error)
            # A watch that ends says nothing about when the edge is back: this is its back-off.
            await asyncio.sleep(_AGAIN)
