"""What a cluster adds to what clients write: defaults that clients rely on, and the status its controllers would set.

Only as much as clients of an edge need: rsync dereferences `spec.replicas`, `backoffLimit` and such without asking.
Everything becomes ready at once, or never. No controller makes objects: a Deployment has no ReplicaSet and no pods.
"""

import base64
from collections.abc import Callable
from copy import deepcopy
from typing import Any

Json = dict[str, Any]


def with_defaults(kind: str, obj: Json, *, old: Json | None, taken: Callable[[], set[str]]) -> Json:
    """`obj` with the defaults of its kind.

    old:   the object as it was before an update, for fields that a client may leave out and the cluster keeps
    taken: the cluster addresses in use, asked only when one is needed
    """
    obj = dict(obj)
    if kind in _SPEC_DEFAULTS:
        obj["spec"] = _filled(obj.get("spec") or {}, _SPEC_DEFAULTS[kind])
    if kind == "Service":
        obj["spec"] = _service(obj["spec"], (old or {}).get("spec", {}), taken)
    elif kind == "Namespace":
        labels = {"kubernetes.io/metadata.name": obj["metadata"]["name"], **(obj["metadata"].get("labels") or {})}
        obj["metadata"] = {**obj["metadata"], "labels": labels}
    elif kind == "Secret":
        obj = _secret(obj)
    return obj


def status_of(kind: str, obj: Json, *, ready: bool, now: str) -> Json | None:
    """The status that the controllers would set for this spec; None for kinds whose status nobody sets."""
    if kind not in _STATUS:
        return None
    status = _STATUS[kind](obj, ready, now)
    before = {(c["type"], c["status"]): c for c in (obj.get("status") or {}).get("conditions", ())}
    if "conditions" in status:
        # A condition that has not changed keeps its times.
        status["conditions"] = [before.get((c["type"], c["status"]), c) for c in status["conditions"]]
    return status


