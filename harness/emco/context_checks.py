"""Checks of AppContexts in etcd: do records and contexts name each other, is each whole, is its state true."""

from collections.abc import Iterator

from harness.emco.appcontexts import FAILED, UNFINISHED, AppContext
from harness.emco.record_checks import Found
from harness.emco.records import ACTIVE_KEY, MAY_STAY, without_idle_activity
from harness.emco.view import Action, Record, View

_UP = frozenset({"Instantiating", "Instantiated", "InstantiateFailed", "Updating", "Updated", "UpdatedFailed"})
_DOWN = frozenset({"Terminating", "Terminated", "TerminateFailed"})
_GROUP = "deploymentIntentGroup"
# What the context of a record's last action may be. `Updated` is where an update leaves a logical cloud.
_FITS = {
    "Instantiated": _UP,
    "Applied": _UP,
    "InstantiateStopped": _UP,
    "Updated": _UP,
    "Terminated": _DOWN,
    "TerminateStopped": _DOWN,
}


def dangling(view: View) -> Found:
    """I4: the contexts that a record names are there, and it names one wherever its state is that of a context."""
    for record in view.records:
        for action in _needing(record):
            if action.state in _FITS and not action.context:
                yield record.where, f"it was told {action.state}, and names no context for it"
        if gone := sorted(_needed(record) - set(view.contexts)):
            which = "its last action's " if record.last.context in gone else ""
            yield record.where, f"{which}context {', '.join(gone)} is not in etcd"


def status_context(view: View) -> Found:
    """I4: the context that a record names for its status is there."""
    for record in view.records:
        name = record.status_context
        if name and name not in view.contexts and name not in _needed(record):
            yield record.where, f"the context of its status, {name}, is not in etcd"


def _needed(record: Record) -> frozenset[str]:
    """The contexts without which a record cannot be terminated or removed."""
    return frozenset(action.context for action in _needing(record)) - {""}


def _needing(record: Record) -> tuple[Action, ...]:
    """The actions whose contexts are needed.

    Of a deployment intent group all, since its removal reads every one; of the others the last: re-instantiating a
    logical cloud deletes the context before, and its removal skips those.
    """
    return record.actions if record.name == _GROUP else (record.last,)


def unowned(view: View) -> Found:
    """I4: a context that rsync was given has a record that names it."""
    for context in _unowned(view):
        if context.queued:
            yield context.where, f"no record names it, and rsync was given it: {context.status or 'without a status'}"


def inert(view: View) -> Found:
    """I4: a context that rsync never saw has a record that names it."""
    for context in _unowned(view):
        if not context.queued:
            yield context.where, "no record names it; rsync was never given it, so nothing will act on it"


def _unowned(view: View) -> Iterator[AppContext]:
    return (context for context in view.contexts.values() if context.id not in view.owned)


def told_and_done(view: View) -> Found:
    """I5: what a record was told and what its context came to fit together."""
    for record in view.records:
        context = view.contexts.get(record.last.context)
        fits = _FITS.get(record.last.state)
        if context and fits and context.status not in fits:
            became = context.status or "without a status"
            yield record.where, f"it was told {record.last.state}, its context {context.id} is {became}"


def idle(view: View) -> Found:
    """I8: at rest rsync has no active context.

    One with a queue that is worked off may stay active: see `without_idle_activity`.
    """
    for raw in without_idle_activity(view.snapshot).etcd:
        key = raw.decode("utf-8", "replace")
        if match := ACTIVE_KEY.match(key):
            context = view.contexts.get(match.group(1))
            why = "there is no such context" if context is None else "nothing is going on"
            if context and not context.queue:
                why = "it has no event to work off"
            yield f"etcd {key}", f"rsync has it as active, although {why}"


def updated(view: View) -> Found:
    """I10: an update of a deployment intent group was recorded to its end.

    The source of a migration stays Updated: what it went over to belongs to another group.
    """
    for record in view.of(_GROUP):
        if record.last.state == "Updated" and not _migrated(view, record):
            yield record.where, "its last state is Updated: it can be neither terminated nor updated"


def _migrated(view: View, record: Record) -> bool:
    """Whether another group has, or had and removed, what this one's last context was updated to."""
    last = view.contexts.get(record.last.context)
    if last is None:
        return False
    gone_to = [event.other for event in last.queue if event.name == "UpdateDelete"][-1:]
    targets = gone_to or [
        context.id
        for context in view.contexts.values()
        if any(event.name == "Update" and event.other == last.id for event in context.queue)
    ]
    there = [name for name in targets if name in view.contexts]
    return bool(targets) and all(any(owner is not record for owner in view.owners.get(name, ())) for name in there)


