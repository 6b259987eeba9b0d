"""Bringing a group to where it was meant to be after a disruption, and what it took."""

import time

from harness.chaos.clients import Ask, Asked
from harness.chaos.stage import Stage
from harness.faults.victim import HarnessTrouble

BY_ITSELF = "by itself"
AGAIN = "instantiate again"


def reach(stage: Stage, group: str, *, limit: float) -> str:
    """Wait until a group's workload runs, else repeat; BY_ITSELF, AGAIN or what else it took, in words.

    Each step gets `limit` seconds. Raises HarnessTrouble with all that was tried when it does not run in the end.
    """
    stage.groups.named(group)  # raises for an unknown one
    if not _instantiated(stage, group):
        _must(stage, group, "instantiate", limit=limit)
        if _runs(stage, group, limit=limit):
            return AGAIN
    elif _runs(stage, group, limit=limit):
        return BY_ITSELF
    said = stage.groups.status(group).deployed or "nothing"
    why = stage.groups.not_ready(group)
    for verb in ("terminate", "instantiate"):
        _must(stage, group, verb, limit=limit)
        stage.at_rest()
    if not _runs(stage, group, limit=limit):
        now = stage.groups.not_ready(group)
        raise HarnessTrouble(f"{group} said {said} ({why}) and does not run after terminate and instantiate: {now}")
    return f"said {said}; terminate, instantiate"


def remove(stage: Stage, group: str, *, limit: float) -> str:
    """Terminate a group, delete what stands below it and itself, from below; what was told on the way.

    A step that is refused is tried until `limit` seconds are over, then the next one is. Raises HarnessTrouble when
    the group is there after all.
    """
    call = stage.groups.named(group)
    below = [one for one in stage.calls if one.verb == "create" and f"{one.target}/".startswith(f"{call.target}/")]
    asks = [Ask(call.service, "POST", f"/v2/{call.target}/terminate")]
    asks += [Ask(one.service, "DELETE", f"/v2/{one.target}") for one in reversed(below)]
    told = []
    deadline = time.monotonic() + limit
    for ask in asks:
        left = max(0.5, deadline - time.monotonic())
        asked = stage.clients.ask_until(ask, lambda one: one.told.kind == "acknowledged" or _gone(one), limit=left)
        told.append(asked.describe())
    last = stage.clients.ask(Ask(call.service, "GET", f"/v2/{call.target}"))
    if last.told.status != 404:
        raise HarnessTrouble(f"{group} cannot be removed: {told[-1]}")
    return "; ".join(told)


def _gone(asked: Asked) -> bool:
    return asked.told.status == 404 or "not found" in asked.told.body.lower()


def said_failed(took: str) -> bool:
    """Whether EMCO said by itself that it failed, where terminate and instantiate were needed."""
    return took.startswith("said ") and "Failed" in took.partition(";")[0]


def _instantiated(stage: Stage, group: str) -> bool:
    return stage.groups.status(group).state == "Instantiated"


def _runs(stage: Stage, group: str, *, limit: float) -> bool:
    def over() -> bool:
        return not stage.groups.not_ready(group) or "Failed" in stage.groups.status(group).deployed

    return bool(stage.within(over, limit=limit)) and not stage.groups.not_ready(group)


def _must(stage: Stage, group: str, verb: str, *, limit: float) -> Asked:
    call = stage.groups.named(group)
    ask = Ask(call.service, "POST", f"/v2/{call.target}/{verb}")
    asked = stage.clients.ask_until(ask, lambda one: one.told.kind == "acknowledged", limit=limit)
    if asked.told.kind != "acknowledged":
        raise HarnessTrouble(f"{group} does not come to run: {asked.describe()}")
    return asked
