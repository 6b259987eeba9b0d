"""The stateInfo of a record: what was done to it, in order, and the AppContexts that this made."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bson.int64 import Int64

from reference.errors import ApiError

CREATED = "Created"
APPROVED = "Approved"
INSTANTIATED = "Instantiated"
TERMINATED = "Terminated"
UPDATED = "Updated"
INSTANTIATE_STOPPED = "InstantiateStopped"
TERMINATE_STOPPED = "TerminateStopped"

RUNNING = (INSTANTIATED, INSTANTIATE_STOPPED)
"""The states in which a record's AppContext may have left something on an edge."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that was done. `context`: the AppContext of that moment, empty before the first."""

    state: str
    context: str
    time: datetime
    revision: int


@dataclass(frozen=True, slots=True)
class StateInfo:
    """The actions of a record, oldest first. `status_context`: the AppContext under which edges report readiness."""

    status_context: str
    actions: tuple[Action, ...]

    @property
    def last(self) -> Action:
        return self.actions[-1]

    @property
    def revision(self) -> int:
        """The highest revision so far."""
        return max(action.revision for action in self.actions)

    def contexts(self) -> list[str]:
        """Every AppContext that was ever recorded, once each, oldest first."""
        return list(dict.fromkeys(action.context for action in self.actions if action.context))

    def then(self, *actions: Action, status_context: str | None = None) -> "StateInfo":
        """The state after some more actions."""
        status = self.status_context if status_context is None else status_context
        return StateInfo(status, self.actions + actions)

    def to_stored(self) -> dict[str, Any]:
        return {
            "statuscontextid": self.status_context,
            "actions": [
                {
                    "state": action.state,
                    "contextid": action.context,
                    "timestamp": action.time,
                    "revision": Int64(action.revision),
                }
                for action in self.actions
            ],
        }

    def to_json(self) -> dict[str, Any]:
        """As a status reply shows it."""
        return {
            "actions": [
                {
                    "state": action.state,
                    "instance": action.context,
                    "time": action.time.isoformat(timespec="milliseconds") + "Z",
                    "revision": action.revision,
                }
                for action in self.actions
            ],
            "statusctxid": self.status_context,
        }


def created(time: datetime) -> StateInfo:
    """The state of a record that was just made."""
    return StateInfo("", (Action(CREATED, "", time, 0),))


def read_state(stored: Mapping[str, Any] | None, *, what: str) -> StateInfo:
    """The state as stored. Raises ApiError 500 when the record has none, as EMCO fails on it."""
    if not stored or not stored.get("actions"):
        raise ApiError(500, f"Error getting state info from {what}: it has none")
    actions = tuple(
        Action(item["state"], item["contextid"], item["timestamp"], int(item["revision"])) for item in stored["actions"]
    )
    return StateInfo(stored["statuscontextid"], actions)


def now() -> datetime:
    """The time as mongo keeps it: UTC, milliseconds, without a zone."""
    time = datetime.now(UTC).replace(tzinfo=None)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
