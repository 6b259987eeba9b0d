"""Patches of the user's for what is put into a cluster, in the form that kustomize has them.

A kustomization that has nothing but `patches`: each strategic merge or JSON 6902, in a file or in place, by target or
by the name that it carries. They are applied here, not by kustomize: so a patch that hits nothing, or takes away what
the harness needs, is refused before anything is made, and no program is needed for it.
"""

import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.faults.victim import UsageError
from harness.platforms.edge_emulator.patches import json_patch, strategic_merge_patch
from harness.platforms.edge_emulator.problems import ApiError
from harness.platforms.kubernetes.needs import needed_of_chart, taken
from harness.platforms.settings import shown

Json = dict[str, Any]
OPTION = "--patches"
_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_ABOUT = {"apiVersion", "kind", "patches"}
_MOST_NAMED = 15
_API, _KIND = "kustomize.config.k8s.io/", "Kustomization"


_SAID = ("group", "version", "kind", "name", "namespace")


@dataclass(frozen=True, slots=True)
class Target:
    """Which objects are meant.

    said: some of group, version, kind, name and namespace: regular expressions for the whole of it, as kustomize has
    them; empty: any
    exact: these are no expressions, as a patch without a target says them
    """

    said: Mapping[str, str]
    exact: bool = False

    def fits(self, thing: Json) -> bool:
        """Whether an object is meant."""
        group, _, version = str(thing["apiVersion"]).rpartition("/")
        metadata = thing["metadata"]
        values = (group, version, thing["kind"], metadata["name"], metadata.get("namespace", ""))
        return all(self._is(self.said.get(name, ""), value) for name, value in zip(_SAID, values, strict=True))

    def _is(self, wanted: str, value: str) -> bool:
        return wanted in ("", value) or (not self.exact and re.fullmatch(wanted, value) is not None)

    def __str__(self) -> str:
        return ", ".join(f"{name} {self.said[name]}" for name in _SAID if self.said.get(name))


@dataclass(frozen=True, slots=True)
class Patch:
    """where: file, for sentences;  change: what to merge, or the operations of RFC 6902"""

    where: str
    target: Target
    change: Json | list[Json]

    def applied(self, thing: Json) -> Json:
        """The object after it. Raises UsageError when it does not fit the object."""
        try:
            if isinstance(self.change, list):
                made = json_patch(thing, self.change)
            else:
                made = strategic_merge_patch(thing, self.change, kind=thing["kind"])
        except (ApiError, AttributeError, TypeError, KeyError) as error:
            raise UsageError(f"{self.where}: it does not fit {named(thing)}: {_said(error)}") from error
        return made


@dataclass(frozen=True, slots=True)
class Patches:
    """digest: of all that was read; empty where there are none"""

    all: tuple[Patch, ...] = ()
    digest: str = ""

    def applied(self, objects: Sequence[Json], needed: Callable[[Json], Json]) -> list[Json]:
        """The objects after all patches that are meant for them.

        needed: what of an object must stay as it is. Raises UsageError for a patch that would change that.
        """
        return self._steps(objects, needed)[0]

    def check(self, objects: Iterable[tuple[Sequence[Json], Callable[[Json], Json]]]) -> None:
        """Whether each patch changes something, and nothing that is needed. Raises UsageError, with its file."""
        groups = list(objects)
        hits = {hit for listed, needed in groups for hit in self._steps(listed, needed)[1]}
        for number, patch in enumerate(self.all):
            if number in hits:
                continue
            everything = [thing for listed, _ in groups for thing in listed]
            if any(patch.target.fits(thing) for thing in everything):
                raise UsageError(f"{patch.where}: it changes nothing of what it is meant for ({patch.target})")
            alike = [thing for thing in everything if Target({"kind": patch.target.said.get("kind", "")}).fits(thing)]
            known = ", ".join(sorted({named(thing) for thing in alike or everything})[:_MOST_NAMED])
            raise UsageError(f"{patch.where}: it hits nothing: no object is of {patch.target}; there are {known}")

    def _steps(self, objects: Sequence[Json], needed: Callable[[Json], Json]) -> tuple[list[Json], set[int]]:
        made, hits = [], set()
        for thing in objects:
            now = deepcopy(thing)
            for number, patch in enumerate(self.all):
                if not patch.target.fits(thing):
                    continue
                then = patch.applied(now)
                if loss := taken(needed(thing), then):
                    raise UsageError(f"{patch.where}: {loss} of {named(thing)}, and the harness needs it as it is")
                if then != now:
                    hits.add(number)
                now = then
            made.append(now)
        return made, hits


NONE = Patches()


def named(thing: Json) -> str:
    """What an object is called, in sentences."""
    return f"{thing['kind']} {thing['metadata']['name']}"


