"""EMCO's resources: their REST paths, keys, parents and references.

In a path, each parameter has the name of the key field that it fills, so that the path of a resource says its key and,
without its own fields, its parent's.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reference import shapes
from reference.records import Key
from reference.shapes import Shape

Stored = Mapping[str, Any]


def _named(stored: Stored) -> tuple[str, ...]:
    return (stored["metadata"]["name"],)


def _no_references(_: Key, __: Stored) -> list[Key]:
    return []


def _no_fields(_: Stored) -> dict[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of record.

    path:       of the list, below /v2;  own: the key fields that name one in it, the last one is the kind's name
    names:      the values of the own fields, from the stored data
    constant:   key fields that are the same for all (a controller's group)
    references: keys of the records that one refers to
    fields:     extra fields by which one is looked up, written by a separate `update`
    tag:        the sub-document that holds the data; only `data` is checked against the schema
    switch:     the defect that makes several writes of one
    replaced:   the status that answers a PUT on one that is there
    """

    path: str
    own: tuple[str, ...]
    shape: Shape
    names: Callable[[Stored], tuple[str, ...]] = _named
    constant: Mapping[str, str] = field(default_factory=dict)
    references: Callable[[Key, Stored], list[Key]] = _no_references
    fields: Callable[[Stored], dict[str, str]] = _no_fields
    tag: str = "data"
    switch: str = ""
    replaced: int = 201

    @property
    def name(self) -> str:
        return self.own[-1]

    @property
    def item_path(self) -> str:
        return self.path + "".join(f"/{{{name}}}" for name in self.own)

    @property
    def parent_fields(self) -> tuple[str, ...]:
        return tuple(re.findall(r"{(\w+)}", self.path))

    @property
    def key_fields(self) -> tuple[str, ...]:
        return (*self.parent_fields, *self.own, *self.constant)

    def parent(self, key: Key) -> Key | None:
        """The key of the parent; None for a resource at the top."""
        found = {name: key[name] for name in self.parent_fields}
        return found or None


def _pick(key: Key, *names: str) -> dict[str, str]:
    return {name: key[name] for name in names}


def _group_references(key: Key, stored: Stored) -> list[Key]:
    spec = stored["spec"]
    cloud = {"project": key["project"], "logicalCloud": spec["logicalcloud"]}
    profile = {**_pick(key, "project", "compositeApp", "compositeAppVersion"), "compositeProfile": spec["profile"]}
    return [cloud, profile]


def _app_of(key: Key, stored: Stored) -> Key:
    return {**_pick(key, "project", "compositeApp", "compositeAppVersion"), "app": stored["spec"]["appname"]}


def _app_intent_references(key: Key, stored: Stored) -> list[Key]:
    intent = stored["spec"]["intent"]
    clusters: dict[tuple[str, str], Key] = {}
    for item in intent["allofarray"] or []:
        for one in [item, *(item["anyofarray"] or [])]:
            _note_cluster(clusters, one)
    for one in intent["anyofarray"] or []:
        _note_cluster(clusters, one)
    return [_app_of(key, stored), *clusters.values()]


def _note_cluster(clusters: dict[tuple[str, str], Key], one: Stored) -> None:
    if one["clustername"]:
        key = {"clusterProvider": one["providername"], "cluster": one["clustername"]}
        clusters[(one["providername"], one["clustername"])] = key


def _cluster_of(_: Key, stored: Stored) -> list[Key]:
    spec = stored["specification"]
    return [{"clusterProvider": spec["clusterprovider"], "cluster": spec["clustername"]}]


def _intent_controllers(_: Key, stored: Stored) -> list[Key]:
    names = [name for name in stored["spec"]["intent"] if name != "genericPlacementIntent"]
    return [{"controller": name, "controllerGroup": "orchestrator"} for name in names]


def _app_field(stored: Stored) -> dict[str, str]:
    return {"app": stored["spec"]["appname"]}


_CA = "/projects/{project}/composite-apps/{compositeApp}/{compositeAppVersion}"
_DIG = _CA + "/deployment-intent-groups/{deploymentIntentGroup}"
_GPI = _DIG + "/generic-placement-intents/{genericPlacementIntent}"
_LC = "/projects/{project}/logical-clouds/{logicalCloud}"
_CP = "/cluster-providers/{clusterProvider}"

