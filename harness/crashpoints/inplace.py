"""What has to work on from a whole state: repeat, undo and redo where it stands, nothing restarted, as in control runs.

Equal stores are no pass by themselves. What services hold in memory is in no snapshot; it shows in what they do next.
"""

from dataclasses import dataclass, replace

from harness.crashpoints.judge import Examination
from harness.crashpoints.lab import Call, Lab, Limits, Profile, Subject
from harness.crashpoints.learn import Controls, Lesson, fresh, settle
from harness.crashpoints.model import Attempt
from harness.stores.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to be done in place.

    state: name of the control state that it makes;  kinds: what its calls were told in the control runs, in order
    reach: control states that it has to lead to
    """

    name: str
    state: str
    calls: tuple[Call, ...]
    kinds: tuple[str, ...]
    reach: tuple[str, ...]

    def held(self, attempt: Attempt) -> bool:
        """Whether it went as in the control runs."""
        return bool(attempt.reached) and tuple(told.kind for told in attempt.told) == self.kinds

    def failed(self, attempt: Attempt) -> str:
        """How it went instead, as the end of a sentence."""
        told = ", ".join(str(one.status or "nothing") for one in attempt.told)
        if tuple(one.kind for one in attempt.told) != self.kinds:
            return f"{self.name} is answered {told}, where a run without the fault has it {', '.join(self.kinds)}"
        return f"{self.name} (answered {told}) leads to another state than without the fault"


def steps(subject: Subject, controls: Controls, reached: str) -> tuple[Step, ...]:
    """What to do in place in the state before or after the call (`reached`), in this order.

    A call that has no undo, or whose undo is refused without any fault, is only made again.
    """
    call = (subject.call,)
    first = "acknowledged" if reached == "before" else controls.repeat.kind
    repeat = Step("repeat in place", "twice", call, (first,), ("after", "twice"))
    if not subject.undo or controls.undone is None or controls.redo is None:
        return (repeat,)
    undo = Step(
        "undo in place", "undone", subject.undo, tuple(told.kind for told in controls.undo), ("before", "undone")
    )
    redo = Step("redo in place", "redone", call, (controls.redo.kind,), ("after", "redone", "twice"))
    if reached == "after" and first == "acknowledged":
        return (undo, redo, repeat)  # a repeat takes place once more, and the undo was learned for a single one
    return (repeat, undo, redo)


async def learn_in_place(lab: Lab, profile: Profile, limits: Limits, lesson: Lesson, controls: Controls) -> Controls:
    """The control run of these steps, where it may lead elsewhere than with a restart before each."""
    if not lesson.involves_others:
        return controls
    stays, quiet = controls.stays, limits.quiet_async * 1.5
    await fresh(lab, profile, limits, controls.before[0], only=lesson.services, stays=stays)
    await lab.send(lesson.subject.call)
    await settle(lab, profile, limits, quiet=quiet, stays=stays)
    there: dict[str, Snapshot] = {}
    for step in steps(lesson.subject, controls, "after"):
        for call in step.calls:
            await lab.send(call)
            there[step.state], _ = await settle(lab, profile, limits, quiet=quiet, stays=stays)
    return replace(controls, there=there)


def healed_by_restart(step: Step, reached: str, tried: Examination) -> bool:
    """Whether what did not go in place goes after a restart of all services, as the examination of the state found."""
    undo = tried.undo_after_repeat if reached == "before" else tried.undo
    again = {"repeat in place": tried.repeat, "undo in place": undo, "redo in place": tried.redo}[step.name]
    return again is not None and step.held(again)
