"""Whether what EMCO's status API says of a deployment intent group is so: against its AppContext and the edges."""

from collections.abc import Mapping
from typing import Any

from harness.emco.records import contexts
from harness.emco.status import parse_status
from harness.stores.snapshot import Snapshot


def untruths(body: Any, snapshot: Snapshot) -> tuple[str, ...]:
    """What the JSON of GET .../status?status=deployed&output=all says that is not so, a sentence each.

    An answer that says nothing of a deployment, as before the first instantiate, says nothing untrue, unless it names
    the context of one.
    """
    said = parse_status(body)
    kept = {context.id: context.status for context in contexts(snapshot)}.get(_latest(body), "")
    if not said.deployed:
        return (f"the API says nothing, the AppContext is {kept}",) if kept else ()
    found = []
    if kept and kept != said.deployed:
        found.append(f"the API says {said.deployed}, the AppContext is {kept}")
    found += said.missing_on(snapshot.edges)
    found += said.still_on(snapshot.edges)
    return tuple(found)


def _latest(body: Any) -> str:
    """The context whose status is the group's: of the last action that has one. The context that collects the status of
    the resources, `statusctxid`, is another one after an update, and stays `Updated` (facts, section 7)."""
    actions = ((body.get("states") or {}).get("actions") or ()) if isinstance(body, Mapping) else ()
    return next((str(action["instance"]) for action in reversed(actions) if action.get("instance")), "")
