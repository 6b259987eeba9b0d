"""The file beside a workload (`<name>.chaos.yaml`): what emcoctl's format has no words for.

```yaml
update: true                     # emcoctl's update phase; or {before: <call>, skip: [<call>]}
replace:                         # what the PUT of a document changes
  - document: <call that creates it>
    metadata: {description: new} # laid over the document's
    spec: {...}                  # laid over the document's, key by key
    file: charts/app1-v2.tgz
    before: <call>               # or after; left out: with the others of the update phase
calls:                           # more calls
  - post: projects/p/logical-clouds/lc/stop
    spec: {...}
    after: <call>
undo: {<call>: [<call> or {post: anchor}]}
ladder: {<call>: [{name: words, calls: [...]}]}
refused: [{call: <call> or {post: anchor}, before: <call>, why: word}]
setup: [<pattern of calls>]      # made, but without crash points of their own
services: [{anchor: "projects/*/my-things", service: my-service}]
```
Calls are named as the plan names them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.emco.inputs import YamlDocument
from harness.emco.services import Rule

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """Something that a line of the sidecar names: a call, or a pattern of calls."""

    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Position:
    """Where a call is put: right before or right after the named one."""

    call: Named
    after: bool


@dataclass(frozen=True, slots=True)
class RawCall:
    """A call written out: method, anchor, and the body if it has one."""

    method: str
    anchor: str
    body: Mapping[str, Any] | None
    line: int


@dataclass(frozen=True, slots=True)
class Replacement:
    """What the PUT of a document changes."""

    document: Named
    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]
    file: str | None
    position: Position | None


@dataclass(frozen=True, slots=True)
class ExtraCall:
    call: RawCall
    position: Position | None


@dataclass(frozen=True, slots=True)
class ExtraRung:
    name: str
    calls: tuple[Named | RawCall, ...]


@dataclass(frozen=True, slots=True)
class ExtraRefusal:
    call: Named | RawCall
    before: Named | None
    why: str


@dataclass(frozen=True, slots=True)
class Sidecar:
    """All that a sidecar says. `update` is None when it says nothing of the update phase."""

    file: str = ""
    update: bool | None = None
    update_before: Named | None = None
    update_skip: tuple[Named, ...] = ()
    replacements: tuple[Replacement, ...] = ()
    calls: tuple[ExtraCall, ...] = ()
    undo: tuple[tuple[Named, tuple[Named | RawCall, ...]], ...] = ()
    ladder: tuple[tuple[Named, tuple[ExtraRung, ...]], ...] = ()
    refused: tuple[ExtraRefusal, ...] = ()
    setup: tuple[Named, ...] = ()
    rules: tuple[Rule, ...] = field(default=())


_METHODS = ("post", "put", "delete")
_WHY = re.compile(r"^[A-Za-z0-9._+-]+$")


@dataclass(frozen=True, slots=True)
class _Reader:
    """One value of the document, with what is needed to say where it stands."""

    document: YamlDocument
    path: Path
    value: Any

    @property
    def line(self) -> int:
        return self.document.lines.get(self.path, self.document.line)

    def fail(self, sentence: str) -> Exception:
        return self.document.error(self.path, sentence)

    def at(self, key: str | int) -> "_Reader":
        return _Reader(self.document, (*self.path, key), self.value[key])

    def mapping(self, *allowed: str) -> "_Reader":
        if not isinstance(self.value, Mapping):
            raise self.fail(f"expected a mapping with the keys {', '.join(allowed) or '(any)'}")
        for key in self.value:
            if allowed and key not in allowed:
                raise self.document.error((*self.path, key), f"unknown key {key!r}; expected {', '.join(allowed)}")
        return self

    def get(self, key: str) -> "_Reader | None":
        return self.at(key) if self.value.get(key) is not None else None

    def need(self, key: str) -> "_Reader":
        found = self.get(key)
        if found is None:
            raise self.fail(f"the key {key!r} is missing")
        return found

    def items(self) -> "tuple[_Reader, ...]":
        if not isinstance(self.value, Sequence) or isinstance(self.value, str):
            raise self.fail("expected a list")
        return tuple(self.at(index) for index in range(len(self.value)))

    def pairs(self) -> "tuple[tuple[Named, _Reader], ...]":
        self.mapping()
        return tuple((Named(str(key), self.at(key).line), self.at(key)) for key in self.value)

    def word(self) -> str:
        if not isinstance(self.value, str) or not self.value:
            raise self.fail("expected a word")
        return self.value

    def named(self) -> Named:
        return Named(self.word(), self.line)

    def truth(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.fail("expected true or false")
        return self.value


def parse_sidecar(document: YamlDocument) -> Sidecar:
    """The sidecar in a YAML document. Raises InputError for an unknown key and for a value of the wrong kind."""
    top = _Reader(document, (), document.value).mapping(
        "update", "replace", "calls", "undo", "ladder", "refused", "setup", "services"
    )
    update, before, skip = _update(top.get("update"))
    return Sidecar(
        file=document.source.file,
        update=update,
        update_before=before,
        update_skip=skip,
        replacements=tuple(_replacement(item) for item in _list(top, "replace")),
        calls=tuple(_extra_call(item) for item in _list(top, "calls")),
        undo=tuple((name, _steps(steps)) for name, steps in _pairs(top, "undo")),
        ladder=tuple((name, tuple(_rung(rung) for rung in rungs.items())) for name, rungs in _pairs(top, "ladder")),
        refused=tuple(_refusal(item) for item in _list(top, "refused")),
        setup=tuple(item.named() for item in _list(top, "setup")),
        rules=tuple(_rule(item) for item in _list(top, "services")),
    )


def _list(top: _Reader, key: str) -> tuple[_Reader, ...]:
    found = top.get(key)
    return found.items() if found else ()


def _pairs(top: _Reader, key: str) -> tuple[tuple[Named, _Reader], ...]:
    found = top.get(key)
    return found.pairs() if found else ()


def _update(value: _Reader | None) -> tuple[bool | None, Named | None, tuple[Named, ...]]:
    if value is None:
        return None, None, ()
    if isinstance(value.value, bool):
        return value.value, None, ()
    value.mapping("before", "skip")
    before = value.get("before")
    return True, before.named() if before else None, tuple(item.named() for item in _list(value, "skip"))


def _position(value: _Reader) -> Position | None:
    before, after = value.get("before"), value.get("after")
    if before and after:
        raise value.fail("both before and after are given; expected one of them")
    if before:
        return Position(before.named(), after=False)
    return Position(after.named(), after=True) if after else None


def _replacement(value: _Reader) -> Replacement:
    value.mapping("document", "metadata", "spec", "file", "before", "after")
    metadata, spec, file = value.get("metadata"), value.get("spec"), value.get("file")
    return Replacement(
        document=value.need("document").named(),
        metadata=metadata.mapping("description", "userData1", "userData2").value if metadata else {},
        spec=spec.mapping().value if spec else {},
        file=file.word() if file else None,
        position=_position(value),
    )


def _raw_call(value: _Reader, *more: str) -> RawCall:
    value.mapping(*_METHODS, "metadata", "spec", *more)
    methods = [method for method in _METHODS if method in value.value]
    if len(methods) != 1:
        raise value.fail("expected exactly one of post, put, delete, with the anchor")
    body = {key: value.at(key).mapping().value for key in ("metadata", "spec") if value.get(key)}
    anchor = value.at(methods[0]).word().strip("/")
    return RawCall(methods[0].upper(), anchor, body or None, value.line)


def _extra_call(value: _Reader) -> ExtraCall:
    return ExtraCall(_raw_call(value, "before", "after"), _position(value))


def _step(value: _Reader) -> Named | RawCall:
    return value.named() if isinstance(value.value, str) else _raw_call(value)


def _steps(value: _Reader) -> tuple[Named | RawCall, ...]:
    return tuple(_step(item) for item in value.items())


def _rung(value: _Reader) -> ExtraRung:
    value.mapping("name", "calls")
    return ExtraRung(value.need("name").word(), _steps(value.need("calls")))


def _refusal(value: _Reader) -> ExtraRefusal:
    value.mapping("call", "before", "why")
    why = value.need("why").word()
    if not _WHY.match(why):
        raise value.at("why").fail(f"{why!r} becomes part of an id; expected letters, digits, '.', '_', '+', '-'")
    before = value.get("before")
    return ExtraRefusal(_step(value.need("call")), before.named() if before else None, why)


def _rule(value: _Reader) -> Rule:
    value.mapping("anchor", "service")
    return Rule(value.need("anchor").word().strip("/"), value.need("service").word())
