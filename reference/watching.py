"""What edges report through ResourceBundleStates, written into the AppContexts that it is about."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from reference.contexts import Contexts, cluster_path, go_json, root
from reference.edge import Edge, EdgeError
from reference.errors import StoreError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.8, 30.0
_NOTHING: Mapping[str, Any] = {"ready": False, "resourceCount": 0}
_WITH_REPLICAS = {"deploymentStatuses": "Deployment", "statefulSetStatuses": "StatefulSet"}


class Reports:
    """One watch per edge, begun when first needed and begun again when it ends.

    at_once:          write all that a report says as one, so that a crash cannot come between
    notes_connection: write down that an edge is not seen any more, and that it is again; EMCO does only while it has
                      something to do there (R20)
    lost:             called with an edge that cannot be watched again and again (X3)
    """

    def __init__(
        self,
        *,
        contexts: Contexts,
        at_once: bool,
        notes_connection: bool,
        lost: Callable[[str], None] | None,
        log: logging.Logger,
    ) -> None:
        self._lost = lost
        self._at_once = at_once
        self._notes_connection = notes_connection
        self._contexts = contexts
        self._log = log
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._lock = asyncio.Lock()
        self._closed: set[tuple[str, str]] = set()

    def watch(self, cluster: str, connect: Callable[[], Awaitable[Edge]]) -> None:
        """Watch an edge from now on, if it is not watched yet."""
        if cluster not in self._watches:
            self._watches[cluster] = asyncio.ensure_future(self._watch(cluster, connect))

    async def note(self, cluster: str, report: Mapping[str, Any], *, always: bool = False) -> None:
        """Write one report into its context, if that is still there and says something else. Raises StoreError.

        always: write it also when the context says the same already
        """
        context, dash, app = str(report["metadata"]["name"]).partition("-")
        if not dash:
            return
        deployment = str(report["metadata"]["name"])
        status = report.get("status") or _NOTHING
        path = root(context) + cluster_path(app, cluster)
        values = {path + "status/": go_json(go_json(status).decode())}
        for name, ready in readiness(status).items():
            values[f"{path}resource/{name}/resready/"] = go_json(ready)
        values[path + "resourcesready/"] = go_json(bool(status.get("ready")))
        # The context may be deleted meanwhile; its keys must not come back one by one.
        async with self._lock:
            if (cluster, deployment) in self._closed or await self._contexts.etcd.get(path) is None:
                return
            if not always and await self._contexts.etcd.get(path + "status/") == values[path + "status/"]:
                return
            if self._at_once:
                await self._contexts.etcd.put_all(values, if_exists=[path])
                return
            for key, value in values.items():
                await self._contexts.etcd.put(key, value)

    async def close(self, cluster: str, deployment: str, resources: Sequence[str]) -> None:
        """Write what a report says in the end: nothing is there. Later ones of it are not taken. Raises StoreError."""
        context, _, app = deployment.partition("-")
        path = root(context) + cluster_path(app, cluster)
        values = {path + "status/": go_json(go_json(_NOTHING).decode()), path + "resourcesready/": go_json(False)}
        for name in resources:
            key = f"{path}resource/{name}/resready/"
            if await self._contexts.etcd.get(key) is not None:
                values[key] = go_json(False)
        async with self._lock:
            self._closed.add((cluster, deployment))
            if await self._contexts.etcd.get(path + "status/") is not None:
                await self._contexts.etcd.put_all(values, if_exists=[path])

    async def _watch(self, cluster: str, connect: Callable[[], Awaitable[Edge]]) -> None:
        pause, failures = _FIRST_PAUSE, 0
        while True:
            try:
                edge = await connect()
                async for report, listed in edge.reports():
                    # rsync takes what a watch begins with as news, also when it is not.
                    await self.note(cluster, report, always=listed and not self._at_once)
                    pause, failures = _FIRST_PAUSE, await self._seen_again(cluster, failures)
            except (EdgeError, StoreError, json.JSONDecodeError) as error:
                self._log.info("watch of %s: %s", cluster, error)
                failures += 1
                await self._not_seen(cluster, failures)
            # A watch that ends says nothing about when the edge is back: this is its back-off.
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _not_seen(self, cluster: str, failures: int) -> None:
        """One end of a watch is nothing; that it cannot be begun again is."""
        if self._notes_connection and failures == 2:
            await self._note_connection(cluster, "Retrying")
        if self._lost is not None and failures == 3:
            self._lost(cluster)

    async def _seen_again(self, cluster: str, failures: int) -> int:
        if self._notes_connection and failures >= 2:
            await self._note_connection(cluster, "Available")
        return 0

    async def _note_connection(self, cluster: str, word: str) -> None:
        """Write into every context of the edge how it is connected; what fails is written at the next change."""
        try:
            found = await self._contexts.etcd.list("/context/")
            for key in found:
                if key.endswith(f"/cluster/{cluster}/readystatus/"):
                    await self._contexts.etcd.put(key, go_json(word))
        except StoreError as error:
            self._log.warning("connection of %s: %s", cluster, error)


def readiness(status: Mapping[str, Any]) -> dict[str, bool]:
    """Which of the reported workloads are ready, by `name+Kind`; others have no readiness of their own."""
    found: dict[str, bool] = {}
    for member, kind in _WITH_REPLICAS.items():
        for item in status.get(member) or []:
            wanted = (item.get("spec") or {}).get("replicas", 1)
            name = (item.get("metadata") or {}).get("name", "")
            found[f"{name}+{kind}"] = (item.get("status") or {}).get("readyReplicas", 0) >= wanted
    return found
