"""What a cluster says of its pods when something went wrong: events, states, logs, versions; in the run's folder."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from harness.evidence.redaction import Redactor
from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.client import ApiClient

Json = dict[str, Any]
_MOST = 5  # a run in which everything fails says the same again and again
_LOG_LINES = 2000


class ClusterEvidence:
    """Of one cluster.

    folder: of the run; nothing is made in it before something is kept;  export: writes what only the node has, and
    takes its time: done once;  versions: of the programs around the cluster
    """

    def __init__(
        self,
        api: ApiClient,
        namespaces: Sequence[str],
        folder: Path,
        redactor: Redactor,
        *,
        export: Callable[[Path], Awaitable[None]],
        versions: Callable[[], Awaitable[Mapping[str, str]]],
    ) -> None:
        self._api = api
        self._namespaces = tuple(namespaces)
        self._folder = folder
        self._redactor = redactor
        self._export = export
        self._versions = versions
        self._kept = 0

    async def keep(self, about: str) -> str:
        """Write down how things are now; where, and empty where that was done often enough.

        What cannot be had is written down as such: whatever went wrong must not be hidden by this.
        """
        if self._kept >= _MOST:
            return ""
        self._kept += 1
        folder = self._folder / "cluster" / f"{self._kept}-{re.sub(r'[^A-Za-z0-9.-]+', '-', about)[:80]}"
        folder.mkdir(parents=True)
        self._write(folder / "versions.json", json.dumps(await self._all_versions(), indent=1))
        for namespace in self._namespaces:
            try:
                await self._namespace(namespace, folder)
            except HarnessTrouble as trouble:
                self._write(folder / f"{namespace}.missing.txt", str(trouble))
        if self._kept == 1:
            try:
                await self._export(folder / "kind")
            except HarnessTrouble as trouble:
                self._write(folder / "kind.missing.txt", str(trouble))
        return str(folder)

    async def _all_versions(self) -> Json:
        try:
            nodes = await self._api.ask("GET", "/api/v1/nodes")
            info = {one["metadata"]["name"]: one["status"]["nodeInfo"] for one in nodes.get("items") or ()}
        except HarnessTrouble as trouble:
            info = {"missing": str(trouble)}
        try:
            return {"nodes": info, **await self._versions()}
        except HarnessTrouble as trouble:
            return {"nodes": info, "missing": str(trouble)}

    async def _namespace(self, namespace: str, folder: Path) -> None:
        path = f"/api/v1/namespaces/{namespace}"
        events = (await self._api.ask("GET", f"{path}/events")).get("items") or []
        pods = (await self._api.ask("GET", f"{path}/pods")).get("items") or []
        self._write(folder / f"{namespace}.events.txt", "\n".join(map(event_line, sorted(events, key=_when))))
        for pod in pods:
            name = pod["metadata"]["name"]
            own = [one for one in events if one.get("involvedObject", {}).get("uid") == pod["metadata"]["uid"]]
            self._write(folder / f"{namespace}.{name}.yaml", described(pod, own))
            for previous in (False, True):
                query = f"tailLines={_LOG_LINES}&previous={str(previous).lower()}"
                try:
                    text = await self._api.text(f"{path}/pods/{name}/log", query=query)
                except HarnessTrouble:
                    continue  # there was no container before this one, or there is none yet: its state says so
                self._write(folder / f"{namespace}.{name}{'.previous' if previous else ''}.log", text)

    def _write(self, file: Path, text: str) -> None:
        file.write_text(self._redactor.text(text), encoding="utf-8", errors="backslashreplace")


def described(pod: Json, events: Sequence[Json]) -> str:
    """A pod with its events, as YAML, without what only the API server's bookkeeping needs."""
    metadata = {name: value for name, value in pod["metadata"].items() if name != "managedFields"}
    shown = {"metadata": metadata, "spec": pod.get("spec"), "status": pod.get("status")}
    return yaml.safe_dump({**shown, "events": [event_line(one) for one in sorted(events, key=_when)]}, sort_keys=False)


def event_line(event: Json) -> str:
    """When, how often, about what, and the sentence."""
    about = event.get("involvedObject") or {}
    count = event.get("count") or 1
    what = f"{about.get('kind')} {about.get('name')}"
    return (
        f"{_when(event)} {event.get('type')} {count}x {what}: {event.get('reason')}: {event.get('message', '')}".strip()
    )


def _when(event: Json) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
