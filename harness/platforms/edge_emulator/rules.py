"""What an object must look like to be taken: the few rules of the real API that clients run into."""

import re
from typing import Any

from harness.platforms.edge_emulator.kinds import Resource
from harness.platforms.edge_emulator.problems import ApiError, invalid
from harness.platforms.edge_emulator.signer import parse_request

Json = dict[str, Any]

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_PATH_SEGMENT = re.compile(r"(?!\.\.?$)[^/%]+")
_REQUIRED: dict[str, tuple[tuple[str, ...], ...]] = {
    "Deployment": (("spec", "selector"), ("spec", "template")),
    "StatefulSet": (("spec", "selector"), ("spec", "template")),
    "DaemonSet": (("spec", "selector"), ("spec", "template")),
    "ReplicaSet": (("spec", "selector"),),
    "Job": (("spec", "template"),),
    "Pod": (("spec", "containers"),),
    "RoleBinding": (("roleRef",),),
    "ClusterRoleBinding": (("roleRef",),),
    "CertificateSigningRequest": (("spec", "request"), ("spec", "signerName"), ("spec", "usages")),
    "CustomResourceDefinition": (("spec", "group"), ("spec", "names"), ("spec", "versions")),
}
_IMMUTABLE: dict[str, tuple[str, ...]] = {
    "Deployment": ("spec", "selector"),
    "StatefulSet": ("spec", "selector"),
    "DaemonSet": ("spec", "selector"),
    "ReplicaSet": ("spec", "selector"),
    "Job": ("spec", "template"),
    "Service": ("spec", "clusterIP"),
    "RoleBinding": ("roleRef",),
    "ClusterRoleBinding": ("roleRef",),
    "CertificateSigningRequest": ("spec",),
    "Secret": ("type",),
}


def check(resource: Resource, obj: Json, *, old: Json | None) -> None:
    """Raise ApiError (422 Invalid) if `obj` may not be created or, with `old`, may not take its place."""
    kind, name = resource.kind, str(obj["metadata"].get("name", ""))

    def refuse(path: tuple[str, ...], why: str) -> ApiError:
        return invalid(resource.group, kind, name, ".".join(path), why)

    if old is None and (why := _name_problem(resource, name)):
        raise refuse(("metadata", "name"), why)
    for path in _REQUIRED.get(kind, ()) if resource.strategic else ():
        if not _at(obj, path):
            raise refuse(path, "Required value")
    if old is not None and kind in _IMMUTABLE and resource.strategic:
        path = _IMMUTABLE[kind]
        if _at(old, path) != _at(obj, path):
            raise refuse(path, "Invalid value: field is immutable")
    if kind == "CertificateSigningRequest":
        try:
            parse_request(obj)
        except ValueError as error:
            raise refuse(("spec", "request"), f"Invalid value: {error}") from error
    if kind == "CustomResourceDefinition":
        names = obj["spec"]["names"]
        if not names.get("plural") or not names.get("kind"):
            raise refuse(("spec", "names"), "Required value: plural and kind")
        if name != f"{names['plural']}.{obj['spec']['group']}":
            raise refuse(("metadata", "name"), 'Invalid value: must be spec.names.plural+"."+spec.group')


def _name_problem(resource: Resource, name: str) -> str:
    if not name:
        return "Required value: name or generateName is required"
    if resource.group == "rbac.authorization.k8s.io":
        return "" if _PATH_SEGMENT.fullmatch(name) else "Invalid value: not usable as a path segment"
    pattern, limit = (_LABEL, 63) if resource.plural in ("namespaces", "services") else (_SUBDOMAIN, 253)
    if len(name) > limit or not pattern.fullmatch(name):
        return "Invalid value: a lowercase RFC 1123 name must consist of lower case alphanumeric characters, '-' or '.'"
    return ""


def _at(obj: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        obj = obj.get(step) if isinstance(obj, dict) else None
    return obj
