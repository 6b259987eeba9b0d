"""Whether EMCO can read etcd: what it says of a group or a logical cloud that has an AppContext stands there.

The services' own requests (`Disruptable.silent`) are answered from mongo alone. rsync cannot be asked for anything that
it reads at rest: that it can is seen only when it is given work.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.background import request
from harness.campaign import Campaign
from harness.emco.calls import Call
from harness.emco.view import look
from harness.faults.victim import HarnessTrouble
from harness.stores.mongo import StoreError
from harness.stores.snapshot import Snapshot

_KINDS = ("deployment-intent-groups", "logical-clouds")  # whose status EMCO looks up in etcd, once there is a context


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of asking.

    read:   what was looked up in etcd and answered: `orchestrator dig1`
    silent: why the others were not answered, a sentence each; what has no context needs no etcd and is in neither, nor
        is what has lost it together with etcd's data
    """

    read: tuple[str, ...]
    silent: tuple[str, ...]


async def read_contexts(campaign: Campaign, calls: Iterable[Call], *, limit: float) -> Reading:
    """Ask for the status of all groups and logical clouds that these calls create, as far as they are there."""
    asked = [call for call in calls if call.verb == "create" and call.kind in _KINDS]
    found = await asyncio.gather(*(_ask(campaign, call, limit=limit) for call in asked))
    names = [f"{call.service} {call.label}" for call in asked]
    return Reading(
        tuple(name for name, (read, _) in zip(names, found, strict=True) if read),
        tuple(why for _, why in found if why),
    )


async def _ask(campaign: Campaign, call: Call, *, limit: float) -> tuple[bool, str]:
    path = f"/v2/{call.target}/status"
    try:
        async with asyncio.timeout(limit):
            answer = await request(campaign, call.service, "GET", path)
    except TimeoutError:
        return False, f"{call.service} does not answer GET {path} within {limit:g} s"
    except HarnessTrouble as trouble:
        return False, str(trouble)
    if answer.status >= 500 and not await _is_lost(campaign, call):
        return False, f"{call.service} answers GET {path} with {answer.status}: {answer.text.strip()[:200]}"
    return answer.ok and has_context(answer.body), ""


async def _is_lost(campaign: Campaign, call: Call) -> bool:
    """Whether etcd, asked past the relay, has none of the contexts that a record names: EMCO answers 500 then, too."""
    try:
        snapshot = await campaign.lab.snapshot()
    except StoreError:  # a store that does not run has lost nothing yet
        return False
    return lost_contexts(snapshot, call.label)


def lost_contexts(snapshot: Snapshot, label: str) -> bool:
    """Whether the records of this label name contexts, and etcd has none of them."""
    view = look(snapshot)
    named = {name for record in view.records if label in record.names for name in record.named}
    return bool(named) and named.isdisjoint(view.contexts)


def has_context(body: Any) -> bool:
    """Whether a status is one of something with an AppContext: its states name one."""
    states = body.get("states") if isinstance(body, Mapping) else None
    actions = states.get("actions") if isinstance(states, Mapping) else None
    return any(isinstance(one, Mapping) and one.get("instance") for one in actions or ())
