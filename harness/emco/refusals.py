"""Calls that must be refused without any fault: what EMCO's state machine, children and the workload's sidecar say."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from harness.emco.calls import Call, lifecycle_call
from harness.emco.phases import plan_calls
from harness.emco.resolving import index_of, resolved
from harness.emco.sidecar import ExtraRefusal
from harness.emco.states import States
from harness.emco.workload import Workload


@dataclass(frozen=True, slots=True)
class RefusedCall:
    """A call that must be refused, and leave the state as it is, when made right before the call of index `before`.

    why: one word, part of the id `<call>@refused:<why>.none`
    """

    call: Call
    before: int
    why: str


@dataclass(frozen=True, slots=True)
class _RefusalRule:
    """A kind's verb that must be refused in a state."""

    kind: str
    verb: str
    state: str
    why: str


# EMCO's state machine, as far as a call is plainly out of place. A rollback has no such check in EMCO, and a terminate
# of a logical cloud that was never instantiated is answered 202 and does nothing: neither stands here.
_REFUSALS: tuple[_RefusalRule, ...] = (
    _RefusalRule("deployment-intent-groups", "instantiate", "created", "not-approved"),
    _RefusalRule("deployment-intent-groups", "terminate", "approved", "not-instantiated"),
    _RefusalRule("deployment-intent-groups", "update", "approved", "not-instantiated"),
    _RefusalRule("deployment-intent-groups", "migrate", "approved", "not-instantiated"),
    _RefusalRule("deployment-intent-groups", "approve", "instantiated", "instantiated"),
    _RefusalRule("deployment-intent-groups", "stop", "instantiated", "nothing-under-way"),
    _RefusalRule("deployment-intent-groups", "delete", "instantiated", "instantiated"),
    _RefusalRule("logical-clouds", "stop", "created", "not-instantiated"),
    _RefusalRule("logical-clouds", "delete", "instantiated", "instantiated"),
    _RefusalRule("logical-clouds", "terminate", "terminated", "already-terminated"),
)


def refused_calls(workload: Workload, calls: tuple[Call, ...] | None = None) -> tuple[RefusedCall, ...]:
    """The calls that must be refused without any fault, each with the moment at which it is to be tried."""
    made = plan_calls(workload) if calls is None else calls
    found = [*_by_state(made), *_by_children(made), *_by_sidecar(workload, made)]
    unique: dict[tuple[str, str], RefusedCall] = {}
    for refused in found:
        unique.setdefault((refused.call.name, refused.why), refused)
    return tuple(sorted(unique.values(), key=lambda refused: refused.before))


def _by_state(calls: tuple[Call, ...]) -> Iterator[RefusedCall]:
    """Each rule once: for the first resource of its kind that comes into the state."""
    waiting = list(_REFUSALS)
    states = States()
    lived = {call.target for call in calls if call.lifecycle}
    for index, call in enumerate(calls):
        states.see(call)
        if call.setup or call.target not in lived:
            continue
        for rule in tuple(waiting):
            if rule.kind == call.kind and states.of(call.target) == rule.state:
                tried = _out_of_place(calls, call, rule.verb)
                if tried is not None:
                    waiting.remove(rule)
                    yield RefusedCall(tried, index + 1, rule.why)


def _out_of_place(calls: tuple[Call, ...], now: Call, verb: str) -> Call | None:
    for call in calls:
        if call.verb == verb and call.target == now.target:
            return replace(call, undo=(), ladder=())
    # A migrate needs a body, and a delete that no phase makes nobody asked for.
    return None if verb in ("migrate", "delete") else lifecycle_call(now.service, now.target, verb)


def _by_children(calls: tuple[Call, ...]) -> Iterator[RefusedCall]:
    """For each delete of what has children: the delete, tried while all of them are there."""
    for index, call in enumerate(calls):
        if call.verb != "delete":
            continue
        created = max(
            (at for at in range(index) if calls[at].target == call.target and calls[at].verb == "create"), default=-1
        )
        below = [
            at
            for at in range(created + 1, index)
            if calls[at].verb == "delete" and calls[at].target.startswith(f"{call.target}/")
        ]
        if below and not call.setup:
            yield RefusedCall(replace(call, undo=(), ladder=()), below[0], "has-children")


def _by_sidecar(workload: Workload, calls: tuple[Call, ...]) -> Iterator[RefusedCall]:
    for extra in workload.sidecar.refused:
        yield _extra_refusal(workload, calls, extra)


def _extra_refusal(workload: Workload, calls: tuple[Call, ...], extra: ExtraRefusal) -> RefusedCall:
    before = len(calls) if extra.before is None else index_of(workload, calls, extra.before)
    return RefusedCall(resolved(workload, calls, extra.call), before, extra.why)


def digest(calls: Iterable[Call], refused: Iterable[RefusedCall] = ()) -> str:
    """SHA-256, in hex, of everything that decides what the calls do; the same wherever the files lie."""
    state = hashlib.sha256()
    for call in calls:
        state.update(_content(call))
        for step in (*call.undo, *(step for rung in call.ladder for step in rung.calls)):
            state.update(_content(step))
    for one in refused:
        state.update(f"{one.before} {one.why} ".encode() + _content(one.call))
    return state.hexdigest()


def _content(call: Call) -> bytes:
    form = call.multipart
    parts = [] if form is None else [(part.form_field, part.filename, part.content.hex()) for part in form.files]
    body = call.json if form is None else form.metadata
    return json.dumps(
        [call.name, call.method, call.path, body, parts, call.setup], sort_keys=True, default=str
    ).encode()
