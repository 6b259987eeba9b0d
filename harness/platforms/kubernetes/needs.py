"""What of the objects in a cluster the harness cannot do without. Patches may add, and change the rest."""

import json
from copy import deepcopy
from typing import Any

from harness.platforms.kubernetes.found import CONFIG_FILE

Json = dict[str, Any]
_KEYS = ("mountPath", "name", "port")  # by which the items of a list are told apart
_CONTAINER_OF_STORE = ("image", "command", "args", "env", "readinessProbe")
_WORKLOADS = ("Deployment", "StatefulSet")
# An object with these is not removed when the harness removes it, or is no longer the harness's to change.
_FOREIGN = (("metadata", "finalizers"), ("metadata", "ownerReferences"), ("immutable",))
_BESIDE = (("spec", "paused"), ("spec", "template", "spec", "hostNetwork"))


def needed_of_manifest(thing: Json) -> Json:
    """All that the harness's manifest says of an object, but what its user may choose: of stores what runs in them,
    and how large their volumes are."""
    needed = deepcopy(thing)
    if thing["kind"] == "StatefulSet":
        pod = needed["spec"]["template"]["spec"]
        pod.pop("terminationGracePeriodSeconds", None)
        for container in pod["containers"]:
            for name in _CONTAINER_OF_STORE:
                container.pop(name, None)
        claims = needed["spec"].get("volumeClaimTemplates") or []
        needed["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": one["metadata"]["name"]}} for one in claims]
    return needed


def needed_of_chart(thing: Json) -> Json:
    """What finds a service that a chart has made, and leads it to the relay."""
    metadata, spec = thing["metadata"], thing.get("spec") or {}
    labels = {name: value for name, value in (metadata.get("labels") or {}).items() if name != "chart"}
    needed: Json = {"apiVersion": thing["apiVersion"], "kind": thing["kind"]}
    needed["metadata"] = {name: metadata[name] for name in ("name", "namespace") if name in metadata} | {
        "labels": labels
    }
    if thing["kind"] in _WORKLOADS:
        pod = spec["template"]["spec"]
        mounts = [one for one in pod["containers"][0].get("volumeMounts") or () if one.get("subPath") == CONFIG_FILE]
        used = {one["name"] for one in mounts}
        containers = [
            {"name": one["name"], "image": one.get("image"), "volumeMounts": mounts} for one in pod["containers"]
        ]
        volumes = [one for one in pod.get("volumes") or () if one["name"] in used]
        template = {"metadata": {"labels": spec["template"]["metadata"].get("labels") or {}}}
        kept = {name: spec[name] for name in ("replicas", "selector") if name in spec}
        needed["spec"] = kept | {"template": template | {"spec": {"containers": containers, "volumes": volumes}}}
    elif thing["kind"] == "Service":
        needed["spec"] = {name: spec[name] for name in ("selector", "ports") if name in spec}
    elif CONFIG_FILE in (thing.get("data") or {}):
        said = _settings(thing["data"][CONFIG_FILE])
        wiring = {name: said[name] for name in ("database-ip", "etcd-ip") if name in said}
        needed["data"] = {CONFIG_FILE: json.dumps(wiring)}
    return needed


def taken(needed: Json, now: Json) -> str:
    """What a patched object has lost of what is needed, as the subject of a sentence; empty when nothing."""
    before, after = (_readable(one) for one in (needed, now))
    if loss := _lost(before, after, ""):
        return f"it would change {loss}"
    for path in (*_FOREIGN, *_BESIDE):
        if _at(after, path) and not _at(before, path):
            return f"it would set {'.'.join(path)}"
    if needed["kind"] in _WORKLOADS:
        pod = _at(after, ("spec", "template", "spec"))
        lasting = [one for one in pod.get("initContainers") or () if one.get("restartPolicy") == "Always"]
        wanted = len(needed["spec"]["template"]["spec"]["containers"])
        if len(pod["containers"]) != wanted or lasting:
            return "it would put another container beside that"
    return ""


def _readable(thing: Json) -> Json:
    """With the settings of a service as data, so that what a patch adds to them is no change of a text."""
    if CONFIG_FILE not in (thing.get("data") or {}):
        return thing
    return {**thing, "data": {**thing["data"], CONFIG_FILE: _settings(thing["data"][CONFIG_FILE])}}


def _settings(text: Any) -> Json:
    try:
        read = json.loads(text)
    except (TypeError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


def _lost(needed: Any, now: Any, path: str) -> str:
    """Path of the first thing that is needed and not there, or other than it was."""
    if isinstance(needed, dict):
        if not isinstance(now, dict):
            return path
        for name, value in needed.items():
            here = f"{path}.{name}" if path else str(name)
            if name not in now:
                if value not in (None, {}, []):
                    return here
            elif loss := _lost(value, now[name], here):
                return loss
        return ""
    if isinstance(needed, list) and needed and (key := _key(needed)):
        return _lost_items(needed, now, key, path)
    return "" if needed in ([], now) else path


def _lost_items(needed: list[Json], now: Any, key: str, path: str) -> str:
    items = [one for one in now if isinstance(one, dict)] if isinstance(now, list) else []
    for value in needed:
        here = f"{path}[{_identity(value, key)}]"
        same = [one for one in items if _identity(one, key) == _identity(value, key)]
        if len(same) != 1:  # of two with one name the cluster would take the last
            return here
        if loss := _lost(value, same[0], here):
            return loss
    return ""


def _key(items: list[Any]) -> str:
    found = (key for key in _KEYS if all(isinstance(one, dict) and _identity(one, key) is not None for one in items))
    return next(found, "")


def _identity(item: Json, key: str) -> Any:
    """Claims of a StatefulSet have their name where objects have it."""
    return item.get(key, (item.get("metadata") or {}).get(key) if key == "name" else None)


def _at(thing: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        thing = thing.get(name) if isinstance(thing, dict) else None
    return thing
