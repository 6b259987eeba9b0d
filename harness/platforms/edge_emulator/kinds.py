"""Which resources the API serves: a table of built-in kinds, the custom ones, and their discovery documents."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

VERSION: Json = {
    "major": "1",
    "minor": "29",
    # The build suffix says what this is; tools that parse the version ignore it.
    "gitVersion": "v1.29.0+emulated",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
CRD_GROUP = "apiextensions.k8s.io"
CRD_PLURAL = "customresourcedefinitions"


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource in one version.

    strategic:    whether it takes a strategic merge patch (custom resources do not)
    subresources: status, approval, finalize
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    subresources: tuple[str, ...] = ()
    short: tuple[str, ...] = ()
    singular: str = ""
    strategic: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources

    def discovery(self) -> list[Json]:
        """Its entries in an APIResourceList: the resource and each subresource."""
        entry: Json = {
            "name": self.plural,
            "singularName": self.singular or self.kind.lower(),
            "namespaced": self.namespaced,
            "kind": self.kind,
            "verbs": list(_VERBS),
        }
        if self.short:
            entry["shortNames"] = list(self.short)
        parts = [
            {
                "name": f"{self.plural}/{part}",
                "singularName": "",
                "namespaced": self.namespaced,
                "kind": self.kind,
                "verbs": ["get", "patch", "update"],
            }
            for part in self.subresources
        ]
        return [entry, *parts]


_S = ("status",)
_BUILT_IN = (
    Resource("", "v1", "namespaces", "Namespace", False, ("status", "finalize"), ("ns",)),
    Resource("", "v1", "pods", "Pod", True, _S, ("po",)),
    Resource("", "v1", "services", "Service", True, _S, ("svc",)),
    Resource("", "v1", "configmaps", "ConfigMap", True, (), ("cm",)),
    Resource("", "v1", "secrets", "Secret", True),
    Resource("", "v1", "serviceaccounts", "ServiceAccount", True, (), ("sa",)),
    Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", True, _S, ("pvc",)),
    Resource("", "v1", "persistentvolumes", "PersistentVolume", False, _S, ("pv",)),
    Resource("", "v1", "nodes", "Node", False, _S, ("no",)),
    Resource("", "v1", "events", "Event", True, (), ("ev",)),
    Resource("", "v1", "resourcequotas", "ResourceQuota", True, _S, ("quota",)),
    Resource("", "v1", "limitranges", "LimitRange", True, (), ("limits",)),
    Resource("", "v1", "endpoints", "Endpoints", True, (), ("ep",), "endpoints"),
    Resource("", "v1", "replicationcontrollers", "ReplicationController", True, _S, ("rc",)),
    Resource("apps", "v1", "deployments", "Deployment", True, _S, ("deploy",)),
    Resource("apps", "v1", "statefulsets", "StatefulSet", True, _S, ("sts",)),
    Resource("apps", "v1", "daemonsets", "DaemonSet", True, _S, ("ds",)),
    Resource("apps", "v1", "replicasets", "ReplicaSet", True, _S, ("rs",)),
    Resource("batch", "v1", "jobs", "Job", True, _S),
    Resource("batch", "v1", "cronjobs", "CronJob", True, _S, ("cj",)),
    Resource("networking.k8s.io", "v1", "ingresses", "Ingress", True, _S, ("ing",)),
    Resource("networking.k8s.io", "v1", "ingressclasses", "IngressClass", False),
    Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", True, (), ("netpol",)),
    Resource("rbac.authorization.k8s.io", "v1", "roles", "Role", True),
    Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", True),
    Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False),
    Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False),
    Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True, _S, ("pdb",)),
    # Preferred version first. Both serve the same stored object, its fields are not converted.
    Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True, _S, ("hpa",)),
    Resource("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True, _S, ("hpa",)),
    Resource(
        "certificates.k8s.io",
        "v1",
        "certificatesigningrequests",
        "CertificateSigningRequest",
        False,
        ("status", "approval"),
        ("csr",),
    ),
    Resource(CRD_GROUP, "v1", CRD_PLURAL, "CustomResourceDefinition", False, _S, ("crd", "crds")),
    Resource("coordination.k8s.io", "v1", "leases", "Lease", True),
)


class Registry:
    """All resources that are served now: the built-in ones and those of the custom resource definitions."""

    def __init__(self) -> None:
        self._resources: dict[tuple[str, str, str], Resource] = {}
        self.rebuild(())

    def rebuild(self, definitions: Iterable[Json]) -> None:
        """Serve the built-in resources and those of `definitions` (CustomResourceDefinition objects), nothing else."""
        custom = [resource for definition in definitions for resource in custom_resources(definition)]
        self._resources = {(r.group, r.version, r.plural): r for r in (*_BUILT_IN, *custom)}

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._resources.get((group, version, plural))

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource that objects of this apiVersion and kind belong to."""
        matches = (r for r in self._resources.values() if r.kind == kind and r.api_version == api_version)
        return next(matches, None)

    def api_groups(self) -> Json:
        """The APIGroupList of /apis."""
        groups = dict.fromkeys(r.group for r in self._resources.values() if r.group)
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [self._group(group) for group in groups]}

    def api_group(self, group: str) -> Json | None:
        """The APIGroup of /apis/<group>; None when it is not served."""
        if not group or all(r.group != group for r in self._resources.values()):
            return None
        return {"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}

    def api_resources(self, group: str, version: str) -> Json | None:
        """The APIResourceList of /api/v1 or /apis/<group>/<version>; None when it is not served."""
        served = [r for r in self._resources.values() if (r.group, r.version) == (group, version)]
        if not served:
            return None
        # The core group is plain "v1": client-go refuses "/v1".
        group_version = f"{group}/{version}" if group else version
        entries = [entry for resource in served for entry in resource.discovery()]
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries}

    def _group(self, group: str) -> Json:
        served = dict.fromkeys(r.version for r in self._resources.values() if r.group == group)
        versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in served]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def custom_resources(definition: Json) -> list[Resource]:
    """What a CustomResourceDefinition object makes the API serve, its storage version first."""
    spec = definition["spec"]
    names = spec["names"]
    versions = sorted((v for v in spec["versions"] if v.get("served", True)), key=lambda v: not v.get("storage", False))
    return [
        Resource(
            group=spec["group"],
            version=version["name"],
            plural=names["plural"],
            kind=names["kind"],
            namespaced=spec.get("scope", "Namespaced") == "Namespaced",
            subresources=("status",) if "status" in version.get("subresources", {}) else (),
            short=tuple(names.get("shortNames", ())),
            singular=names.get("singular", ""),
            strategic=False,
        )
        for version in versions
    ]


def bundle_state_definition() -> Json:
    """The definition of EMCO's ResourceBundleState, as its monitor chart installs it, without the schema's details."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": f"{CRD_GROUP}/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "resourcebundlestates.k8splugin.io"},
        "spec": {
            "group": "k8splugin.io",
            "scope": "Namespaced",
            "names": {
                "plural": "resourcebundlestates",
                "singular": "resourcebundlestate",
                "kind": "ResourceBundleState",
                "listKind": "ResourceBundleStateList",
            },
            "versions": [
                {
                    "name": "v1alpha1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": anything},
                    "subresources": {"status": {}},
                }
            ],
        },
    }
