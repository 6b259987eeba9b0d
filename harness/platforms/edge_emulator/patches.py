"""The four ways to patch an object: JSON merge, strategic merge, JSON patch, server-side apply.

All take plain JSON values and return new ones; what they are given is never changed.
"""

from copy import deepcopy
from typing import Any

from harness.platforms.edge_emulator.problems import ApiError, bad_request

Json = dict[str, Any]
Path = tuple[str, ...]

# Lists that strategic merge and apply join by a key, by the end of their path; all other lists are replaced whole.
_MERGE_KEYS: dict[Path, tuple[str, ...]] = {
    ("containers",): ("name",),
    ("initContainers",): ("name",),
    ("ephemeralContainers",): ("name",),
    ("env",): ("name",),
    ("volumes",): ("name",),
    ("volumeMounts",): ("mountPath",),
    ("volumeDevices",): ("devicePath",),
    ("containers", "ports"): ("containerPort", "protocol"),
    ("initContainers", "ports"): ("containerPort", "protocol"),
    ("imagePullSecrets",): ("name",),
    ("secrets",): ("name",),
    ("hostAliases",): ("ip",),
    ("topologySpreadConstraints",): ("topologyKey", "whenUnsatisfiable"),
    ("ownerReferences",): ("uid",),
    ("conditions",): ("type",),
}
_SERVICE_PORTS = ("port", "protocol")
# Lists of plain values that are joined as sets.
_SETS = frozenset({"finalizers"})
_ORDER, _DELETE, _RETAIN = "$setElementOrder/", "$deleteFromPrimitiveList/", "$retainKeys"


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: null removes a member, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def strategic_merge_patch(target: Json, patch: Json, *, kind: str) -> Json:
    """Kubernetes' merge: as merge_patch, but well-known lists are joined by their keys, and `$` directives obeyed."""
    return _merge_map(target, patch, kind=kind, path=(), key_count=1)


def apply_patch(target: Json, patch: Json, *, kind: str) -> Json:
    """Server-side apply: what the applied object says is set, well-known lists are joined by all of their keys."""
    return _merge_map(target, patch, kind=kind, path=(), key_count=2)


