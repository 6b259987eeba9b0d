"""One injection: the fault at the planned effect with its proof, or the admission that there is none."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from harness.crashpoints.inject import Injected, inject
from harness.crashpoints.lab import Call
from harness.crashpoints.model import Fault, Proof, Side, Told
from harness.faults.victim import HarnessTrouble
from harness.wire.effects import Observation
from harness.wire.triggers import Hit, Trigger

from .conftest import EFFECT, GONE, LIMITS, OK, PROFILE, FakeArmed, FakeLab, Script, create, point

AT = EFFECT.describe()


async def injected(script: Script, *, fault: str = "crash", effect: str = "write") -> tuple[FakeLab, Injected]:
    lab = FakeLab(script)
    planned = point("crash" if fault == "crash" else "disconnect", effect=effect)
    return lab, await inject(lab.as_lab(), PROFILE, LIMITS, planned, create("a"))


async def test_a_crash_is_proven_by_the_signal_and_the_end_of_all_connections() -> None:
    lab, done = await injected(Script())
    how = "SIGKILL reaped (pid 7), 3 of 3 connections ended"
    assert done == Injected(Proof(True, 1, AT, how), GONE, store="mongo")
    assert lab.log == ["arm svc after 1 True", "crash", "drop svc"]


@pytest.mark.parametrize("ended,proven", [((3, 3), True), ((3, 2), False), ((0, 0), False)])
async def test_a_death_that_nobody_reaped_is_proven_by_the_end_of_all_connections(
    ended: tuple[int, int], proven: bool
) -> None:
    _, done = await injected(Script(unreaped="pod svc-1 deleted", connections=ended))
    how = f"pod svc-1 deleted, {ended[1]} of {ended[0]} connections ended"
    assert done.proof == Proof(proven, 1, AT, how, 2.5)


async def test_a_point_names_side_occurrence_and_effect() -> None:
    lab = FakeLab(Script(answer=OK))
    planned = replace(point(), side="before", occurrence=3, effect="another")
    await inject(lab.as_lab(), PROFILE, LIMITS, planned, create("a"))
    assert lab.log == ["arm svc before 3 False"]


@pytest.mark.parametrize(
    "script, how",
    [
        (Script(answer=OK), "the call was answered 201 before after write ~1 came up"),
        (Script(answer=Told(500, "no")), "the call was answered 500 before after write ~1 came up"),
        (Script(silent=True), "write ~1 did not come up within 0.2 s"),
    ],
    ids=["answered", "refused", "silent"],
)
@pytest.mark.parametrize("fault", ["crash", "disconnect"])
async def test_a_point_that_is_not_reached_is_not_proven(script: Script, how: str, fault: str) -> None:
    lab, done = await injected(script, fault=fault)
    assert done.proof == Proof(False, 0, "", how)
    assert "crash" not in lab.log


@pytest.mark.parametrize(
    "script, how",
    [
        (Script(signal=15), "SIGTERM reaped (pid 7), 3 of 3 connections ended"),
        (Script(signal=0), "exit code 1 (pid 7), 3 of 3 connections ended"),
        (Script(connections=(3, 2)), "SIGKILL reaped (pid 7), 2 of 3 connections ended"),
        (Script(connections=(0, 0)), "SIGKILL reaped (pid 7), 0 of 0 connections ended"),
    ],
    ids=["another signal", "exited by itself", "a connection goes on", "no connection at all"],
)
async def test_a_death_without_both_proofs_is_not_proven(script: Script, how: str) -> None:
    _, done = await injected(script)
    assert (done.proof.proven, done.proof.how) == (False, how)


async def test_a_client_whose_connection_outlives_the_service_is_trouble_of_the_harness() -> None:
    with pytest.raises(HarnessTrouble, match=r"svc is dead, but the client's call to svc did not end in 0\.2 s"):
        await injected(Script(hangs=True))


@pytest.mark.parametrize(
    "gave_up, reaction", [(True, "the service gave the operation up"), (False, "the service went on")]
)
async def test_a_disconnect(gave_up: bool, reaction: str) -> None:
    lab, done = await injected(Script(gave_up=gave_up), fault="disconnect")
    how = f"client's connection closed while the effect was held; {reaction}"
    assert done == Injected(Proof(True, 1, AT, how), Told(None, "client disconnected"))
    assert lab.log == ["arm svc after 1 True", "release svc drop_held=True"]


async def test_a_crash_after_the_answer() -> None:
    lab, done = await injected(Script(), effect="answer")
    how = (
        "SIGKILL reaped (pid 7), 3 of 3 connections ended, after the client had its answer; "
        "between answer and freeze: no effect of svc"
    )
    assert done == Injected(Proof(True, 1, "answer delivered to the client", how), OK)
    assert lab.log == ["send create", "freeze svc", "crash", "drop svc"]


async def test_what_a_service_did_after_its_answer_is_named_in_the_proof() -> None:
    late = Observation(7, "svc", "mongo", replace(EFFECT, op="late"), 1.0)
    others = Observation(8, "rsync", "etcd", EFFECT, 1.0)
    _, done = await injected(Script(goes_on=(late, others)), effect="answer")
    assert done.proof.how.endswith("between answer and freeze: mongo late db.records (name=a) (not answered)")
    _, done = await injected(Script(goes_on=(replace(late, answered=2.0),) * 7), effect="answer")
    assert done.proof.how.endswith("; mongo late db.records (name=a) and 2 more")


@pytest.mark.parametrize(
    "script, answer",
    [
        (Script(answer=Told(503)), "503"),
        (Script(answer=Told(None, "connection lost")), "connection lost"),
        (Script(silent=True), "no answer within 0.2 s"),
    ],
    ids=["refused", "no answer", "silent"],
)
async def test_without_an_acknowledgement_there_is_no_crash_after_the_answer(script: Script, answer: str) -> None:
    lab, done = await injected(script, effect="answer")
    assert done.proof == Proof(False, 0, "", f"the call was to be answered first, but the answer was {answer}")
    assert lab.log == []


@pytest.mark.parametrize(
    "script", [Script(signal=15), Script(connections=(3, 2))], ids=["another signal", "a connection goes on"]
)
async def test_a_death_after_the_answer_without_both_proofs_is_not_proven(script: Script) -> None:
    _, done = await injected(script, effect="answer")
    assert done.proof.proven is False


SENT = Observation(0, "svc", "mongo", EFFECT, 0.0, forwarded=True)
HELD = Observation(0, "svc", "mongo", EFFECT, 0.0)


@pytest.mark.parametrize(
    "fault, side, seen, proven, how",
    [
        ("reset", "before", HELD, True, "not forwarded, its connection reset"),
        ("reset", "before", SENT, False, "not forwarded, its connection reset"),
        ("reset", "after", SENT, True, "carried out, its connection reset before the reply"),
        ("reset", "after", HELD, False, "carried out, its connection reset before the reply"),
        ("error", "before", replace(HELD, ok=False), True, "not forwarded, answered with an error"),
        ("error", "before", HELD, False, "not forwarded, answered with an error"),
        ("error", "before", replace(SENT, ok=False), False, "not forwarded, answered with an error"),
    ],
)
async def test_a_fault_of_a_store_is_proven_by_what_became_of_the_held_effect(
    fault: Fault, side: Side, seen: Observation, proven: bool, how: str
) -> None:
    lab = FakeLab(Script(seen=seen))
    done = await inject(lab.as_lab(), PROFILE, LIMITS, replace(point(), fault=fault, side=side), create("a"))
    assert done == Injected(Proof(proven, 1, AT, how), GONE)
    assert lab.log == [f"arm svc {side} 1 True", f"{'refuse' if fault == 'error' else 'reset'} svc"]


async def test_what_cannot_be_refused_goes_on_and_nothing_was_injected() -> None:
    lab = FakeLab(Script(refuses=False))
    planned = replace(point(), fault="error", side="before")
    done = await inject(lab.as_lab(), PROFILE, LIMITS, planned, create("a"))
    assert done.proof == Proof(False, 0, AT, "an error could not be put into this connection")
    assert lab.log == ["arm svc before 1 True", "release svc drop_held=False"]


async def test_who_works_beside_the_call_is_waited_for_after_the_answer() -> None:
    """The call is answered, and the effect still comes: a victim that is not the called service."""
    lab = FakeLab(Script(answer=OK))
    arm = lab.arm

    def later(trigger: Trigger) -> FakeArmed:
        armed = arm(trigger)
        asyncio.get_running_loop().call_later(0.02, armed.hit.set_result, Hit(EFFECT, 0, 0.0))
        return armed

    lab.arm = later  # type: ignore[method-assign]
    lab.quiet = _never_quiet  # type: ignore[method-assign]
    done = await inject(lab.as_lab(), PROFILE, LIMITS, replace(point(), victim="other"), create("a"))
    how = "SIGKILL reaped (pid 7), 3 of 3 connections ended"
    assert done == Injected(Proof(True, 1, AT, how), OK, store="mongo")
    assert lab.log == ["arm other after 1 True", "crash", "drop other"]


async def _never_quiet(**_: Any) -> bool:
    await asyncio.Event().wait()
    return False


async def test_who_works_beside_the_call_and_has_nothing_to_do_any_more_was_not_reached() -> None:
    lab = FakeLab(Script(answer=OK))
    done = await inject(lab.as_lab(), PROFILE, LIMITS, replace(point(), victim="other"), create("a"))
    assert done == Injected(Proof(False, 0, "", "the call was answered 201 before after write ~1 came up"), OK)


async def test_between_two_tries_the_victim_must_have_noted_that_it_tries() -> None:
    planned = replace(point(), effect="quiet", victim="other", under="edges-refused")
    lab = FakeLab(Script())
    done = await inject(lab.as_lab(), PROFILE, LIMITS, planned, create("a"))
    assert done == Injected(Proof(False, 0, "", "other did not note that it tries to reach an edge"), OK)
    tries = replace(PROFILE, retries=lambda name: name == "write")
    lab = FakeLab(Script())
    send = lab.send

    async def noted(call: Call) -> Told:
        lab.history.append(replace(SENT, source="other"))
        return await send(call)

    lab.send = noted  # type: ignore[method-assign]
    done = await inject(lab.as_lab(), tries, LIMITS, planned, create("a"))
    how = "SIGKILL reaped (pid 7), 3 of 3 connections ended"
    assert done == Injected(Proof(True, 1, "waiting for the next try", how), OK)
    assert lab.log == ["send create", "freeze other", "crash", "drop other"]
