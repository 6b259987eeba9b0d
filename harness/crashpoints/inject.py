"""One injection: the fault at exactly the planned boundary, with its proof, or the admission that it did not happen."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.crashpoints.lab import Call, Lab, Limits, Profile
from harness.crashpoints.model import QUIET, STORE_FAULTS, CrashPoint, Proof, Told
from harness.faults.victim import HarnessTrouble
from harness.wire.effects import Effect, Observation
from harness.wire.triggers import Hit, Trigger

_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Injected:
    """What the injector did, and what the client was told meanwhile.

    since: number of the first effect of it all;  store: where the effect lands at which a crash was
    """

    proof: Proof
    told: Told
    since: int = 0
    store: str = ""


async def inject(lab: Lab, profile: Profile, limits: Limits, point: CrashPoint, call: Call) -> Injected:
    """Make the call with the fault at the point. The victim of a crash is dead afterwards and not started again."""
    if point.effect == "answer":
        return await _after_answer(lab, limits, point, call)
    if point.effect == QUIET:
        return await _between_tries(lab, profile, limits, point, call)
    name = profile.namer() if point.elsewhere else profile.slug

    def matches(effect: Effect) -> bool:
        return name(effect) == point.effect

    side: Literal["before", "after"] = "before" if point.side == "before" else "after"
    lab.relay.watch_reads(point.victim, watched=point.fault in STORE_FAULTS)
    armed = lab.relay.arm(Trigger(source=point.victim, side=side, matches=matches, occurrence=point.occurrence))
    client = lab.begin(call)
    over = asyncio.ensure_future(_over(lab, limits, point, client))
    try:
        either: set[asyncio.Future[Any]] = {over, armed.hit}
        await asyncio.wait(either, timeout=limits.hit, return_when=asyncio.FIRST_COMPLETED)
        if not armed.hit.done():
            armed.disarm()
            return await _not_reached(client, limits, point)
        hit = armed.hit.result()
        if point.fault == "disconnect":
            return await _disconnect(lab, limits, point, client, hit)
        if point.fault in STORE_FAULTS:
            return await _store_fault(lab, limits, point, client, hit)
        if point.elsewhere:
            # The caller goes on: it gets its answer now, unless that is what the victim was about to give.
            await asyncio.wait({client}, timeout=limits.reaction)
        crashed = await _crash(lab, limits, point, client, hit.effect.describe())
        return replace(crashed, store=hit.effect.store)
    finally:
        over.cancel()
        armed.disarm()
        lab.relay.watch_reads(point.victim, watched=False)
        client.cancel()


async def _over(lab: Lab, limits: Limits, point: CrashPoint, client: "asyncio.Task[Told]") -> None:
    """Wait until the planned effect cannot come up any more: at the answer, or when who works on has nothing to do."""
    await asyncio.wait({client})
    if point.elsewhere:
        await lab.relay.quiet(seconds=limits.at_rest, limit=limits.hit, from_now=True)


async def _not_reached(client: "asyncio.Task[Told]", limits: Limits, point: CrashPoint) -> Injected:
    if client.done():
        told = client.result()
        how = f"the call was answered {told.status} before {point.side} {point.effect} ~{point.occurrence} came up"
    else:
        told = Told(None, "no answer")
        how = f"{point.effect} ~{point.occurrence} did not come up within {limits.hit:g} s"
    return Injected(Proof(False, 0, "", how), told)


async def _crash(lab: Lab, limits: Limits, point: CrashPoint, client: "asyncio.Task[Told]", at: str) -> Injected:
    """All connections of the victim are frozen; kill it and prove that it died of it."""
    death = await lab.victim(point.victim).crash()
    connections, ended = await lab.relay.ended(point.victim, limit=limits.ended)
    lab.relay.drop(point.victim)
    proof = Proof(
        proven=death.was_killed and connections == ended and connections > 0,
        injections=1,
        at=at,
        how=f"{death.describe()}, {ended} of {connections} connections ended",
        overlap=death.overlap,
    )
    done, _ = await asyncio.wait({client}, timeout=limits.answer)
    if not done:
        raise HarnessTrouble(
            f"{point.victim} is dead, but the client's call to {point.service} did not end in {limits.answer:g} s"
        )
    return Injected(proof, client.result())


async def _disconnect(lab: Lab, limits: Limits, point: CrashPoint, client: "asyncio.Task[Told]", hit: Hit) -> Injected:
    """Close the client's connection while the effect is held, give the service time to notice, then let it go on."""
    if client.done():
        lab.relay.release(point.service, drop_held=False)
        how = "the call was answered before its client could be disconnected"
        return Injected(Proof(False, 0, hit.effect.describe(), how), client.result())
    client.cancel()
    await asyncio.wait({client}, timeout=limits.ended)
    gave_up = await lab.relay.gave_up(point.service, limit=limits.reaction)
    lab.relay.release(point.service, drop_held=True)
    # A service that goes on does so from now: what comes next has yet to begin.
    await lab.relay.quiet(seconds=limits.quiet_async, limit=limits.answer, from_now=True)
    reaction = "the service gave the operation up" if gave_up else "the service went on"
    proof = Proof(
        client.cancelled(),
        1,
        hit.effect.describe(),
        f"client's connection closed while the effect was held; {reaction}",
    )
    return Injected(proof, Told(None, "client disconnected"))


