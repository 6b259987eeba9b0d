"""What EMCO's monitor does on an edge: it keeps a ResourceBundleState's status true to the objects it stands for."""

import base64
from collections.abc import Iterable
from typing import Any

import msgspec

from harness.platforms.edge_emulator.storage import Change, Key, Storage

Json = dict[str, Any]

LABEL = "emco/deployment-id"
GROUP, PLURAL = "k8splugin.io", "resourcebundlestates"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# Resources with a list of their own in the status, and those that are listed as group, version, kind and raw object.
_LISTS = {
    ("", "pods"): "podStatuses",
    ("", "services"): "serviceStatuses",
    ("", "configmaps"): "configMapStatuses",
    ("apps", "deployments"): "deploymentStatuses",
    ("apps", "daemonsets"): "daemonSetStatuses",
    ("certificates.k8s.io", "certificatesigningrequests"): "csrStatuses",
    ("batch", "jobs"): "jobStatuses",
    ("apps", "statefulsets"): "statefulSetStatuses",
}
_RAW = frozenset(
    {
        ("rbac.authorization.k8s.io", "roles"),
        ("rbac.authorization.k8s.io", "rolebindings"),
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
        ("", "resourcequotas"),
        ("", "namespaces"),
    }
)


class Monitor:
    """Listens to a storage and writes statuses into it. Objects of cluster scope count as those of `default`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def on_change(self, change: Change) -> None:
        """Bring the status of the bundle states that the changed object belongs, or belonged, to up to date."""
        key = change.key
        if (key.group, key.plural) == (GROUP, PLURAL):
            if change.kind == "created":
                self._refresh(key)
        elif (key.group, key.plural) in _LISTS or (key.group, key.plural) in _RAW:
            for name in {_label(change.new), _label(change.old)} - {""}:
                self._refresh(Key(GROUP, PLURAL, key.namespace or "default", name))

    def _refresh(self, key: Key) -> None:
        state = self._storage.get(key)
        if state is None:
            return
        status = bundle_status(self._storage.items(), key)
        if state.get("status") != status:
            self._storage.put(key, {**state, "status": status})


def bundle_status(objects: Iterable[tuple[Key, Json]], key: Key) -> Json:
    """The status of the ResourceBundleState `key`, from all objects there are."""
    lists: dict[str, list[Json]] = {}
    ready: list[bool] = []
    for place, obj in objects:
        if (place.namespace or "default") != key.namespace or _label(obj) != key.name:
            continue
        resource = (place.group, place.plural)
        if resource in _LISTS:
            lists.setdefault(_LISTS[resource], []).append(_listed(obj, place.plural))
            ready.append(is_ready(place.plural, obj))
        elif resource in _RAW:
            lists.setdefault("resourceStatuses", []).append(_raw(obj, place))
    count = sum(len(listed) for listed in lists.values())
    return {"ready": count > 0 and all(ready), "resourceCount": count, **lists}


def is_ready(plural: str, obj: Json) -> bool:
    """Whether an object is what its readers call ready; kinds that have no such notion always are."""
    status, spec = obj.get("status") or {}, obj.get("spec") or {}
    if plural in ("deployments", "statefulsets"):
        return bool(status.get("readyReplicas", 0) >= spec.get("replicas", 1))
    if plural == "daemonsets":
        return bool(status.get("numberReady", 0) >= status.get("desiredNumberScheduled", 1))
    if plural == "jobs":
        return bool(status.get("succeeded", 0) >= spec.get("completions", 1))
    if plural == "pods":
        conditions = {c["type"]: c["status"] for c in status.get("conditions", ())}
        return conditions.get("Ready") == "True" or status.get("phase") == "Succeeded"
    if plural == "services" and spec.get("type") == "LoadBalancer":
        return bool(status.get("loadBalancer", {}).get("ingress"))
    if plural == "certificatesigningrequests":
        return bool(status.get("certificate"))
    return True


def _label(obj: Json | None) -> str:
    return str(((obj or {}).get("metadata", {}).get("labels") or {}).get(LABEL, ""))


def _slim(obj: Json) -> Json:
    metadata = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    annotations = metadata.get("annotations") or {}
    if _LAST_APPLIED in annotations:
        metadata["annotations"] = {**annotations, _LAST_APPLIED: ""}
    return {**obj, "metadata": metadata}


def _listed(obj: Json, plural: str) -> Json:
    slim = _slim(obj)
    if plural == "configmaps":
        return {name: slim[name] for name in ("apiVersion", "kind", "metadata")}
    return slim


def _raw(obj: Json, key: Key) -> Json:
    group, _, version = obj["apiVersion"].rpartition("/")
    raw = base64.b64encode(msgspec.json.encode(_slim(obj))).decode()
    entry = {"group": group, "version": version, "kind": obj["kind"], "name": key.name, "res": raw}
    return {**entry, "namespace": key.namespace} if key.namespace else entry
