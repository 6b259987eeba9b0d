"""The defects of EMCO that the reference has, each a switch; and some that EMCO does not have.

`REFERENCE_EMCO_DEFECTS` says which are on: `faithful` (all of EMCO's: EMCO as it is; the default), `fixed` (none), a
list of names (`B1,C1`: only these) or `faithful-A12,R5` (all of EMCO's but these).
"""

import os
import sys
from dataclasses import dataclass


class UnknownDefect(Exception):
    """A name in the setting is no switch; the message says which there are."""


@dataclass(frozen=True, slots=True)
class Defect:
    """One switch. `fact`: where it is documented; `does`: what happens with it on; `calls`: where it shows."""

    name: str
    fact: str
    does: str
    calls: tuple[str, ...]


_DIG = "orchestrator POST deployment-intent-groups/{dig}/"
_LC = "dcm POST logical-clouds/{lc}/"
_RSYNC_ANY = ("rsync, any event",)

DEFECTS: tuple[Defect, ...] = (
    Defect(
        "A1", "4 A1", "data and stateInfo of a group are two writes", ("orchestrator POST deployment-intent-groups",)
    ),
    Defect(
        "A2", "4 A2", "data and chart of an app are two writes", ("orchestrator POST apps", "orchestrator PUT apps")
    ),
    Defect(
        "A3",
        "4 A3",
        "data, field `app`, content and field `app` of a profile are four writes",
        ("orchestrator POST profiles", "orchestrator PUT profiles"),
    ),
    Defect(
        "A4",
        "4 A4",
        "data and field `app` of an app intent are two writes",
        ("orchestrator POST app-intents", "orchestrator PUT app-intents"),
    ),
    Defect(
        "A6a", "4 A6 (a)", "nothing records the context while it is built: a crash leaks it", (_DIG + "instantiate",)
    ),
    Defect(
        "A6b",
        "4 A6 (b)",
        "rsync's acceptance is recorded only afterwards: a crash between leaves a workload that no record owns",
        (_DIG + "instantiate",),
    ),
    Defect("A7", "4 A7", "terminate is recorded only after rsync accepted it", (_DIG + "terminate",)),
    Defect(
        "A7f",
        "13, partition",
        "a terminate that was stopped, or that failed, cannot be made again",
        (_DIG + "terminate",),
    ),
    Defect("A8", "4 A8", "stopflag and state are two writes that nothing ties together", (_DIG + "stop",)),
    Defect(
        "A9", "4 A9", "context, rsync's acceptance, Updated and Instantiated are not tied together", (_DIG + "update",)
    ),
    Defect("A10", "4 A10", "as A9, over the records of two groups: the source's and the target's", (_DIG + "migrate",)),
    Defect("A11", "4 A11", "rsync's acceptance, Updated and Instantiated are not tied together", (_DIG + "rollback",)),
    Defect(
        "A12",
        "4 A12",
        "contexts are deleted before the record, and a missing one makes every later delete fail",
        ("orchestrator DELETE deployment-intent-groups",),
    ),
    Defect(
        "A12u",
        "4 A12",
        "children are looked for only after the contexts were deleted: a refused delete has destroyed them",
        ("orchestrator DELETE deployment-intent-groups",),
    ),
    Defect("B1", "4 B1", "data, stateInfo and kubeconfig of a cluster are three writes", ("clm POST clusters",)),
    Defect(
        "B2",
        "4 B2",
        "a crash between the two deletes leaves a kubeconfig that the next cluster of the name trips over",
        ("clm DELETE clusters",),
    ),
    Defect(
        "B2s",
        "13",
        "whether the kubeconfig could be deleted is not looked at: the delete is acknowledged, and it stays",
        ("clm DELETE clusters",),
    ),
    Defect(
        "C1",
        "4 C1",
        "data, privatekey and stateInfo of a level 1 logical cloud are three writes; without the last one it cannot be "
        "deleted",
        ("dcm POST logical-clouds (level 1)",),
    ),
    Defect(
        "C2",
        "4 C2",
        "data and stateInfo of a level 0 logical cloud are two writes; without the last it cannot be deleted",
        ("dcm POST logical-clouds (level 0)",),
    ),
    Defect(
        "C3",
        "4 C3",
        "the old context is deleted first, the new one is recorded last",
        (_LC + "instantiate",),
    ),
    Defect(
        "C3s",
        "13",
        "when its state cannot be recorded the context is deleted, though rsync has it and the state may be there",
        (_LC + "instantiate",),
    ),
    Defect(
        "C6", "4 C6", "terminate is recorded only after rsync accepted it; a repeat answers 409", (_LC + "terminate",)
    ),
    Defect("C7", "4 C7", "stopflag and state are two writes that nothing ties together", (_LC + "stop",)),
    Defect(
        "C9",
        "4 C9",
        "contexts are deleted before the record and before children are looked for; a missing one makes every later "
        "delete fail",
        ("dcm DELETE logical-clouds",),
    ),
    Defect(
        "D1",
        "8",
        "an instantiated record whose context is gone is refused everything: terminate, delete, instantiate",
        (_DIG + "terminate", _LC + "terminate", _LC + "instantiate", "DELETE of a cluster reference"),
    ),
    Defect(
        "D2",
        "1.5",
        "only the orchestrator's start stores the schema: when mongo loses it, a service that starts waits for ever",
        ("any start but the orchestrator's",),
    ),
    Defect(
        "D3",
        "1.2",
        "what the data key does not decrypt is used as it is: kubeconfigs are garbage, and work is accepted",
        ("any start",),
    ),
    Defect(
        "R1",
        "6.5 R1",
        "an etcd that fails while rsync starts counts as one that holds nothing to restore",
        ("rsync start",),
    ),
    Defect("R2", "6.5 R2", "one context that cannot be restored ends the restoring of the others", ("rsync start",)),
    Defect(
        "R3",
        "6.5 R3",
        "a restored context does not count as running: the next event starts a second thread on it",
        ("rsync start",),
    ),
    Defect(
        "R4",
        "6.5 R4",
        "the active record and the queue are two writes, and nobody looks whether they succeed: a crash between or an "
        "error of etcd loses the event, accepted all the same",
        _RSYNC_ANY,
    ),
    Defect(
        "R5",
        "6.5 R5",
        "the event is Done before its status is written: a crash between leaves the old status for ever",
        _RSYNC_ANY,
    ),
    Defect("R8", "6.5 R8", "a queue that cannot be read counts as empty and is overwritten", _RSYNC_ANY),
    Defect(
        "R9",
        "6.5 R9",
        "an event that is not allowed (terminate twice) or comes while stopped sets a failed status; an event that "
        "comes twice is run twice",
        _RSYNC_ANY,
    ),
    Defect("R10", "6.5 R10", "no edge is watched after a restart until an event touches it", ("rsync start",)),
    Defect(
        "R11",
        "6.5 R11",
        "the ResourceBundleState is removed by a timer in memory: a crash before it fires leaks it",
        ("rsync Terminate",),
    ),
    Defect(
        "R15",
        "6.3",
        "an Update or UpdateDelete that a crash interrupted is not allowed after the restart",
        ("rsync Update", "rsync UpdateDelete"),
    ),
    Defect(
        "R16",
        "13",
        "the UpdateDelete of the old context is queued from the side and not started: its active record stays",
        ("rsync Update",),
    ),
    Defect(
        "R17",
        "10",
        "where rsync cannot write to etcd what became of an event, its work on the context ends and the status stays",
        _RSYNC_ANY,
    ),
    Defect(
        "S1",
        "1.5",
        "a service whose question for the referential schema fails never asks again: it refuses every create",
        ("start of every service but rsync",),
    ),
    Defect(
        "S2",
        "13",
        "a create that cannot find out whether its record exists takes it for absent, and replaces it",
        ("POST of every record",),
    ),
    Defect(
        "R22",
        "13, partition",
        "a stop also ends what would write it down: the event stays pending, its status says at work, and the next "
        "event, a Terminate say, waits until it has been done after all",
        _RSYNC_ANY,
    ),
    Defect(
        "R23",
        "13",
        "an object that is gone already cannot be deleted: a Terminate that is done again notes it as Failed",
        ("rsync Terminate", "rsync UpdateDelete"),
    ),
    Defect(
        "R24",
        "13",
        "a write of rsync that fails while it notes how far an event is makes it skip the event as failed, or is not "
        "noticed: what was acknowledged never happens, or is not shown",
        _RSYNC_ANY,
    ),
    Defect("R18", "13, partition", "max-retries N makes N + 2 tries", _RSYNC_ANY),
    Defect(
        "R19",
        "13, partition",
        "an answer that does not come is waited for without limit: an edge that takes connections and says nothing is "
        "tried once, and never called Retrying",
        _RSYNC_ANY,
    ),
    Defect(
        "R20",
        "13, partition",
        "how an edge is connected is written down only while there is something to do: a lost one stays Available",
        ("status",),
    ),
    Defect(
        "R21",
        "13, partition",
        "an Update writes down how an edge is connected in its own context, and status reads the first one's",
        ("rsync Update", "status"),
    ),
    Defect(
        "R25",
        "13, overlap",
        "two rsyncs at work side by side, as where a pod is replaced, know nothing of each other: both do every event, "
        "and what one of them is told does not end what the other one does",
        _RSYNC_ANY,
    ),
)