async def _store_fault(lab: Lab, limits: Limits, point: CrashPoint, client: "asyncio.Task[Told]", hit: Hit) -> Injected:
    """Reset the connection of what is held, or answer it with an error; the victim lives and sees what comes of it."""
    at = hit.effect.describe()
    if not point.elsewhere:  # what others were given to do they do first, or it would be chance how far they come
        await lab.relay.quiet(seconds=limits.quiet_async, limit=limits.reaction, from_now=True)
    if point.fault == "error" and not await lab.relay.refuse_held(point.victim):
        lab.relay.release(point.victim, drop_held=False)
        await asyncio.wait({client}, timeout=limits.answer)
        return Injected(Proof(False, 0, at, "an error could not be put into this connection"), _told(client))
    if point.fault == "reset":
        lab.relay.reset_held(point.victim)
    await asyncio.wait({client}, timeout=limits.answer)
    await lab.relay.synced()
    after = lab.relay.since(hit.seq)[0]
    if point.fault == "error":
        how = "not forwarded, answered with an error"
        proven = not after.forwarded and after.ok is False
    elif point.side == "before":
        how = "not forwarded, its connection reset"
        proven = not after.forwarded and after.answered is None
    else:
        how = "carried out, its connection reset before the reply"
        proven = after.forwarded  # and its reply had begun, or it would not be held
    return Injected(Proof(proven, 1, at, how), _told(client))


def _told(client: "asyncio.Task[Told]") -> Told:
    return client.result() if client.done() else Told(None, "no answer")


async def _between_tries(lab: Lab, profile: Profile, limits: Limits, point: CrashPoint, call: Call) -> Injected:
    """Crash the victim while it waits for its next try to reach an edge."""
    start = lab.relay.seq()
    client = lab.begin(call)
    try:
        await asyncio.wait({client}, timeout=limits.answer)
        await lab.relay.quiet(seconds=limits.moment, limit=limits.at_rest, from_now=True)
        name = profile.namer()
        own = [one for one in lab.relay.since(start) if one.source == point.victim]
        if not any(profile.retries(name(one.effect)) for one in own):
            how = f"{point.victim} did not note that it tries to reach an edge"
            return Injected(Proof(False, 0, "", how), _told(client))
        lab.relay.freeze(point.victim)
        return await _crash(lab, limits, point, client, "waiting for the next try")
    finally:
        client.cancel()


async def _after_answer(lab: Lab, limits: Limits, point: CrashPoint, call: Call) -> Injected:
    client = lab.begin(call)
    answered: list[int] = []
    client.add_done_callback(lambda _: answered.append(lab.relay.seq()))
    done, _ = await asyncio.wait({client}, timeout=limits.answer)
    if not done:
        client.cancel()
    told = client.result() if done else Told(None, f"no answer within {limits.answer:g} s")
    if told.kind != "acknowledged":  # without any fault so far: not the call that was learned
        how = f"the call was to be answered first, but the answer was {told.status or told.body}"
        return Injected(Proof(False, 0, "", how), told)
    lab.relay.freeze(point.service)
    meanwhile = _effects_of(point.service, lab.relay.since(answered[0] if answered else 0))
    death = await lab.victim(point.service).crash()
    connections, ended = await lab.relay.ended(point.service, limit=limits.ended)
    lab.relay.drop(point.service)
    how = (
        f"{death.describe()}, {ended} of {connections} connections ended, after the client had its answer; "
        f"between answer and freeze: {meanwhile}"
    )
    return Injected(
        Proof(
            death.was_killed and connections == ended and connections > 0,
            1,
            "answer delivered to the client",
            how,
            death.overlap,
        ),
        told,
    )


def _effects_of(service: str, observations: tuple[Observation, ...]) -> str:
    """What a service did there, for a proof: a crash "after the answer" hits wherever it had got to by then."""
    seen = [one for one in observations if one.source == service]
    if not seen:
        return f"no effect of {service}"
    more = f" and {len(seen) - _MOST_NAMED} more" if len(seen) > _MOST_NAMED else ""
    return (
        "; ".join(
            f"{one.effect.describe()}{'' if one.answered is not None else ' (not answered)'}"
            for one in seen[:_MOST_NAMED]
        )
        + more
    )
