"""What a cluster's controllers and EMCO's monitor would do, where nobody else does it: an API server alone has neither.

Level-triggered: each pass looks at what there is and does what is missing. The logic of statuses is the emulator's.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from harness.platforms.edge_emulator.behaviour import status_of
from harness.platforms.edge_emulator.monitor import GROUP, PLURAL, bundle_status
from harness.platforms.edge_emulator.storage import Key
from harness.platforms.edges.client import MERGE_PATCH, ApiClient, Refused
from harness.platforms.edges.objects import Collection

Json = dict[str, Any]

_RUNNING = frozenset({"Deployment", "StatefulSet", "ReplicaSet", "DaemonSet", "Job", "Pod", "PersistentVolumeClaim"})
# Removed by the garbage collector and by the controllers of volumes.
_FINALIZERS = frozenset({"foregroundDeletion", "orphan", "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"})
_CONFLICT, _GONE = 409, 404


class Controllers:
    """One cluster's stand-ins.

    own:     nobody else is at work there: workloads get a status, deletions are brought to their end
    reports: EMCO's monitor is not there: ResourceBundleStates get their status
    now:     wall clock in seconds

    runs: whether workloads come to run, where nobody else decides on it; may be changed
    """

    def __init__(self, client: ApiClient, *, own: bool, reports: bool, now: Callable[[], float]) -> None:
        self.own = own
        self.runs = True
        self._client = client
        self._reports = reports
        self._now = now

    async def act(self, found: Sequence[tuple[Key, Json]]) -> bool:
        """Do what is missing on these objects; whether anything was done. Raises HarnessTrouble."""
        acted = False
        if self.own:
            for key, thing in found:
                acted |= await self._own_act(key, thing)
        if self._reports:
            for key, thing in found:
                if (key.group, key.plural) == (GROUP, PLURAL) and "deletionTimestamp" not in thing["metadata"]:
                    acted |= await self._set_status(key, thing, bundle_status(found, key))
        return acted

    async def _own_act(self, key: Key, thing: Json) -> bool:
        if "deletionTimestamp" in thing["metadata"]:
            return await (self._end_namespace(key) if thing["kind"] == "Namespace" else self._end(key, thing))
        if thing["kind"] not in _RUNNING or (not self.runs and _is_over(thing)):
            return False
        now = datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = status_of(thing["kind"], thing, ready=self.runs, now=now)
        if status is not None and thing["kind"] == "Job" and self.runs:  # asked for since Kubernetes 1.31
            complete = status["conditions"][0]
            status["conditions"] = [{**complete, "type": "SuccessCriteriaMet"}, complete]
            known = {one["type"]: one for one in (thing.get("status") or {}).get("conditions", ())}
            status["conditions"] = [known.get(one["type"], one) for one in status["conditions"]]
            status["completionTime"] = (thing.get("status") or {}).get("completionTime", status["completionTime"])
        return status is not None and await self._set_status(key, thing, status)

    async def _set_status(self, key: Key, thing: Json, status: Json) -> bool:
        if _said(thing.get("status") or {}) == _said(status):
            return False
        collection = Collection(thing["apiVersion"], key.plural)
        path = f"{collection.object_path(key.namespace, key.name)}/status"
        # It changed or went meanwhile: the next pass sees that.
        await self._client.ask("PUT", path, {**thing, "status": status}, accept=(_CONFLICT, _GONE))
        return True

    async def _end(self, key: Key, thing: Json) -> bool:
        finalizers = thing["metadata"].get("finalizers") or []
        left = [one for one in finalizers if one not in _FINALIZERS]
        if left == finalizers:
            return False
        path = Collection(thing["apiVersion"], key.plural).object_path(key.namespace, key.name)
        patch = {"metadata": {"finalizers": left, "resourceVersion": thing["metadata"]["resourceVersion"]}}
        await self._client.ask("PATCH", path, patch, content=MERGE_PATCH, accept=(_CONFLICT, _GONE))
        return True

    async def _end_namespace(self, key: Key) -> bool:
        """Remove what is in it, then itself, as the namespace controller does."""
        for version, entry in await self._client.all_resources():
            if entry["namespaced"] and "deletecollection" in entry["verbs"]:
                collection = Collection(version, entry["name"]).object_path(key.name)
                await self._client.ask("DELETE", collection, {"gracePeriodSeconds": 0}, accept=(_GONE,))
        path = f"/api/v1/namespaces/{key.name}"
        thing = await self._client.ask("GET", path, accept=(_GONE,))
        if thing.get("kind") != "Namespace":
            return True
        try:
            await self._client.ask("PUT", f"{path}/finalize", {**thing, "spec": {"finalizers": []}}, accept=(_GONE,))
        except Refused as refused:
            if refused.status != _CONFLICT:
                raise
        return True


def _is_over(thing: Json) -> bool:
    """Whether a job or pod has come to its end: it stays so, whatever becomes of the nodes."""
    status = thing.get("status") or {}
    return thing["kind"] in ("Job", "Pod") and bool(status.get("completionTime") or status.get("phase") == "Succeeded")


def _said(value: Any) -> Any:
    """Without what is zero or empty: API servers leave that out of what they answer."""
    if isinstance(value, dict):
        return {name: said for name, member in value.items() if (said := _said(member)) not in (0, "", None, [], {})}
    if isinstance(value, list):
        return [_said(member) for member in value]
    return value
