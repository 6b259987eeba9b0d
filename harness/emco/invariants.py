"""What must hold in EMCO's stores and on its edges: each invariant with its reason, how bad it is, and what repairs it.

An invariant needs no run to compare with: it is a pure function of one snapshot, and looks at an EMCO that nobody did
anything to as well as at one that was crashed. All of them hold in every state of the built-in workload on real EMCO,
apart from what docs/findings.md lists.
"""

from collections.abc import Callable
from dataclasses import dataclass

from harness.crashpoints.model import Grade
from harness.emco import context_checks, edge_checks, record_checks
from harness.emco.record_checks import Found
from harness.emco.view import View, look
from harness.stores.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Invariant:
    """One thing that must hold.

    name:    stable, for reports and settings
    why:     what goes wrong where it is broken
    grade:   warn, fail or blocker (no call of the API repairs it)
    repair:  what does
    check:   the places where it is broken, with a sentence each
    at_rest: it may be broken for a moment while EMCO works
    """

    name: str
    why: str
    grade: Grade
    repair: str
    check: Callable[[View], Found]
    at_rest: bool = False


@dataclass(frozen=True, slots=True)
class Violation:
    """One place where an invariant is broken. Equal ones are the same violation, also in two snapshots."""

    invariant: str
    grade: Grade
    where: str
    sentence: str


_WARN, _FAIL, _BLOCKER = Grade.WARN, Grade.FAIL, Grade.BLOCKER
_AGAIN = "DELETE and POST it again"
_BY_HAND = "nothing but changing the database by hand"

