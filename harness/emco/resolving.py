"""What the names in a sidecar stand for: calls of the workload, or calls that it writes out."""

import difflib
from collections.abc import Sequence
from dataclasses import replace

from harness.emco.calls import METHODS, Call, Resource, lifecycle_call
from harness.emco.inputs import InputError
from harness.emco.services import LIFECYCLE_VERBS, UnknownAnchorError
from harness.emco.sidecar import Named, RawCall
from harness.emco.workload import Workload


def index_of(workload: Workload, calls: Sequence[Call], wanted: Named) -> int:
    """Place of the call that a sidecar names. Raises InputError with the line, and with what may have been meant."""
    for index, call in enumerate(calls):
        if call.name == wanted.name:
            return index
    near = difflib.get_close_matches(wanted.name, [call.name for call in calls], n=1)
    hint = f"; expected the name of a call such as {near[0]}" if near else ""
    raise InputError(workload.sidecar.file, wanted.line, f"no call is named {wanted.name!r} here{hint}")


def raw_call(workload: Workload, raw: RawCall) -> Call:
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
    resource = Resource(service, collection, target, label, body, (), workload.sidecar.file, raw.line)
    return resource.call({method: verb for verb, method in METHODS.items()}[raw.method])


def resolved(workload: Workload, calls: Sequence[Call], step: Named | RawCall) -> Call:
    """The call that a step of a sidecar stands for, without what undoes and repairs it. Raises InputError."""
    if isinstance(step, RawCall):
        return raw_call(workload, step)
    return replace(calls[index_of(workload, calls, step)], undo=(), ladder=())