SEEDED: tuple[Defect, ...] = (
    Defect(
        "X1", "", "a Terminate works on one edge after the other: all wait for one that is away", ("rsync Terminate",)
    ),
    Defect(
        "X2",
        "",
        "a Terminate is written down as done, with all its resources, when it begins",
        ("rsync Terminate",),
    ),
    Defect(
        "X3",
        "",
        "an edge that is not seen any more counts as failed: what runs there is taken off the others until it is back",
        ("rsync, at rest",),
    ),
    Defect("X4", "", "a stopflag is looked at only before an event begins", _RSYNC_ANY),
    Defect("X5", "", "what a crash left unfinished waits for the next event of its context", ("rsync start",)),
    Defect(
        "X6",
        "",
        "a start of the orchestrator stores the schema anew, whether it is there or not",
        ("start of the orchestrator",),
    ),
    Defect("X7", "", "what is applied is deleted first, so that it is made anew", _RSYNC_ANY),
)
"""Defects that EMCO does not have, so that no `fact` tells of them. They are on only where they are named: without them
nothing would show that claims which EMCO fulfils are able to fail."""


@dataclass(frozen=True, slots=True)
class Defects:
    """Which switches are on."""

    on: frozenset[str]

    def __contains__(self, name: str) -> bool:
        assert name in {defect.name for defect in (*DEFECTS, *SEEDED)}, name
        return name in self.on

    def any(self, names: tuple[str, ...]) -> bool:
        """Whether at least one of the switches is on."""
        return any(name in self for name in names)


def parse_defects(text: str | None) -> Defects:
    """Read the setting. Raises UnknownDefect with a sentence for a name that is no switch."""
    names = frozenset(defect.name for defect in DEFECTS)
    setting = (text or "faithful").strip()
    if setting == "fixed":
        return Defects(frozenset())
    if setting == "faithful":
        return Defects(names)
    without = setting.startswith("faithful-")
    given = {part.strip() for part in setting.removeprefix("faithful-").split(",") if part.strip()}
    known = names if without else names | {defect.name for defect in SEEDED}
    unknown = sorted(given - known)
    if unknown or not given:
        there = [defect.name for defect in (*DEFECTS, *SEEDED) if defect.name in known]
        raise UnknownDefect(
            f"REFERENCE_EMCO_DEFECTS={setting!r}: {', '.join(unknown) or 'an empty list'} is no switch; there are "
            f"faithful, fixed, {', '.join(there)}"
        )
    return Defects(names - given if without else frozenset(given))


def main() -> None:
    """`python -m reference.defects`: exit code 2 and a sentence where REFERENCE_EMCO_DEFECTS is no setting."""
    try:
        parse_defects(os.environ.get("REFERENCE_EMCO_DEFECTS"))
    except UnknownDefect as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
