"""Whether an object on an edge runs, by its own status: what the cluster's controllers and kubelets wrote into it.

EMCO's word says that it was applied, no more: a Deployment whose pods never start is Applied as well.
"""

from collections.abc import Callable, Mapping
from typing import Any

Thing = Mapping[str, Any]

SAYS_NOTHING = "says nothing of how it is"


def not_running(thing: Thing) -> str:
    """Why an object does not run, what it is or does: `has 0 of 2 replicas ready`; empty when it runs, or is of a kind
    that does not run, such as a ConfigMap.

    One without a status does not run: its cluster has no controllers, or they have not seen it yet.
    """
    look = _LOOKS.get(str(thing.get("kind")))
    if look is None:
        return ""
    metadata, status = thing.get("metadata") or {}, thing.get("status") or {}
    if "deletionTimestamp" in metadata:
        return "is being deleted"
    observed = status.get("observedGeneration", 0 if look in _OBSERVED else None)
    if not status or observed == 0:
        return SAYS_NOTHING
    if observed is not None and observed < metadata.get("generation", 0):
        return "is not yet what it was changed to"
    return look(thing.get("spec") or {}, status)


def _deployment(spec: Thing, status: Thing) -> str:
    wanted = spec.get("replicas", 1)
    return (
        _too_few(status.get("updatedReplicas", 0), wanted, "replicas as they are to be")
        # Old ones are counted among those that are ready.
        or ("has old replicas" if status.get("replicas", 0) > wanted else "")
        or _too_few(status.get("readyReplicas", 0), wanted, "replicas ready")
    )


def _stateful_set(spec: Thing, status: Thing) -> str:
    wanted, strategy = spec.get("replicas", 1), spec.get("updateStrategy") or {}
    kept_back = strategy.get("type") == "OnDelete" or (strategy.get("rollingUpdate") or {}).get("partition", 0)
    updated = "" if kept_back else _too_few(status.get("updatedReplicas", 0), wanted, "replicas as they are to be")
    return updated or _too_few(status.get("readyReplicas", 0), wanted, "replicas ready")


def _replica_set(spec: Thing, status: Thing) -> str:
    return _too_few(status.get("readyReplicas", 0), spec.get("replicas", 1), "replicas ready")


def _daemon_set(spec: Thing, status: Thing) -> str:
    wanted = status.get("desiredNumberScheduled", 0)
    kept_back = (spec.get("updateStrategy") or {}).get("type") == "OnDelete"
    updated = "" if kept_back else _too_few(status.get("updatedNumberScheduled", 0), wanted, "pods as they are to be")
    return updated or _too_few(status.get("numberReady", 0), wanted, "pods ready")


def _pod(spec: Thing, status: Thing) -> str:  # noqa: ARG001  all have the same arguments
    phase = status.get("phase", "")
    if phase == "Succeeded" or (phase == "Running" and _conditions(status).get("Ready") == "True"):
        return ""
    return "is Running, and not ready" if phase == "Running" else f"is {phase}" if phase else SAYS_NOTHING


def _job(spec: Thing, status: Thing) -> str:  # noqa: ARG001  all have the same arguments
    conditions = _conditions(status)
    if conditions.get("Complete") == "True":
        return ""
    return "has failed" if conditions.get("Failed") == "True" else "has not come to its end"


_LOOKS: Mapping[str, Callable[[Thing, Thing], str]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "ReplicaSet": _replica_set,
    "ReplicationController": _replica_set,
    "DaemonSet": _daemon_set,
    "Pod": _pod,
    "Job": _job,
}
RUN = frozenset(_LOOKS)
"""The kinds of objects that run something."""
_OBSERVED = frozenset({_deployment, _stateful_set, _replica_set, _daemon_set})
"""Whose controllers write down which generation they have seen."""


def _too_few(there: int, wanted: int, what: str) -> str:
    return f"has {there} of {wanted} {what}" if there < wanted else ""


def _conditions(status: Thing) -> Mapping[str, str]:
    return {str(one.get("type")): str(one.get("status")) for one in status.get("conditions") or ()}
