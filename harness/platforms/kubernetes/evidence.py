"""What a cluster says of its pods when something went wrong: events, states, logs, versions; in the run's folder.

Nothing gets there as it was found: pods are redacted as data, since a name and its secret value stand on two lines of
YAML; what kind exports is written elsewhere first, and taken over file by file.
"""

import asyncio
import base64
import binascii
import contextlib
import json
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from harness.evidence.redaction import Redactor, is_secret_name
from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.client import ApiClient
from harness.stores.mongo import StoreError
from harness.wire.links import RelayError

Json = dict[str, Any]
_MOST = 5  # a run in which everything fails says the same again and again
_LOG_LINES = 2000
_PIECE = 1024 * 1024  # characters of a file that are redacted at once
_TELLING = 8  # characters from which on a value of a Secret is masked wherever it stands, whatever its name
_CLUSTERS_OWN = re.compile(r"kube-|local-path-storage$")  # namespaces without which a cluster of kind is none
_RELEASE = "helm.sh/release.v1"  # Helm's own bookkeeping, large, compressed


class ClusterEvidence:
    """Of one cluster, and of those beside it that are edges of its EMCO.

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
        self._edges: dict[str, ApiClient] = {}

    def beside(self, edge: str, api: ApiClient) -> None:
        """What runs on this edge is told as well, the cluster's own namespaces left out."""
        self._edges[edge] = api

    def knows(self, *secrets: str) -> None:
        """These are secret wherever they stand."""
        known = {*self._redactor.known, *filter(None, secrets)}
        self._redactor = replace(self._redactor, known=tuple(sorted(known)))

    async def keep(self, about: str) -> str:
        """Write down how things are now; where, and empty where that was done often enough.

        What cannot be had is written down as such: whatever went wrong must not be hidden by this.
        """
        if self._kept >= _MOST:
            return ""
        self._kept += 1
        folder = self._folder / "cluster" / f"{self._kept}-{re.sub(r'[^A-Za-z0-9.-]+', '-', about)[:80]}"
        folder.mkdir(parents=True)
        await self._tell(self._api, self._namespaces, folder)
        self._write(folder / "versions.json", json.dumps(await self._all_versions(), indent=1))
        for edge, api in self._edges.items():
            place = folder / f"edge-{edge}"
            place.mkdir()
            try:
                listed = (await api.ask("GET", "/api/v1/namespaces")).get("items") or ()
            except HarnessTrouble as trouble:
                self._write(place / "namespaces.missing.txt", str(trouble))
            else:
                names = (str(one["metadata"]["name"]) for one in listed)
                await self._tell(api, [name for name in names if not _CLUSTERS_OWN.match(name)], place)
        if self._kept == 1:
            await self._take_export(folder)
        return str(folder)

    async def _tell(self, api: ApiClient, namespaces: Sequence[str], folder: Path) -> None:
        await self._learn_secrets(api, namespaces, folder)
        for namespace in namespaces:
            try:
                await self._namespace(api, namespace, folder)
            except HarnessTrouble as trouble:
                self._write(folder / f"{namespace}.missing.txt", str(trouble))

    async def _learn_secrets(self, api: ApiClient, namespaces: Sequence[str], folder: Path) -> None:
        """What the namespaces' Secrets hold may stand in any log."""
        for namespace in namespaces:
            try:
                listed = (await api.ask("GET", f"/api/v1/namespaces/{namespace}/secrets")).get("items") or ()
            except HarnessTrouble as trouble:
                self._write(folder / f"{namespace}.secrets.missing.txt", str(trouble))
            else:
                self.knows(*(value for one in listed if one.get("type") != _RELEASE for value in _values(one)))

    async def _take_export(self, folder: Path) -> None:
        """Take over what is text; what is not, nobody could redact."""
        with tempfile.TemporaryDirectory(prefix="emco-chaos-") as name:
            raw, missing = Path(name) / "kind", []
            try:
                await self._export(raw)
            except HarnessTrouble as trouble:
                missing.append(str(trouble))
            dropped = await asyncio.to_thread(redacted_copy, raw, folder / "kind", self._redactor)
        if dropped:
            missing.append(f"left out, as they are no text: {', '.join(dropped)}")
        if missing:
            self._write(folder / "kind.missing.txt", "\n".join(missing))

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

    async def _namespace(self, api: ApiClient, namespace: str, folder: Path) -> None:
        path = f"/api/v1/namespaces/{namespace}"
        events = (await api.ask("GET", f"{path}/events")).get("items") or []
        pods = (await api.ask("GET", f"{path}/pods")).get("items") or []
        self._write(folder / f"{namespace}.events.txt", "\n".join(map(event_line, sorted(events, key=_when))))
        for pod in pods:
            name = pod["metadata"]["name"]
            own = [one for one in events if one.get("involvedObject", {}).get("uid") == pod["metadata"]["uid"]]
            self._write(
                folder / f"{namespace}.{name}.yaml", described(self._redactor.data(pod), self._redactor.data(own))
            )
            for previous in (False, True):
                query = f"tailLines={_LOG_LINES}&previous={str(previous).lower()}"
                try:
                    text = await api.text(f"{path}/pods/{name}/log", query=query)
                except HarnessTrouble:
                    continue  # there was no container before this one, or there is none yet: its state says so
                self._write(folder / f"{namespace}.{name}{'.previous' if previous else ''}.log", text)

    def _write(self, file: Path, text: str) -> None:
        file.write_text(self._redactor.text(text), encoding="utf-8", errors="backslashreplace")


@contextlib.asynccontextmanager
async def kept_on_failure(evidence: ClusterEvidence | None, about: str) -> AsyncIterator[None]:
    """Whatever is trouble inside says afterwards where its evidence is. Raises HarnessTrouble for it."""
    try:
        yield
    except (HarnessTrouble, RelayError, StoreError) as trouble:
        place = await evidence.keep(about) if evidence is not None else ""
        raise HarnessTrouble(f"{trouble}{f'; evidence: {place}' if place else ''}") from trouble


def redacted_copy(source: Path, target: Path, redactor: Redactor) -> tuple[str, ...]:
    """Copy the text files of a folder without secrets; the names of those that are no text, or lead elsewhere."""
    dropped = []
    for file in sorted(source.rglob("*")) if source.is_dir() else ():
        name = file.relative_to(source)
        if file.is_dir() and not file.is_symlink():
            continue
        if file.is_symlink() or not file.is_file() or not _is_text(file):
            dropped.append(redactor.text(str(name)))
            continue
        place = target / redactor.text(str(name))
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("w", encoding="utf-8", errors="backslashreplace") as copy:
            copy.writelines(map(redactor.text, _pieces(file)))
    return tuple(dropped)


def _is_text(file: Path) -> bool:
    with file.open("rb") as opened:
        return all(b"\0" not in piece for piece in iter(lambda: opened.read(_PIECE), b""))


def _pieces(file: Path) -> Iterator[str]:
    """Whole where it is not too long, for JSON is redacted as data; else some thousand lines at a time."""
    with file.open(encoding="utf-8", errors="backslashreplace", newline="") as opened:
        while lines := opened.readlines(_PIECE):
            yield "".join(lines)


def _values(secret: Json) -> Iterator[str]:
    """What is secret in a Secret: values with a telling name, and all that are not too short to be words."""
    for name, value in (secret.get("data") or {}).items():
        try:
            text = base64.b64decode(value).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue  # nothing that a text could hold
        if is_secret_name(name) or len(text) >= _TELLING:
            yield text


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
