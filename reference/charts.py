"""Helm charts, as far as the reference EMCO renders them.

A template may hold `{{ .Values.a.b }}`, `{{ .Release.Name }}`, `{{ .Release.Namespace }}`, `{{ .Chart.Name }}`,
`{{ .Chart.Version }}`, literals, and the pipes `default X` and `quote`, with `-` to trim blanks. Anything else is
refused with a sentence: a chart that is rendered wrongly would be worse than one that is not.
"""

import io
import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

_ACTION = re.compile(r"{{(-?)\s*(.*?)\s*(-?)}}", re.DOTALL)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|\||\S+')
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FIRST = (
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicaSet",
    "Deployment",
    "StatefulSet",
    "Job",
    "CronJob",
    "Ingress",
)
"""The order in which Helm installs kinds; the others follow."""


class ChartError(Exception):
    """A chart or profile cannot be used; the message says why, for people."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """One resource of a chart: `name+Kind`, and its manifest with the note where it comes from."""

    name: str
    manifest: str


def check_archive(content: bytes, *, what: str) -> None:
    """Raises ChartError unless the content is a tar archive packed with gzip."""
    _read_archive(content, what=what)


def render_chart(
    chart: bytes,
    *,
    profile: bytes | None,
    overrides: Mapping[str, Any],
    release: str,
    namespace: str,
) -> list[Rendered]:
    """The chart's resources in the order of installing. Raises ChartError.

    profile:   archive with manifest.yaml, which names a file of values;  overrides: dotted paths and their values
    """
    files = _read_archive(chart, what="chart")
    top = _top_folder(files)
    about = _load_mapping(files[f"{top}/Chart.yaml"], what="Chart.yaml")
    values = _load_mapping(files.get(f"{top}/values.yaml", b""), what="values.yaml")
    if profile is not None:
        values = _merged(values, _profile_values(profile))
    for path, value in overrides.items():
        values = _merged(values, _nested(path.split("."), value))
    scope = {
        "Values": values,
        "Release": {"Name": release, "Namespace": namespace, "Service": "Helm"},
        "Chart": {"Name": about.get("name", top), "Version": about.get("version", "")},
    }
    rendered: list[tuple[int, Rendered]] = []
    for path in sorted(files):
        if path.startswith(f"{top}/templates/") and path.endswith((".yaml", ".yml")):
            text = render(files[path].decode(), scope, where=path)
            rendered.extend(_resources(text, source=path))
    return [resource for _, resource in sorted(rendered, key=lambda item: item[0])]


def render(template: str, scope: Mapping[str, Any], *, where: str) -> str:
    """The template with its actions replaced. Raises ChartError for an action that is not understood."""
    out = ""
    position = 0
    trim_next = False
    for match in _ACTION.finditer(template):
        text = template[position : match.start()]
        text = text.lstrip() if trim_next else text
        out += text.rstrip() if match[1] else text
        if not match[2].startswith("/*"):
            out += _show(_evaluate(match[2], scope, where=where))
        position, trim_next = match.end(), bool(match[3])
    rest = template[position:]
    return out + (rest.lstrip() if trim_next else rest)


def _evaluate(expression: str, scope: Mapping[str, Any], *, where: str) -> Any:
    stages: list[list[str]] = [[]]
    for word in _TOKEN.findall(expression):
        if word == "|":
            stages.append([])
        else:
            stages[-1].append(word)
    if stages[0][:1] in (["quote"], ["default"]):
        # `default X .Values.y` and `quote .Values.y` are the pipes written in front.
        *function, argument = stages[0]
        stages = [[argument], function, *stages[1:]]
    if len(stages[0]) != 1:
        raise ChartError(f"{where}: {{{{ {expression} }}}} is not understood")
    value = _term(stages[0][0], scope, where=where)
    for stage in stages[1:]:
        if stage == ["quote"]:
            value = json.dumps(_show(value), ensure_ascii=False)
        elif len(stage) == 2 and stage[0] == "default":
            value = value or _term(stage[1], scope, where=where)
        else:
            raise ChartError(f"{where}: the pipe `{' '.join(stage)}` is not understood")
    return value


def _term(term: str, scope: Mapping[str, Any], *, where: str) -> Any:
    if term[0] in '"`':
        return json.loads(term) if term[0] == '"' else term[1:-1]
    if re.fullmatch(r"-?\d+(\.\d+)?|true|false", term):
        return json.loads(term)
    if not re.fullmatch(r"\$?(\.\w+)+", term):
        raise ChartError(f"{where}: `{term}` is not understood")
    value: Any = scope
    for name in term.lstrip("$")[1:].split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        raise ChartError("a map or list cannot be written in place; name one of its members")
    return "" if value is None else str(value)


def _resources(text: str, *, source: str) -> list[tuple[int, Rendered]]:
    found: list[tuple[int, Rendered]] = []
    for part in re.split(r"(?m)^---[ \t]*$", text):
        body = part.strip()
        if not body:
            continue
        manifest = _load_mapping(body.encode(), what=source)
        if not manifest:
            continue
        kind, name = manifest.get("kind"), (manifest.get("metadata") or {}).get("name")
        if not kind or not name:
            raise ChartError(f"{source}: a resource needs kind and metadata.name")
        rank = _FIRST.index(kind) if kind in _FIRST else len(_FIRST)
        found.append((rank, Rendered(f"{name}+{kind}", f"# Source: {source}\n{body}")))
    return found


def _profile_values(profile: bytes) -> dict[str, Any]:
    files = _read_archive(profile, what="profile")
    names = [path for path in files if path.rsplit("/", 1)[-1] == "manifest.yaml"]
    if not names:
        raise ChartError("the profile has no manifest.yaml")
    folder = names[0].removesuffix("manifest.yaml")
    manifest = _load_mapping(files[names[0]], what="manifest.yaml")
    name = (manifest.get("type") or {}).get("values")
    if not name:
        return {}
    if folder + name not in files:
        raise ChartError(f"the profile's manifest.yaml names {name}, which is not in the profile")
    return _load_mapping(files[folder + name], what=name)


def _read_archive(content: bytes, *, what: str) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None:
                    files[member.name.removeprefix("./")] = file.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ChartError(f"the {what} is no tar.gz: {error}") from error
    return files


def _top_folder(files: Mapping[str, bytes]) -> str:
    tops = sorted(
        path.removesuffix("/Chart.yaml") for path in files if path.count("/") == 1 and path.endswith("/Chart.yaml")
    )
    if not tops:
        raise ChartError("the chart has no Chart.yaml in a top folder")
    return tops[0]


def _load_mapping(content: bytes, *, what: str) -> dict[str, Any]:
    try:
        loaded = yaml.load(content, Loader=_LOADER)  # noqa: S506 - it is the safe one, in C
    except yaml.YAMLError as error:
        raise ChartError(f"{what} is not YAML: {error}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ChartError(f"{what} must hold a map")
    return loaded


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = _merged(merged[name], value) if both else value
    return merged


def _nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    return {path[0]: value if len(path) == 1 else _nested(path[1:], value)}