INVARIANTS: tuple[Invariant, ...] = (
    Invariant(
        "I1-data",
        "A record without its data counts as there (POST answers 409) and cannot be used.",
        _FAIL,
        _AGAIN,
        record_checks.data,
    ),
    Invariant(
        "I1-state",
        "Without a state that EMCO knows nothing can be approved or terminated; a logical cloud not even deleted.",
        _FAIL,
        f"{_AGAIN}; for a logical cloud {_BY_HAND}",
        record_checks.state,
    ),
    Invariant(
        "I1-private-key",
        "A user's logical cloud cannot ask for the certificates of its users without it.",
        _BLOCKER,
        _BY_HAND,
        record_checks.private_key,
    ),
    Invariant(
        "I2-content",
        "An app without its chart or a profile without its files fails at instantiate.",
        _FAIL,
        f"PUT it, or {_AGAIN}",
        record_checks.content,
    ),
    Invariant(
        "I2-app-field",
        "Profiles and placement intents are looked up by this field: without it they are as good as not there.",
        _FAIL,
        f"PUT it, or {_AGAIN}",
        record_checks.app_field,
    ),
    Invariant(
        "I3-cloud-config",
        "rsync reaches a cluster by its cloud config.",
        _FAIL,
        _AGAIN,
        record_checks.cloud_config,
    ),
    Invariant(
        "I3-cluster",
        "Credentials of a cluster that was deleted stay, and a new cluster of that name is refused or gets them.",
        _FAIL,
        "POST the cluster (answers 500, creates it), then DELETE it",
        record_checks.cloud_config_owner,
    ),
    Invariant(
        "I4-dangling",
        "Terminate and DELETE read the contexts that a record names and answer 500 for ever where one is missing.",
        _BLOCKER,
        _BY_HAND,
        context_checks.dangling,
    ),
    Invariant(
        "I4-status-context",
        "Status queries read this context and answer 400 where it is gone.",
        _FAIL,
        "terminate, then approve and instantiate again",
        context_checks.status_context,
    ),
    Invariant(
        "I4-unowned",
        "rsync applies or applied it, and no record can stop, terminate or show it.",
        _FAIL,
        "instantiate and terminate again takes the objects away, not the context",
        context_checks.unowned,
    ),
    Invariant(
        "I4-inert",
        "Nothing will ever act on it or remove it; it only takes space.",
        _WARN,
        "remove its keys below /context/<id>/ by hand",
        context_checks.inert,
    ),
    Invariant(
        "I5-told-and-done",
        "A record that says otherwise than its context is refused what it needs next (terminate, delete).",
        _FAIL,
        "terminate again, or instantiate and terminate",
        context_checks.told_and_done,
        at_rest=True,
    ),
    Invariant(
        "I6-parent",
        "A record without what it stands below cannot be reached, and stands in the way of a new one.",
        _FAIL,
        "POST the parent again, then DELETE from below",
        record_checks.parent,
    ),
    Invariant(
        "I6-reference",
        "What a record refers to is used when it is instantiated.",
        _FAIL,
        "POST what is missing, or DELETE the record",
        record_checks.reference,
    ),
    Invariant(
        "I7-once",
        "Two records of one key: which one is read is chance, and DELETE answers 409 for ever.",
        _BLOCKER,
        _BY_HAND,
        record_checks.once,
    ),
    Invariant(
        "I8-idle",
        "rsync works off what is active at its next start, whatever was done since.",
        _FAIL,
        "restart rsync",
        context_checks.idle,
        at_rest=True,
    ),
    Invariant(
        "I9-key",
        "EMCO finds a record by its keyId: with another one it is not there, and not in the way of a second one.",
        _BLOCKER,
        _BY_HAND,
        record_checks.key_of_record,
    ),
    Invariant(
        "I10-updated",
        "A group that stays Updated can be neither terminated nor updated, and DELETE leaves its workload running.",
        _FAIL,
        "approve and instantiate it again",
        context_checks.updated,
        at_rest=True,
    ),
    Invariant(
        "I11-user-config",
        "Without it rsync cannot deploy into the user's logical cloud.",
        _FAIL,
        "GET .../cluster-references/<name>/kubeconfig makes it",
        record_checks.user_config,
        at_rest=True,
    ),
    Invariant(
        "I12-schema",
        "Without exactly one schema that fits together every service refuses every POST.",
        _BLOCKER,
        "remove all schema segments and restart the orchestrator, then the others",
        record_checks.schema,
    ),
    Invariant(
        "context-app-order",
        "rsync reads a context by its order of apps: what is not in it, or on no cluster, is never applied.",
        _FAIL,
        "instantiate again",
        context_checks.app_order,
        at_rest=True,
    ),
    Invariant(
        "context-resource-order",
        "rsync applies what the order names; what is not there fails the whole context.",
        _FAIL,
        "instantiate again",
        context_checks.resource_order,
        at_rest=True,
    ),
    Invariant(
        "context-cluster-order",
        "rsync skips a cluster without an order of resources: nothing is applied there and nobody is told.",
        _FAIL,
        "instantiate again",
        context_checks.cluster_order,
        at_rest=True,
    ),
    Invariant(
        "context-status-kept",
        "Status queries follow this id and fail where it is gone.",
        _FAIL,
        "terminate and instantiate again",
        context_checks.status_kept,
    ),
    Invariant(
        "context-resource-status",
        "A resource without a status is counted neither as applied nor as failed.",
        _FAIL,
        "terminate and instantiate again",
        context_checks.resource_status,
        at_rest=True,
    ),
    Invariant(
        "context-truthful",
        "The status says that all is done, and it is not.",
        _FAIL,
        "terminate and instantiate again",
        context_checks.truthful,
        at_rest=True,
    ),
    Invariant(
        "context-queue",
        "An event that stays pending is lost until the next restart of rsync, which then does it, wanted or not.",
        _FAIL,
        "restart rsync",
        context_checks.queue_done,
        at_rest=True,
    ),
    Invariant(
        "context-finished",
        "A context that stays Instantiating or Terminating holds up all that waits for it.",
        _FAIL,
        "terminate, then instantiate again",
        context_checks.finished,
        at_rest=True,
    ),
    Invariant(
        "context-states",
        "rsync decides by CurrentState which event it takes; the API shows the status.",
        _FAIL,
        "terminate, then instantiate again",
        context_checks.states_agree,
        at_rest=True,
    ),
    Invariant(
        "context-stop-flag",
        "rsync refuses every event of a context with this flag, terminate too.",
        _FAIL,
        "stop, then terminate",
        context_checks.stop_flag,
        at_rest=True,
    ),
    Invariant(
        "edge-owned",
        "It runs, and nothing in EMCO shows it or takes it away.",
        _FAIL,
        "instantiate again and terminate, or kubectl delete",
        edge_checks.owned,
        at_rest=True,
    ),
    Invariant(
        "edge-applied",
        "EMCO says that it runs, and it does not.",
        _FAIL,
        "terminate and instantiate again",
        edge_checks.applied,
        at_rest=True,
    ),
    Invariant(
        "edge-deleted",
        "EMCO says that it is gone, and it runs.",
        _FAIL,
        "kubectl delete",
        edge_checks.deleted,
        at_rest=True,
    ),
)


def check(snapshot: Snapshot, *, at_rest: bool = True) -> tuple[Violation, ...]:
    """Every place where an invariant is broken, in the order of the table.

    at_rest: nothing is going on; without it those that may be broken for a moment are left out
    """
    view = look(snapshot)
    return tuple(
        Violation(one.name, one.grade, where, sentence)
        for one in INVARIANTS
        if at_rest or not one.at_rest
        for where, sentence in one.check(view)
    )


def broken(snapshot: Snapshot, *, before: Snapshot | None = None) -> tuple[Violation, ...]:
    """What is broken and was not so before: the consistency assertion after an experiment.

    A violation that was there already, in the same place and for the same reason, is not the experiment's doing.
    """
    known = frozenset(check(before)) if before is not None else frozenset[Violation]()
    return tuple(violation for violation in check(snapshot) if violation not in known)


def named(name: str) -> Invariant:
    """The invariant of this name. Raises KeyError for none."""
    return {one.name: one for one in INVARIANTS}[name]
