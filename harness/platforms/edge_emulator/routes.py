"""From a request's path to what it is about, and from its body to plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml

from harness.platforms.edge_emulator.kinds import Registry, Resource
from harness.platforms.edge_emulator.problems import (
    bad_request,
    no_such_path,
    not_acceptable,
    unsupported_media_type,
)
from harness.platforms.edge_emulator.storage import Key

Json = dict[str, Any]

JSON, YAML = "application/json", "application/yaml"
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON_PATCH, APPLY = "application/json-patch+json", "application/apply-patch+yaml"
PATCHES = (JSON_PATCH, MERGE, STRATEGIC, APPLY)


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `content_type` and `accept` are the headers as sent, empty when absent."""

    method: str
    path: str
    query: Mapping[str, str]
    content_type: str = ""
    accept: str = ""
    body: bytes = b""

    @property
    def watching(self) -> bool:
        return self.method == "GET" and self.query.get("watch", "").lower() in ("1", "true")


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names: a collection (no name), an object or a subresource of it. No namespace: cluster or all."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    def key(self, name: str = "") -> Key:
        return Key(self.resource.group, self.resource.plural, self.namespace, name or self.name)


def parse_target(registry: Registry, path: str) -> Target:
    """The target of a path below /api/v1 or /apis/<group>/<version>. Raises ApiError (404)."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise no_such_path()
    namespace = ""
    # /namespaces/<name>/status and /finalize are of the namespace itself, anything else is inside.
    if rest[0] == "namespaces" and len(rest) > 2 and (group or rest[2] not in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource, *beyond = (*rest, "", "") if len(rest) < 3 else rest
    resource = registry.find(group, version, plural)
    scoped = resource is not None and (not namespace or resource.namespaced)
    if resource is None or not scoped or any(beyond) or (name and resource.namespaced and not namespace):
        raise no_such_path()
    if subresource and subresource not in resource.subresources:
        raise no_such_path()
    return Target(resource, namespace, name, subresource)


def media_type(header: str) -> str:
    """`application/json` of `application/json; charset=utf-8`."""
    return header.partition(";")[0].strip().lower()


def check_acceptable(accept: str) -> None:
    """Raise ApiError (406) if the client takes no plain JSON. Protobuf, tables and the like are asked for in lists with
    plain JSON behind them: clients fall back."""
    ranges = [entry.strip() for entry in accept.split(",") if entry.strip()]
    if ranges and not any(
        media_type(entry) in (JSON, "application/*", "*/*") and ";as=" not in entry.replace(" ", "") for entry in ranges
    ):
        raise not_acceptable()


def parse_body(call: Call, *, accepted: tuple[str, ...] = (JSON, YAML)) -> Any:
    """The body as plain values. Raises ApiError: 415 for a format not accepted, 400 for one that does not parse."""
    given = media_type(call.content_type) or JSON
    if given not in accepted:
        raise unsupported_media_type(", ".join(accepted))
    try:
        return msgspec.json.decode(call.body)
    except msgspec.DecodeError as error:
        if not given.endswith("yaml"):
            raise bad_request(f"the body is no JSON: {error}") from error
    try:
        return yaml.load(call.body, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader with one type less
    except yaml.YAMLError as error:
        raise bad_request(f"the body is no YAML: {error}") from error


def parse_object(call: Call, resource: Resource, *, accepted: tuple[str, ...] = (JSON, YAML)) -> Json:
    """The body as an object of `resource`. Raises ApiError (400) if it is of another kind or no object at all."""
    obj = parse_body(call, accepted=accepted)
    if not isinstance(obj, dict) or not isinstance(obj.setdefault("metadata", {}), dict | None):
        raise bad_request("the body must be an object with metadata")
    stated = (obj.get("apiVersion") or resource.api_version, obj.get("kind") or resource.kind)
    if stated != (resource.api_version, resource.kind):
        raise bad_request(
            f"{stated[1]} in version {stated[0]!r} cannot be handled as a {resource.kind} of {resource.api_version}"
        )
    return {
        **obj,
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {name: value for name, value in (obj["metadata"] or {}).items() if value is not None},
    }


class _PlainLoader(yaml.SafeLoader):
    """YAML as JSON's values only: a timestamp stays the text it is."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
