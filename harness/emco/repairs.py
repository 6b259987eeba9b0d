"""What undoes a call, and what may repair it: by emcoctl's rules, and by what the sidecar adds."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from harness.emco.calls import METHODS, REPEATS, Call, Rung, call_name, lifecycle_call
from harness.emco.resolving import index_of, resolved
from harness.emco.services import ROUTES, has_route
from harness.emco.states import States
from harness.emco.workload import Workload

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


def with_repairs(workload: Workload, calls: tuple[Call, ...]) -> tuple[Call, ...]:
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
    if verb in METHODS:
        if call.verb == verb:
            return replace(call, undo=(), ladder=())
        return _as(content, verb) if content else None
    step = lifecycle_call(call.service, call.target, verb)
    if verb == "instantiate" and not _possible(step, beside=call):
        return lifecycle_call(call.service, call.target, "apply")
    return step


def _possible(step: Call, *, beside: Call) -> bool:
    """Whether the service has a route for the step. Of a service that nothing is known of, emcoctl's own pair is
    assumed where another lifecycle call is made on the same resource."""
    if step.lifecycle and not any(route.service == step.service for route in ROUTES):
        return beside.lifecycle and step.verb in ("terminate", "instantiate")
    return has_route(step.service, step.method, step.path)


def _as(content: Call, verb: str) -> Call:
    """The content of a create or replace call as another of create, replace, delete."""
    collection = content.path if content.verb == "create" else f"/v2/{_collection(content)}"
    empty = verb == "delete"
    return replace(
        content,
        name=call_name(content.service, content.kind, verb, content.label),
        verb=verb,
        method=METHODS[verb],
        path=collection if verb == "create" else f"/v2/{content.target}",
        json=None if empty else content.json,
        multipart=None if empty else content.multipart,
        repeat=REPEATS.get(verb, "refused"),
        undo=(),
        ladder=(),
    )


def _collection(content: Call) -> str:
    segments = content.target.split("/")
    return "/".join(segments[: len(segments) - segments[::-1].index(content.kind)])


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
