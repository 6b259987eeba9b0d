"""rsync's events and the statuses that they move an AppContext through."""

from collections.abc import Mapping
from dataclasses import dataclass

INSTANTIATE = "Instantiate"
TERMINATE = "Terminate"
UPDATE = "Update"
UPDATE_DELETE = "UpdateDelete"

PENDING = "Pending"
DONE = "Done"
ERROR = "Error"
SKIP = "Skip"


@dataclass(frozen=True, slots=True)
class Transition:
    """What an event does to a context's status. `resumes`: also allowed from there when a crash interrupted it."""

    allowed: frozenset[str]
    busy: str
    success: str
    failure: str
    resumes: str


TRANSITIONS: Mapping[str, Transition] = {
    INSTANTIATE: Transition(
        frozenset({"Created", "Instantiated", "InstantiateFailed", "Instantiating"}),
        "Instantiating",
        "Instantiated",
        "InstantiateFailed",
        "Instantiating",
    ),
    TERMINATE: Transition(
        frozenset(
            {
                "InstantiateFailed",
                "Instantiating",
                "Instantiated",
                "TerminateFailed",
                "Terminating",
                "Updated",
                "UpdateFailed",
                "Updating",
            }
        ),
        "Terminating",
        "Terminated",
        "TerminateFailed",
        "Terminating",
    ),
    UPDATE: Transition(
        frozenset({"Created", "Updated"}), "Instantiating", "Instantiated", "InstantiateFailed", "Instantiating"
    ),
    # The misspelt status is EMCO's, and so is that Terminate does not know it.
    UPDATE_DELETE: Transition(frozenset({"Instantiated"}), "Updating", "Updated", "UpdatedFailed", "Updating"),
}


def allowed(event: str, status: str, *, resume: bool) -> bool:
    """Whether an event may start from a status. `resume`: an event that a crash interrupted may start again."""
    transition = TRANSITIONS[event]
    return status in transition.allowed or (resume and status == transition.resumes)