def app_order(view: View) -> Found:
    """The order of apps is there and names apps that are, each on a cluster."""
    for context in view.contexts.values():
        read = context.queued or context.id in view.owned  # else it may never have been finished: see `inert`
        if read and not context.order:
            what = "no order of apps: rsync cannot read it" if context.order is None else "an order of apps without any"
            yield context.where, f"it has {what}"
        for name in context.order or ():
            if name not in context.apps or not context.apps[name].present:
                yield context.where, f"its order of apps names {name}, which is not there"
            elif read and not context.apps[name].clusters:
                yield context.where, f"its app {name} is on no cluster: rsync has nothing to do for it"


def resource_order(view: View) -> Found:
    """The order of resources names resources that are there."""
    for context in view.contexts.values():
        for where, cluster in context.clusters():
            for name in cluster.order or ():
                if name not in cluster.resources or not cluster.resources[name].present:
                    yield where, f"its order names {name}, which is not there"


def cluster_order(view: View) -> Found:
    """A cluster in a context has an order of resources.

    Not so one that rsync added itself, to keep the status of what a later context applied there.
    """
    for context in view.contexts.values():
        if not context.queued and context.id not in view.owned:
            continue  # never finished, never read: see `inert`
        for where, cluster in context.clusters():
            if cluster.order is None and cluster.reference in ("", context.id):
                yield where, "it has no order of resources: rsync skips it"


def status_kept(view: View) -> Found:
    """The context that keeps the status for another one is there; of one that no record names nobody asks for it."""
    for context in view.contexts.values():
        if context.id in view.owned and context.keeps_in not in view.contexts:
            yield context.where, f"its status is kept in context {context.keeps_in}, which is not there"


def resource_status(view: View) -> Found:
    """Once a context is done, each of its resources has a status."""
    for context in view.contexts.values():
        if context.keeps_in != context.id or context.status not in ("Instantiated", "Terminated", "Updated"):
            continue
        for where, cluster in context.clusters():
            for name in cluster.order or ():
                if name in cluster.resources and not cluster.resources[name].status:
                    yield where, f"{name} has no status, although the context is {context.status}"


def truthful(view: View) -> Found:
    """A context that is Instantiated has applied all, one that is Terminated has deleted all.

    Only where no update took part: after one, resources come and go under another context's name.
    """
    for context in view.contexts.values():
        expected = {"Instantiated": "Applied", "Terminated": "Deleted"}.get(context.status, "")
        if not expected or not context.alone or not context.queued:
            continue
        for where, cluster in context.clusters():
            for resource in cluster.resources.values():
                if resource.status not in ("", expected):
                    yield where, f"the context is {context.status}, but {resource.name} is {resource.status}"


def queue_done(view: View) -> Found:
    """At rest nothing is pending in rsync's queues, but for what stays after each update."""
    for context in view.contexts.values():
        for event in context.queue:
            if event.status == "Pending" and event.name not in MAY_STAY:
                yield context.where, f"rsync has {event.name} pending, although nothing is going on"


def finished(view: View) -> Found:
    """At rest a context that rsync was given is done or has failed."""
    for context in view.contexts.values():
        if context.queued and (context.status in UNFINISHED or not context.status):
            yield context.where, f"it stays {context.status or 'without a status'}, although nothing is going on"


def states_agree(view: View) -> Found:
    """At rest a context's status is what rsync holds it for and, unless it failed, what it was to become."""
    for context in view.contexts.values():
        if context.current and context.status != context.current:
            yield context.where, f"its status is {context.status or 'missing'}, its CurrentState {context.current}"
        elif context.desired and context.current not in FAILED and context.desired != context.current:
            yield context.where, f"its DesiredState is {context.desired}, its CurrentState {context.current}"


def stop_flag(view: View) -> Found:
    """Only what was stopped has its stop flag set."""
    for context in view.contexts.values():
        owners = view.owners.get(context.id, ())
        if context.stopped and owners and not any(owner.last.state.endswith("Stopped") for owner in owners):
            yield context.where, f"its stop flag is set, its record says {owners[-1].last.state}: rsync refuses all"