PROJECT = Resource("/projects", ("project",), shapes.NAMED, replaced=200)
CONTROLLER = Resource("/controllers", ("controller",), shapes.CONTROLLER, constant={"controllerGroup": "orchestrator"})
COMPOSITE_APP = Resource(
    "/projects/{project}/composite-apps",
    ("compositeApp", "compositeAppVersion"),
    shapes.COMPOSITE_APP,
    names=lambda stored: (stored["metadata"]["name"], stored["spec"]["version"]),
)
APP = Resource(_CA + "/apps", ("app",), shapes.NAMED, switch="A2")
COMPOSITE_PROFILE = Resource(_CA + "/composite-profiles", ("compositeProfile",), shapes.NAMED)
APP_PROFILE = Resource(
    _CA + "/composite-profiles/{compositeProfile}/profiles",
    ("appProfile",),
    shapes.APP_PROFILE,
    references=lambda key, stored: [_app_of(key, stored)],
    fields=_app_field,
    switch="A3",
)
GROUP = Resource(
    _CA + "/deployment-intent-groups",
    ("deploymentIntentGroup",),
    shapes.DEPLOYMENT_INTENT_GROUP,
    references=_group_references,
    switch="A1",
)
PLACEMENT_INTENT = Resource(
    _DIG + "/generic-placement-intents", ("genericPlacementIntent",), shapes.NAMED, replaced=200
)
APP_INTENT = Resource(
    _GPI + "/app-intents",
    ("genericAppPlacementIntent",),
    shapes.APP_INTENT,
    references=_app_intent_references,
    fields=_app_field,
    switch="A4",
    replaced=200,
)
GROUP_INTENT = Resource(
    _DIG + "/intents", ("groupIntent",), shapes.GROUP_INTENT, references=_intent_controllers, replaced=200
)

PROVIDER = Resource("/cluster-providers", ("clusterProvider",), shapes.NAMED)
CLM_CONTROLLER = Resource("/clm-controllers", ("controller",), shapes.CONTROLLER, constant={"controllerGroup": "clm"})
CLUSTER = Resource(_CP + "/clusters", ("cluster",), shapes.CLUSTER, switch="B1")
CLUSTER_LABEL = Resource(
    _CP + "/clusters/{cluster}/labels",
    ("clusterLabel",),
    shapes.CLUSTER_LABEL,
    names=lambda stored: (stored["labelname"],),
)
CLUSTER_KV = Resource(_CP + "/clusters/{cluster}/kv-pairs", ("clusterKv",), shapes.KEY_VALUE)
CLUSTER_SYNC_OBJECT = Resource(_CP + "/cluster-sync-objects", ("clusterSyncObject",), shapes.KEY_VALUE, tag="meta")

LOGICAL_CLOUD = Resource("/projects/{project}/logical-clouds", ("logicalCloud",), shapes.LOGICAL_CLOUD)
CLUSTER_REFERENCE = Resource(
    _LC + "/cluster-references", ("clusterReference",), shapes.CLUSTER_REFERENCE, references=_cluster_of
)
USER_PERMISSION = Resource(_LC + "/user-permissions", ("userPermission",), shapes.USER_PERMISSION)
CLUSTER_QUOTA = Resource(_LC + "/cluster-quotas", ("clusterQuota",), shapes.CLUSTER_QUOTA)
LOGICAL_CLOUD_KV = Resource(_LC + "/kv-pairs", ("logicalCloudKv",), shapes.KEY_VALUE)

PLAIN: Mapping[str, Sequence[Resource]] = {
    "orchestrator": (
        PROJECT,
        CONTROLLER,
        COMPOSITE_APP,
        COMPOSITE_PROFILE,
        PLACEMENT_INTENT,
        APP_INTENT,
        GROUP_INTENT,
    ),
    "clm": (PROVIDER, CLM_CONTROLLER, CLUSTER_LABEL, CLUSTER_KV, CLUSTER_SYNC_OBJECT),
    "dcm": (USER_PERMISSION, CLUSTER_QUOTA, LOGICAL_CLOUD_KV),
}
"""What a service keeps without further ado; the rest has handlers of its own."""

_ALL = (
    *PLAIN["orchestrator"],
    APP,
    APP_PROFILE,
    GROUP,
    *PLAIN["clm"],
    CLUSTER,
    *PLAIN["dcm"],
    CLUSTER_REFERENCE,
    LOGICAL_CLOUD,
)


def cloud_config(provider: str, cluster: str) -> dict[str, str]:
    """The key of a cluster's kubeconfig. It stands outside the schema: no parent, nobody's child."""
    return {
        "namespace": "default",
        "cloudConfigClusterProvider": provider,
        "cloudConfigCluster": cluster,
        "level": "0",
    }


def schema_segment() -> dict[str, Any]:
    """The referential schema as the orchestrator stores it, with its id.

    A resource is called by all the fields that it adds to its parent's key: `compositeApp.compositeAppVersion`.
    """
    parents = {
        ".".join((*resource.constant, *resource.own)): resource.parent_fields[-1] if resource.parent_fields else ""
        for resource in _ALL
    }
    segment = {
        "name": "emco-base",
        "resources": [{"name": name, "parent": parent} for name, parent in parents.items()],
    }
    digest = hashlib.sha256(json.dumps(segment, sort_keys=True).encode()).hexdigest()
    return {"SegmentId": digest, "segment": segment}
