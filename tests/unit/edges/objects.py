"""Small manifests."""

from typing import Any

Json = dict[str, Any]


def config_map(name: str, *, labels: Json | None = None, **data: str) -> Json:
    metadata: Json = {"name": name}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def deployment(name: str = "web", *, labels: Json | None = None, **spec: Any) -> Json:
    containers = [
        {"name": "main", "image": "main:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
        {"name": "side", "image": "side:1"},
    ]
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template, **spec},
    }


def bundle_state(name: str, **metadata: Any) -> Json:
    labels = {"emco/deployment-id": name}
    return {
        "apiVersion": "k8splugin.io/v1alpha1",
        "kind": "ResourceBundleState",
        "metadata": {"name": name, "labels": labels, **metadata},
        "spec": {"selector": {"matchLabels": labels}},
        "status": {"ready": True, "resourceCount": 99},
    }


def definition(plural: str = "widgets", group: str = "example.org", kind: str = "Widget") -> Json:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
