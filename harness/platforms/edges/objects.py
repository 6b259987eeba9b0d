"""What of a cluster counts: the objects that EMCO applied, where they live, and how they are put back."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from harness.platforms.edge_emulator.monitor import LABEL
from harness.platforms.edge_emulator.storage import Key
from harness.platforms.edges.client import base_path

Json = dict[str, Any]

SELECTOR = f"labelSelector={LABEL.replace('/', '%2F')}"
"""Query for what EMCO applied: rsync labels everything, and deployments' pods as well."""

_SET_BY_SERVER = (
    "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink", "deletionTimestamp",
    "deletionGracePeriodSeconds",
)  # fmt: skip
# What a cluster's controllers write into objects of others, at their own pace.
_ADDED_ANNOTATIONS = (
    "deployment.kubernetes.io/revision",
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
)
_JOB_LABELS = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")
_FIRST = {"Namespace": 0, "CustomResourceDefinition": 0}


@dataclass(frozen=True, slots=True)
class Collection:
    """All objects of one resource, in all namespaces."""

    api_version: str
    plural: str

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def path(self) -> str:
        return f"{base_path(self.api_version)}/{self.plural}"

    def object_path(self, namespace: str, name: str = "") -> str:
        """Path of one object, or of the collection in a namespace."""
        middle = f"/namespaces/{namespace}" if namespace else ""
        return f"{base_path(self.api_version)}{middle}/{self.plural}{'/' + name if name else ''}"


def collection_of(path: str) -> Collection | None:
    """The collection that a request's path is about; None for paths that are about no objects, as /version."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) >= 3:
        version, rest = parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        version, rest = f"{parts[1]}/{parts[2]}", parts[3:]
    else:
        return None
    # namespaces/NAME/PLURAL...; but namespaces/NAME, and its status and finalize, are about the namespace
    if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] not in ("status", "finalize"):
        rest = rest[2:]
    return Collection(version, rest[0])


def listed(collection: Collection, answer: Mapping[str, Any]) -> list[tuple[Key, Json]]:
    """Objects of an answer to a list that are EMCO's own, with the kind that lists leave out of their items.

    What a controller made for one of them (the pods of a deployment) carries the label as well, and an owner.
    """
    kind = str(answer.get("kind", "")).removesuffix("List")
    found = []
    for item in answer.get("items") or ():
        metadata = item["metadata"]
        if any(owner.get("controller") for owner in metadata.get("ownerReferences") or ()):
            continue
        thing = {"apiVersion": collection.api_version, "kind": kind, **item}
        key = Key(collection.group, collection.plural, metadata.get("namespace", ""), metadata["name"])
        found.append((key, thing))
    return found


def kept(thing: Json) -> Json:
    """An object as a snapshot keeps it: without what controllers add to it at their own pace."""
    metadata = {name: value for name, value in thing["metadata"].items() if name != "managedFields"}
    annotations = {
        name: value
        for name, value in (metadata.pop("annotations", None) or {}).items()
        if name not in _ADDED_ANNOTATIONS
    }
    if annotations:
        metadata["annotations"] = annotations
    return {**thing, "metadata": metadata}


def intent(thing: Json) -> Json:
    """What whoever applied the object wants: it can be created again from this."""
    wanted = deepcopy({name: value for name, value in kept(thing).items() if name != "status"})
    metadata, spec = wanted["metadata"], wanted.get("spec") or {}
    for name in _SET_BY_SERVER:
        metadata.pop(name, None)
    if thing["kind"] == "Job" and not spec.get("manualSelector"):
        spec.pop("selector", None)  # the server makes one with the job's uid, and refuses that of another job
        for labels in (metadata.get("labels"), spec.get("template", {}).get("metadata", {}).get("labels")):
            for name in _JOB_LABELS:
                (labels or {}).pop(name, None)
        metadata["finalizers"] = [one for one in metadata.get("finalizers", ()) if not one.startswith("batch.k")]
    if thing["kind"] == "PersistentVolumeClaim":
        spec.pop("volumeName", None)  # of a volume that went with the claim
    if thing["kind"] == "Namespace":
        wanted.pop("spec", None)
    if not metadata.get("finalizers"):
        metadata.pop("finalizers", None)
    return wanted


def creation_order(things: Sequence[Json]) -> list[Json]:
    """What others live in or are made of comes first."""
    return sorted(things, key=lambda thing: _FIRST.get(thing["kind"], 1))
