"""From a workload to its calls, by emcoctl's rules: what is called in which order, what undoes it, what may repair it.

The phases are emcoctl's: apply (POST in file order), update (PUT), delete (in reverse, `instantiate` becoming
`terminate`). Everything is a value; harness.emco.endpoints puts the addresses of a run in.
"""

import difflib
import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from harness.emco.inputs import InputError
from harness.emco.services import LIFECYCLE_VERBS, ROUTES, UnknownAnchorError, has_route, service_registered_as
from harness.emco.sidecar import Named, Position, RawCall, Replacement
from harness.emco.workload import Document, FilePart, Workload

Repeat = Literal["same", "refused", "again"]

_METHOD = MappingProxyType({"create": "POST", "replace": "PUT", "delete": "DELETE"})
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")

# What a repeated call is meant to do: nothing new, be refused, or act once more. Control runs measure what it does.
_REPEAT: Mapping[str, Repeat] = MappingProxyType(
    {"replace": "same", "approve": "same", "update": "again", "rollback": "again"}
)

# What emcoctl's rules give to undo a lifecycle call with.
_OPPOSITE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"instantiate": ("terminate",), "apply": ("terminate",), "terminate": ("instantiate", "apply")}
)

# What may repair a call, beside repeating, undoing, and undoing and doing it again. Where a service has no route for a
# step, the rung is left out. "instantiate" stands for "apply" where that is the verb.
_LADDER: Mapping[str, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        "create": (("replace",),),
        "replace": (("delete", "create"),),
        "delete": (("terminate", "delete"), ("replace",), ("create",)),
        "lifecycle": (
            ("terminate",),
            ("terminate", "instantiate"),
            ("approve", "instantiate"),
            ("approve", "terminate"),
            ("stop",),
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Multipart:
    """The form of a multipart call: the field `metadata` with this JSON, and the files."""

    metadata: Mapping[str, Any]
    files: tuple[FilePart, ...]


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the repair ladder: calls made one after the other."""

    name: str
    calls: "tuple[Call, ...]"


@dataclass(frozen=True, slots=True)
class Call:
    """One mutating API call.

    name:    stable id in a workload: `dcm/logical-clouds/create-lc2`
    verb:    create, replace, delete, or the lifecycle verb
    kind:    last segment of the collection: `logical-clouds`
    label:   what names call that resource: its name, with `-2` where another one has it, too
    target:  path under /v2/ of the resource that is created, changed, deleted or run
    path:    with /v2
    json:    the body; None for none, and where there is a multipart form
    undo:    calls that undo it, in order; empty where emcoctl's rules know of none
    repeat:  what repeating it is meant to do
    setup:   it is made, but has no crash points of its own
    """

    name: str
    service: str
    verb: str
    kind: str
    label: str
    target: str
    method: str
    path: str
    json: Mapping[str, Any] | None = None
    multipart: Multipart | None = None
    undo: "tuple[Call, ...]" = field(default=(), repr=False)
    ladder: tuple[Rung, ...] = field(default=(), repr=False)
    repeat: Repeat = "refused"
    setup: bool = False
    file: str = field(default="", repr=False)
    line: int = field(default=0, repr=False)

    @property
    def lifecycle(self) -> bool:
        """Whether it runs a resource rather than creating, changing or deleting it."""
        return self.verb not in _METHOD


@dataclass(frozen=True, slots=True)
class _Resource:
    """What a resource is made of at one moment; enough to create, replace or delete it."""

    service: str
    collection: str
    target: str
    label: str
    body: Mapping[str, Any]
    files: tuple[FilePart, ...]
    file: str
    line: int

    @property
    def kind(self) -> str:
        return self.collection.rsplit("/", 1)[-1]

    def call(self, verb: str) -> Call:
        """The call without undo and ladder."""
        call = Call(
            name=_name(self.service, self.kind, verb, self.label),
            service=self.service,
            verb=verb,
            kind=self.kind,
            label=self.label,
            target=self.target,
            method=_METHOD[verb],
            path=f"/v2/{self.collection if verb == 'create' else self.target}",
            repeat=_REPEAT.get(verb, "refused"),
            file=self.file,
            line=self.line,
        )
        if verb == "delete":
            return call
        if self.files:
            return replace(call, multipart=Multipart(self.body, self.files))
        return replace(call, json=self.body)


def _name(service: str, kind: str, verb: str, label: str) -> str:
    return f"{_UNSAFE.sub('-', service)}/{_UNSAFE.sub('-', kind)}/{verb}-{_UNSAFE.sub('-', label)}"


def _resource(document: Document) -> _Resource:
    target = f"{document.anchor}/{document.name}"
    if document.anchor.endswith("/composite-apps"):
        target += f"/{(document.spec or {})['compositeAppVersion']}"
    return _Resource(
        service=document.service,
        collection=document.anchor,
        target=target,
        label=document.name,
        body=document.body,
        files=document.files,
        file=document.file,
        line=document.line,
    )


def lifecycle_call(
    service: str, target: str, verb: str, body: Mapping[str, Any] | None = None, *, file: str = "", line: int = 0
) -> Call:
    """A lifecycle call on the resource at a path."""
    segments = target.split("/")
    # A composite app's path ends in its version; what is run has a name, and its collection before it.
    kind, label = (segments[-2], segments[-1]) if len(segments) > 1 else ("", segments[-1])
    return Call(
        name=_name(service, kind, verb, label),
        service=service,
        verb=verb,
        kind=kind,
        label=label,
        target=target,
        method="POST",
        path=f"/v2/{target}/{verb}",
        json=body or None,
        repeat=_REPEAT.get(verb, "refused"),
        file=file,
        line=line,
    )


class _Names:
    """Gives out names; the second call of a name gets `-2`."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def unique(self, call: Call) -> Call:
        suffix, number = "", 1
        while call.name + suffix in self._given:
            number += 1
            suffix = f"-{number}"
        self._given.add(call.name + suffix)
        return replace(call, name=call.name + suffix, label=call.label + suffix)


def plan_calls(workload: Workload) -> tuple[Call, ...]:
    """All calls of the workload in the order in which they are made.

    Names are given to the documents first, then to what the sidecar adds, then to the delete phase: a call that is
    added to the sidecar renames none that was there. Raises InputError for a sidecar that does not fit.
    """
    names = _Names()
    calls: list[Call] = []
    resources: dict[str, _Resource] = {}
    for document in workload.documents:
        call = names.unique(_applied(document))
        if document.verb is None:
            resources[call.name] = replace(_resource(document), label=call.label)
        calls.append(call)
    applied = len(calls)
    for extra in workload.sidecar.calls:
        call = names.unique(_raw(workload, extra.call))
        applied = _insert(workload, calls, call, extra.position, end=applied)
    if workload.update:
        applied = _add_updates(workload, calls, resources, names, end=applied)
    calls.extend([names.unique(call) for call in _deletes(workload, resources, calls)])
    return _with_setup(workload, _with_repairs(workload, tuple(calls)))


def _applied(document: Document) -> Call:
    if document.verb is None:
        return _resource(document).call("create")
    target = document.anchor.rsplit("/", 1)[0]
    return lifecycle_call(
        document.service, target, document.verb, document.body, file=document.file, line=document.line
    )


def _raw(workload: Workload, raw: RawCall) -> Call:
    """A call that the sidecar writes out."""
    try:
        service = workload.routing.service(raw.anchor)
    except UnknownAnchorError as problem:
        raise InputError(workload.sidecar.file, raw.line, str(problem)) from problem
    parent, _, last = raw.anchor.rpartition("/")
    if raw.method == "POST" and last in LIFECYCLE_VERBS:
        return lifecycle_call(service, parent, last, raw.body, file=workload.sidecar.file, line=raw.line)
    body = raw.body or {}
    label = str(body.get("metadata", {}).get("name", last)) if raw.method == "POST" else last
    collection = raw.anchor if raw.method == "POST" else parent
    target = f"{collection}/{label}"
    resource = _Resource(service, collection, target, label, body, (), workload.sidecar.file, raw.line)
    return resource.call({method: verb for verb, method in _METHOD.items()}[raw.method])


def index_of(workload: Workload, calls: Sequence[Call], wanted: Named) -> int:
    """Place of the call that a sidecar names. Raises InputError with the line, and with what may have been meant."""
    for index, call in enumerate(calls):
        if call.name == wanted.name:
            return index
    near = difflib.get_close_matches(wanted.name, [call.name for call in calls], n=1)
    hint = f"; expected the name of a call such as {near[0]}" if near else ""
    raise InputError(workload.sidecar.file, wanted.line, f"no call is named {wanted.name!r} here{hint}")


def _insert(workload: Workload, calls: list[Call], call: Call, position: Position | None, *, end: int) -> int:
    """Put a call where it belongs, or at `end`; gives the new end."""
    at = end if position is None else index_of(workload, calls, position.call) + position.after
    calls.insert(at, call)
    return end + 1


def _add_updates(
    workload: Workload, calls: list[Call], resources: Mapping[str, _Resource], names: _Names, *, end: int
) -> int:
    """The update phase: a PUT of every document that can be replaced, changed as the sidecar says."""
    sidecar = workload.sidecar
    skipped = {calls[index_of(workload, calls, named)].name for named in sidecar.update_skip}
    changes: dict[str, list[Replacement]] = {}
    for given in sidecar.replacements:
        if given.document.name not in resources:
            index_of(workload, calls, given.document)
            sentence = f"{given.document.name!r} creates nothing that could be replaced"
            raise InputError(sidecar.file, given.document.line, sentence)
        changes.setdefault(given.document.name, []).append(given)
    phase = Position(sidecar.update_before, after=False) if sidecar.update_before else None
    for name, resource in resources.items():
        mine: list[Replacement | None] = list(changes.get(name, ()))
        if not mine and (sidecar.update is False or (sidecar.update is None and changes)):
            continue
        if not mine and (name in skipped or not has_route(resource.service, "PUT", f"/v2/{resource.target}")):
            continue
        for change in mine or [None]:
            changed = resource if change is None else _changed(workload, resource, change)
            call = names.unique(changed.call("replace"))
            position = phase if change is None or change.position is None else change.position
            end = _insert(workload, calls, call, position, end=end)
    return end


def _changed(workload: Workload, resource: _Resource, change: Replacement) -> _Resource:
    body = dict(resource.body)
    if change.metadata:
        body["metadata"] = {**body.get("metadata", {}), **change.metadata}
    if change.spec:
        body["spec"] = {**body.get("spec", {}), **change.spec}
    line = change.document.line
    files = (workload.file_part(change.file, line=line),) if change.file else resource.files
    return replace(resource, body=body, files=files, file=workload.sidecar.file, line=line)


def _deletes(workload: Workload, resources: Mapping[str, _Resource], before: Sequence[Call]) -> Iterator[Call]:
    """The delete phase of emcoctl: in reverse, instantiate and apply become terminate, the other verbs are skipped.

    Where emcoctl would terminate what is terminated already, and be refused, the call is left out.
    """
    states = States()
    for call in before:
        states.see(call)
    by_target = {resource.target: resource for resource in resources.values()}
    for document in reversed(workload.documents):
        if document.verb is None:
            resource = by_target[_resource(document).target]
            if states.exists(resource.target):
                call = resource.call("delete")
                states.see(call)
                yield call
        elif document.verb in ("instantiate", "apply"):
            target = document.anchor.rsplit("/", 1)[0]
            if states.of(target) in ("instantiated", "stopped"):
                call = lifecycle_call(document.service, target, "terminate", file=document.file, line=document.line)
                states.see(call)
                yield call


class States:
    """What exists, with which content, and how far its life has come, as calls are made one after the other."""

    _AFTER: Mapping[str, str] = MappingProxyType(
        {
            "approve": "approved",
            "instantiate": "instantiated",
            "apply": "instantiated",
            "terminate": "terminated",
            "stop": "stopped",
            "update": "instantiated",
            "rollback": "instantiated",
            "migrate": "updated",
        }
    )

    def __init__(self) -> None:
        self._state: dict[str, str] = {}
        self._content: dict[str, Call] = {}

    def see(self, call: Call) -> None:
        if call.verb == "delete":
            self._state.pop(call.target, None)
            self._content.pop(call.target, None)
        elif call.verb in ("create", "replace"):
            self._state.setdefault(call.target, "created")
            self._content[call.target] = call
        else:
            self._state[call.target] = self._AFTER[call.verb]
            if call.verb == "migrate" and (target := _migration_target(call)):
                self._state[target] = "instantiated"

    def of(self, target: str) -> str:
        """The state of a resource; empty when it does not exist."""
        return self._state.get(target, "")

    def exists(self, target: str) -> bool:
        return target in self._content

    def content(self, target: str) -> Call | None:
        """The call, create or replace, that gave the resource its content."""
        return self._content.get(target)


def _migration_target(call: Call) -> str:
    """The path of the deployment intent group that a migrate goes to; empty when its body names none."""
    spec = (call.json or {}).get("spec", {})
    segments = call.target.split("/")
    version, group = spec.get("targetCompositeAppVersion"), spec.get("targetDeploymentIntentGroup")
    if not version or not group or len(segments) != 7:
        return ""
    return "/".join([*segments[:4], str(version), segments[5], str(group)])


def _with_repairs(workload: Workload, calls: tuple[Call, ...]) -> tuple[Call, ...]:
    """The calls with what undoes and what may repair each."""
    states = States()
    done: list[Call] = []
    for call in calls:
        # After a delete the content is gone; what was there before is what an undo or a repair has to bring back.
        content = call if call.verb in ("create", "replace") else states.content(call.target)
        undo = _undo(call, states.content(call.target))
        done.append(replace(call, undo=undo, ladder=_ladder(call, content)))
        states.see(call)
    return _with_extra_repairs(workload, tuple(done))


def _as(content: Call, verb: str) -> Call:
    """The content of a create or replace call as another of create, replace, delete."""
    collection = content.path if content.verb == "create" else f"/v2/{_collection(content)}"
    empty = verb == "delete"
    return replace(
        content,
        name=_name(content.service, content.kind, verb, content.label),
        verb=verb,
        method=_METHOD[verb],
        path=collection if verb == "create" else f"/v2/{content.target}",
        json=None if empty else content.json,
        multipart=None if empty else content.multipart,
        repeat=_REPEAT.get(verb, "refused"),
        undo=(),
        ladder=(),
    )


def _collection(content: Call) -> str:
    segments = content.target.split("/")
    return "/".join(segments[: len(segments) - segments[::-1].index(content.kind)])


def _undo(call: Call, before: Call | None) -> tuple[Call, ...]:
    if call.verb == "create":
        return (_as(call, "delete"),)
    if call.verb == "replace":
        return (_as(before, "replace"),) if before else ()
    if call.verb == "delete":
        return (_as(before, "create"),) if before else ()
    for verb in _OPPOSITE.get(call.verb, ()):
        opposite = lifecycle_call(call.service, call.target, verb)
        if _possible(opposite, beside=call):
            return (opposite,)
    return ()


def _possible(step: Call, *, beside: Call) -> bool:
    """Whether the service has a route for the step. Of a service that nothing is known of, emcoctl's own pair is
    assumed where another lifecycle call is made on the same resource."""
    if step.lifecycle and not any(route.service == step.service for route in ROUTES):
        return beside.lifecycle and step.verb in ("terminate", "instantiate")
    return has_route(step.service, step.method, step.path)


def _ladder(call: Call, content: Call | None) -> tuple[Rung, ...]:
    rungs = []
    for verbs in _LADDER["lifecycle" if call.lifecycle else call.verb]:
        if verbs == (call.verb,):
            continue  # repeating is tried anyway
        steps = [_step(call, verb, content) for verb in verbs]
        if all(step is not None and _possible(step, beside=call) for step in steps):
            given = tuple(step for step in steps if step is not None)
            words = " + ".join(step.method if not step.lifecycle else step.verb for step in given)
            rungs.append(Rung(words, given))
    return tuple(rungs)


def _step(call: Call, verb: str, content: Call | None) -> Call | None:
    if verb in _METHOD:
        if call.verb == verb:
            return replace(call, undo=(), ladder=())
        return _as(content, verb) if content else None
    step = lifecycle_call(call.service, call.target, verb)
    if verb == "instantiate" and not _possible(step, beside=call):
        return lifecycle_call(call.service, call.target, "apply")
    return step


def _with_extra_repairs(workload: Workload, calls: tuple[Call, ...]) -> tuple[Call, ...]:
    done = list(calls)
    for named, steps in workload.sidecar.undo:
        index = index_of(workload, calls, named)
        done[index] = replace(done[index], undo=tuple(resolved(workload, calls, step) for step in steps))
    for named, rungs in workload.sidecar.ladder:
        index = index_of(workload, calls, named)
        more = tuple(Rung(rung.name, tuple(resolved(workload, calls, step) for step in rung.calls)) for rung in rungs)
        done[index] = replace(done[index], ladder=(*done[index].ladder, *more))
    return tuple(done)


def resolved(workload: Workload, calls: Sequence[Call], step: Named | RawCall) -> Call:
    """The call that a step of a sidecar stands for, without what undoes and repairs it. Raises InputError."""
    if isinstance(step, RawCall):
        return _raw(workload, step)
    return replace(calls[index_of(workload, calls, step)], undo=(), ladder=())


def _with_setup(workload: Workload, calls: tuple[Call, ...]) -> tuple[Call, ...]:
    names = [call.name for call in calls]
    setup: set[str] = set()
    for pattern in workload.sidecar.setup:
        matching = fnmatch.filter(names, pattern.name)
        if not matching:
            index_of(workload, calls, pattern)
        setup.update(matching)
    return tuple(replace(call, setup=call.name in setup) for call in calls)


def clusters(calls: Iterable[Call]) -> tuple[tuple[str, str], ...]:
    """(cluster provider, cluster) of every cluster that the calls register with a kubeconfig, in order."""
    found = dict.fromkeys(
        (call.target.split("/")[1], call.target.split("/")[3])
        for call in calls
        if call.service == "clm" and call.kind == "clusters" and call.verb == "create" and call.multipart is not None
    )
    return tuple(found)


def services(calls: Iterable[Call]) -> tuple[str, ...]:
    """Names of the services that the calls need: those that are called and those that are registered as controllers."""
    found: dict[str, None] = {}
    for call in calls:
        found.setdefault(call.service)
        if call.kind in ("controllers", "clm-controllers", "dtc-controllers") and call.verb == "create":
            registered = service_registered_as(call.target.rsplit("/", 1)[-1])
            if registered is not None:
                found.setdefault(registered)
    return tuple(found)


def not_tested(calls: Iterable[Call]) -> tuple[str, ...]:
    """The mutating routes of the known services that none of the calls takes, as `orchestrator PUT /v2/projects/{}`."""
    made = {(call.service, call.method, call.path) for call in calls}
    return tuple(str(route) for route in ROUTES if not any(route.matches(*call) for call in made))