_ROLLING = {"type": "RollingUpdate"}
_SPEC_DEFAULTS: dict[str, Json] = {
    "Deployment": {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
        "strategy": {**_ROLLING, "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
    },
    "StatefulSet": {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "podManagementPolicy": "OrderedReady",
        "updateStrategy": {**_ROLLING, "rollingUpdate": {"partition": 0}},
    },
    "DaemonSet": {
        "revisionHistoryLimit": 10,
        "updateStrategy": {**_ROLLING, "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
    },
    "ReplicaSet": {"replicas": 1},
    "Job": {"completions": 1, "parallelism": 1, "backoffLimit": 6, "suspend": False},
    "Pod": {"restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst"},
    "Service": {"type": "ClusterIP", "sessionAffinity": "None"},
    "Namespace": {"finalizers": ["kubernetes"]},
    "PersistentVolumeClaim": {"volumeMode": "Filesystem"},
}


def _filled(spec: Json, defaults: Json) -> Json:
    filled = {**deepcopy(defaults), **{name: value for name, value in spec.items() if value is not None}}
    for name in ("strategy", "updateStrategy"):
        given = spec.get(name)
        if given and given.get("type", "RollingUpdate") == "RollingUpdate":
            rolling = {**defaults[name]["rollingUpdate"], **(given.get("rollingUpdate") or {})}
            filled[name] = {**given, **_ROLLING, "rollingUpdate": rolling}
    return filled


def _service(spec: Json, old: Json, taken: Callable[[], set[str]]) -> Json:
    spec = dict(spec)
    if spec.get("ports"):
        spec["ports"] = [{"protocol": "TCP", "targetPort": port.get("port"), **port} for port in spec["ports"]]
    if spec["type"] == "ExternalName":
        return spec
    if not spec.get("clusterIP"):
        spec["clusterIP"] = old.get("clusterIP") or _free_address(taken())
    spec["clusterIPs"] = [spec["clusterIP"]]
    return spec


def _free_address(taken: set[str]) -> str:
    candidates = (f"10.96.{high}.{low}" for high in range(256) for low in range(10, 250))
    return next(address for address in candidates if address not in taken)


def _secret(obj: Json) -> Json:
    given = obj.pop("stringData", None) or {}
    encoded = {name: base64.b64encode(str(value).encode()).decode() for name, value in given.items()}
    if encoded:
        obj["data"] = {**(obj.get("data") or {}), **encoded}
    return {"type": "Opaque", **obj}


def _condition(kind: str, status: bool, reason: str, now: str) -> Json:
    return {"type": kind, "status": str(status), "reason": reason, "message": "", "lastTransitionTime": now}


def _deployment(obj: Json, ready: bool, now: str) -> Json:
    replicas = obj["spec"]["replicas"]
    up = replicas if ready else 0
    available = _condition("Available", ready, f"MinimumReplicas{'Available' if ready else 'Unavailable'}", now)
    progress = "NewReplicaSetAvailable" if ready else "ReplicaSetUpdated"
    return {
        "observedGeneration": obj["metadata"]["generation"],
        "replicas": replicas,
        "updatedReplicas": replicas,
        "readyReplicas": up,
        "availableReplicas": up,
        "unavailableReplicas": replicas - up,
        "conditions": [
            {**available, "lastUpdateTime": now},
            {**_condition("Progressing", True, progress, now), "lastUpdateTime": now},
        ],
    }


def _stateful_set(obj: Json, ready: bool, now: str) -> Json:
    replicas = obj["spec"]["replicas"]
    up = replicas if ready else 0
    # One revision per generation, as the controller's hash changes with the template.
    revision = f"{obj['metadata']['name']}-{obj['metadata']['generation']}"
    return {
        "observedGeneration": obj["metadata"]["generation"],
        "replicas": replicas,
        "readyReplicas": up,
        "availableReplicas": up,
        "currentReplicas": replicas,
        "updatedReplicas": replicas,
        "currentRevision": revision,
        "updateRevision": revision,
        "collisionCount": 0,
    }


def _replica_set(obj: Json, ready: bool, now: str) -> Json:
    replicas = obj["spec"]["replicas"]
    up = replicas if ready else 0
    generation = obj["metadata"]["generation"]
    return {"observedGeneration": generation, "replicas": replicas, "readyReplicas": up, "availableReplicas": up}


def _daemon_set(obj: Json, ready: bool, now: str) -> Json:
    up = int(ready)  # a cluster of one node
    return {
        "observedGeneration": obj["metadata"]["generation"],
        "desiredNumberScheduled": 1,
        "currentNumberScheduled": 1,
        "updatedNumberScheduled": 1,
        "numberMisscheduled": 0,
        "numberReady": up,
        "numberAvailable": up,
        "numberUnavailable": 1 - up,
    }


def _job(obj: Json, ready: bool, now: str) -> Json:
    started = (obj.get("status") or {}).get("startTime", now)
    if not ready:
        return {"startTime": started, "active": obj["spec"]["parallelism"], "ready": 0}
    complete = {**_condition("Complete", True, "CompletionsReached", now), "lastProbeTime": now}
    done = obj["spec"]["completions"]
    return {"startTime": started, "completionTime": now, "succeeded": done, "active": 0, "conditions": [complete]}


def _pod(obj: Json, ready: bool, now: str) -> Json:
    # A hook runs to its end, everything else runs on.
    hook = "helm.sh/hook" in (obj["metadata"].get("annotations") or {})
    phase = "Pending" if not ready else "Succeeded" if hook else "Running"
    serving = ready and not hook
    steps = {"PodScheduled": True, "Initialized": ready, "ContainersReady": serving, "Ready": serving}
    containers = [
        {"name": c["name"], "image": c.get("image", ""), "imageID": "", "ready": serving, "restartCount": 0}
        for c in obj["spec"].get("containers", ())
    ]
    return {
        "phase": phase,
        "startTime": (obj.get("status") or {}).get("startTime", now),
        "conditions": [_condition(step, status, "", now) for step, status in steps.items()],
        "containerStatuses": containers,
    }


def _service_status(obj: Json, ready: bool, now: str) -> Json:
    if obj["spec"]["type"] != "LoadBalancer" or not ready:
        return {"loadBalancer": {}}
    return {"loadBalancer": {"ingress": [{"ip": obj["spec"]["clusterIP"].replace("10.96.", "10.97.", 1)}]}}


def _namespace(obj: Json, ready: bool, now: str) -> Json:
    return {"phase": "Terminating" if "deletionTimestamp" in obj["metadata"] else "Active"}


def _claim(obj: Json, ready: bool, now: str) -> Json:
    if not ready:
        return {"phase": "Pending"}
    spec = obj["spec"]
    capacity = (spec.get("resources") or {}).get("requests", {})
    return {"phase": "Bound", "accessModes": spec.get("accessModes", []), "capacity": capacity}


def _definition(obj: Json, ready: bool, now: str) -> Json:
    spec = obj["spec"]
    return {
        "acceptedNames": spec["names"],
        "storedVersions": [version["name"] for version in spec["versions"] if version.get("storage")],
        "conditions": [
            _condition("NamesAccepted", True, "NoConflicts", now),
            _condition("Established", True, "InitialNamesAccepted", now),
        ],
    }


_STATUS: dict[str, Callable[[Json, bool, str], Json]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "ReplicaSet": _replica_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "Pod": _pod,
    "Service": _service_status,
    "Namespace": _namespace,
    "PersistentVolumeClaim": _claim,
    "CustomResourceDefinition": _definition,
}