def json_patch(target: Json, operations: Any) -> Json:
    """RFC 6902. Raises ApiError: 400 for a malformed patch, 422 when it does not fit the object."""
    if not isinstance(operations, list):
        raise bad_request("a JSON patch is a list of operations")
    document: Any = deepcopy(target)
    for operation in operations:
        try:
            document = _operate(document, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise ApiError(
                422,
                "Invalid",
                f"the server rejected our request due to an error in our request: {operation}: {error!r}",
            ) from error
    if not isinstance(document, dict):
        raise bad_request("a JSON patch must leave an object")
    return document


def _merge_keys(kind: str, path: Path) -> tuple[str, ...]:
    if kind == "Service" and path == ("spec", "ports"):
        return _SERVICE_PORTS
    return _MERGE_KEYS.get(path[-2:], _MERGE_KEYS.get(path[-1:], ()))


def _merge_map(target: Json, patch: Json, *, kind: str, path: Path, key_count: int) -> Json:
    directive = patch.get("$patch")
    if directive == "replace":
        return {name: deepcopy(value) for name, value in patch.items() if name != "$patch"}
    merged = dict(target)
    if _RETAIN in patch:
        merged = {name: value for name, value in merged.items() if name in patch[_RETAIN]}
    for name, value in patch.items():
        if name.startswith(_DELETE):
            field = name.removeprefix(_DELETE)
            merged[field] = [item for item in merged.get(field, []) if item not in value]
        elif name in ("$patch", _RETAIN) or name.startswith(_ORDER):
            continue
        elif value is None or (isinstance(value, dict) and value.get("$patch") == "delete"):
            merged.pop(name, None)
        else:
            merged[name] = _merge_value(merged.get(name), value, kind=kind, path=(*path, name), key_count=key_count)
    for name in patch:
        if name.startswith(_ORDER) and isinstance(merged.get(name.removeprefix(_ORDER)), list):
            field = name.removeprefix(_ORDER)
            merged[field] = _ordered(merged[field], patch[name], _merge_keys(kind, (*path, field))[:1])
    return merged


def _merge_value(current: Any, value: Any, *, kind: str, path: Path, key_count: int) -> Any:
    if isinstance(value, dict):
        base = current if isinstance(current, dict) else {}
        return _merge_map(base, value, kind=kind, path=path, key_count=key_count)
    if not isinstance(value, list):
        return value
    old = current if isinstance(current, list) else []
    if path[-1] in _SETS:
        return [*old, *(item for item in value if item not in old)]
    keys = _merge_keys(kind, path)[:key_count]
    if keys and all(isinstance(item, dict) for item in (*old, *value)):
        return _merge_list(old, value, keys=keys, kind=kind, path=path, key_count=key_count)
    return deepcopy(value)


def _merge_list(old: list[Json], patch: list[Json], *, keys: Path, kind: str, path: Path, key_count: int) -> list[Json]:
    if any(item.get("$patch") == "replace" for item in patch):
        return [deepcopy(item) for item in patch if "$patch" not in item]
    merged = {_identity(item, keys): item for item in old}
    for item in patch:
        identity = _identity(item, keys)
        if item.get("$patch") == "delete":
            merged.pop(identity, None)
        else:
            merged[identity] = _merge_map(merged.get(identity, {}), item, kind=kind, path=path, key_count=key_count)
    return list(merged.values())


def _identity(item: Json, keys: Path) -> tuple[Any, ...]:
    # The one defaulted key: a port without protocol is a TCP port.
    return tuple(item.get(key, "TCP" if key == "protocol" else None) for key in keys)


def _ordered(items: list[Any], order: list[Any], keys: Path) -> list[Any]:
    """`items` in the order the client asked for; those it did not name keep their order, at the end."""
    wanted = [_identity(entry, keys) if keys and isinstance(entry, dict) else entry for entry in order]

    def rank(item: Any) -> int:
        identity = _identity(item, keys) if keys and isinstance(item, dict) else item
        return wanted.index(identity) if identity in wanted else len(wanted)

    return sorted(items, key=rank)


def _operate(document: Any, operation: Json) -> Any:
    name, path = operation["op"], _pointer(operation["path"])
    if name == "test":
        if _at(document, path) != operation["value"]:
            raise ValueError("the value differs")
        return document
    if name == "remove":
        return _removed(document, path)
    if name in ("move", "copy"):
        source = _pointer(operation["from"])
        value = deepcopy(_at(document, source))
        document = _removed(document, source) if name == "move" else document
    elif name in ("add", "replace"):
        value = deepcopy(operation["value"])
    else:
        raise ValueError(f"no such operation: {name}")
    if name == "replace":
        _at(document, path)
    return _added(document, path, value, replace=name == "replace")


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise ValueError(f"no JSON pointer: {text}")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _at(document: Any, path: list[str]) -> Any:
    for part in path:
        document = document[_index(part)] if isinstance(document, list) else document[part]
    return document


def _index(part: str) -> int:
    if not part.isdecimal():
        raise ValueError(f"no list index: {part}")
    return int(part)


def _removed(document: Any, path: list[str]) -> Any:
    parent = _at(document, path[:-1])
    del parent[_index(path[-1]) if isinstance(parent, list) else path[-1]]
    return document


def _added(document: Any, path: list[str], value: Any, *, replace: bool) -> Any:
    if not path:
        return value
    parent, last = _at(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif replace:
        parent[_index(last)] = value
    else:
        position = len(parent) if last == "-" else _index(last)
        if position > len(parent):
            raise IndexError(f"index {position} is past the end")
        parent.insert(position, value)
    return document
