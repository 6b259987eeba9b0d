"""From a workload to its calls in order, by emcoctl's phases: apply, update, delete.

apply is POST in file order, update PUT, delete in reverse, `instantiate` becoming `terminate`. Everything is a value;
harness.emco.endpoints puts the addresses of a run in.
"""

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.emco.calls import Call, Resource, lifecycle_call, resource_of
from harness.emco.inputs import InputError
from harness.emco.repairs import with_repairs
from harness.emco.resolving import index_of, raw_call
from harness.emco.services import has_route
from harness.emco.sidecar import Position, Replacement
from harness.emco.states import States
from harness.emco.workload import Document, Workload


def plan_calls(workload: Workload) -> tuple[Call, ...]:
    """All calls of the workload in the order in which they are made.

    Names are given to the documents first, then to what the sidecar adds, then to the delete phase: a call that is
    added to the sidecar renames none that was there. Raises InputError for a sidecar that does not fit.
    """
    names = _Names()
    calls: list[Call] = []
    resources: dict[str, Resource] = {}
    for document in workload.documents:
        call = names.unique(_applied(document))
        if document.verb is None:
            resources[call.name] = replace(resource_of(document), label=call.label)
        calls.append(call)
    applied = len(calls)
    for extra in workload.sidecar.calls:
        call = names.unique(raw_call(workload, extra.call))
        applied = _insert(workload, calls, call, extra.position, end=applied)
    if workload.update:
        applied = _add_updates(workload, calls, resources, names, end=applied)
    calls.extend([names.unique(call) for call in _deletes(workload, resources, calls)])
    return _with_setup(workload, with_repairs(workload, tuple(calls)))


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


def _applied(document: Document) -> Call:
    if document.verb is None:
        return resource_of(document).call("create")
    target = document.anchor.rsplit("/", 1)[0]
    return lifecycle_call(
        document.service, target, document.verb, document.body, file=document.file, line=document.line
    )


def _insert(workload: Workload, calls: list[Call], call: Call, position: Position | None, *, end: int) -> int:
    """Put a call where it belongs, or at `end`; gives the new end."""
    at = end if position is None else index_of(workload, calls, position.call) + position.after
    calls.insert(at, call)
    return end + 1


def _add_updates(
    workload: Workload, calls: list[Call], resources: Mapping[str, Resource], names: _Names, *, end: int
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


def _changed(workload: Workload, resource: Resource, change: Replacement) -> Resource:
    body = dict(resource.body)
    if change.metadata:
        body["metadata"] = {**body.get("metadata", {}), **change.metadata}
    if change.spec:
        body["spec"] = {**body.get("spec", {}), **change.spec}
    line = change.document.line
    files = (workload.file_part(change.file, line=line),) if change.file else resource.files
    return replace(resource, body=body, files=files, file=workload.sidecar.file, line=line)


def _deletes(workload: Workload, resources: Mapping[str, Resource], before: Sequence[Call]) -> Iterator[Call]:
    """The delete phase of emcoctl: in reverse, instantiate and apply become terminate, the other verbs are skipped.

    Where emcoctl would terminate what is terminated already, and be refused, the call is left out.
    """
    states = States()
    for call in before:
        states.see(call)
    by_target = {resource.target: resource for resource in resources.values()}
    for document in reversed(workload.documents):
        if document.verb is None:
            resource = by_target[resource_of(document).target]
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


def _with_setup(workload: Workload, calls: tuple[Call, ...]) -> tuple[Call, ...]:
    names = [call.name for call in calls]
    setup: set[str] = set()
    for pattern in workload.sidecar.setup:
        matching = fnmatch.filter(names, pattern.name)
        if not matching:
            index_of(workload, calls, pattern)
        setup.update(matching)
    return tuple(replace(call, setup=call.name in setup) for call in calls)