def read_patches(place: Path | None) -> Patches:
    """Those of a kustomization, by its file or its folder. Raises UsageError for what it has beside patches."""
    if place is None:
        return NONE
    file = _file(place)
    content = _yaml(file)
    if len(content) != 1 or not isinstance(content[0], dict):
        raise UsageError(f"{OPTION} {shown(file)}: a kustomization is expected, one YAML document")
    kustomization: Json = content[0]
    strange = sorted(set(kustomization) - _ABOUT)
    if strange:
        raise UsageError(f"{OPTION} {shown(file)}: only patches are taken of a kustomization, it has {strange[0]}, too")
    kind, version = kustomization.get("kind", _KIND), str(kustomization.get("apiVersion", _API))
    listed = kustomization.get("patches")
    if kind != _KIND or not version.startswith(_API) or not isinstance(listed, list) or not listed:
        raise UsageError(f"{OPTION} {shown(file)}: a {_KIND} with a list of patches is expected")
    digest = hashlib.sha256(file.read_bytes())
    patches: list[Patch] = []
    for number, entry in enumerate(listed, start=1):
        source, changes = _changes(file, number, entry, digest.update)
        target = _target(source, entry.get("target"))
        patches += (_patch(source, target, change) for change in changes)
    return Patches(tuple(patches), digest.hexdigest()[:16])


def _file(place: Path) -> Path:
    if place.is_dir():
        found = [place / name for name in _NAMES if (place / name).is_file()]
        if not found:
            raise UsageError(f"{OPTION} {shown(place)}: there is no {_NAMES[0]} in it")
        return found[0]
    if not place.is_file():
        raise UsageError(f"{OPTION} {shown(place)}: no such file or folder")
    return place


def _yaml(file: Path, text: str | None = None) -> list[Any]:
    try:
        read = file.read_text(encoding="utf-8") if text is None else text
        return [one for one in yaml.safe_load_all(read) if one is not None]
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{OPTION} {shown(file)}: it cannot be read: {' '.join(str(error).split())}") from error


def _changes(file: Path, number: int, entry: Any, note: Callable[[bytes], None]) -> tuple[str, list[Any]]:
    """What one entry of the list changes, and its name for sentences."""
    here = f"{shown(file)}, patch {number}"
    if (
        not isinstance(entry, dict)
        or set(entry) - {"path", "patch", "target"}
        or ("path" in entry) == ("patch" in entry)
    ):
        raise UsageError(f"{here}: `path` or `patch` is expected, and at most `target` beside it")
    if "patch" in entry:
        if not isinstance(entry["patch"], str):
            raise UsageError(f"{here}: `patch` holds text, as in `patch: |-`")
        return here, _yaml(file, entry["patch"])
    path = file.parent / str(entry["path"])
    if not path.is_file():
        raise UsageError(f"{here}: there is no file {shown(path)}")
    note(path.read_bytes())
    return shown(path), _yaml(path)


def _target(where: str, given: Any) -> Target | None:
    if given is None:
        return None
    if not isinstance(given, dict) or not given or set(given) - set(_SAID):
        raise UsageError(f"{where}: a target says some of {', '.join(_SAID)}, and nothing else")
    for value in given.values():
        try:
            re.compile(str(value))
        except re.error as error:
            raise UsageError(f"{where}: {value} in its target is no regular expression: {error}") from error
    return Target({str(name): str(value) for name, value in given.items()})


def _patch(where: str, target: Target | None, change: Any) -> Patch:
    if isinstance(change, list):
        if target is None:
            raise UsageError(f"{where}: a JSON 6902 patch needs a target")
        for one in change:
            if not isinstance(one, dict) or "op" not in one or "path" not in one:
                raise UsageError(f"{where}: an operation has `op` and `path`; {one!r} has not")
        return Patch(where, target, change)
    if not isinstance(change, dict):
        raise UsageError(f"{where}: an object to merge or a list of operations is expected, not {change!r}")
    if target is None:
        target = _by_name(where, change)
    rest = {name: value for name, value in change.items() if name not in ("apiVersion", "kind", "metadata")}
    metadata = {
        name: value for name, value in (change.get("metadata") or {}).items() if name not in ("name", "namespace")
    }
    if change.get("$patch") == "delete":
        raise UsageError(f"{where}: it would delete {target}, which the harness needs")
    return Patch(where, target, rest | ({"metadata": metadata} if metadata else {}))


def _by_name(where: str, change: Json) -> Target:
    metadata = change.get("metadata")
    if not isinstance(metadata, dict) or not all((change.get("apiVersion"), change.get("kind"), metadata.get("name"))):
        raise UsageError(f"{where}: without a target it says itself what it is for: apiVersion, kind, metadata.name")
    group, _, version = str(change["apiVersion"]).rpartition("/")
    names = (group, version, change["kind"], metadata["name"], metadata.get("namespace", ""))
    return Target(dict(zip(_SAID, map(str, names), strict=True)), exact=True)


def _said(error: Exception) -> str:
    return error.message if isinstance(error, ApiError) else repr(error)


def main(arguments: Sequence[str]) -> int:
    """Helm's post-renderer: manifests come in, and go out with the patches of a kustomization, which is named."""
    try:
        objects: list[Mapping[str, Any]] = [one for one in yaml.safe_load_all(sys.stdin) if one]
        made = read_patches(Path(arguments[0])).applied([dict(one) for one in objects], needed_of_chart)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    yaml.safe_dump_all(made, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
