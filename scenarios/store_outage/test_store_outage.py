"""mongo or etcd goes away, at rest or in the middle of an event, and comes back. README.md says what is claimed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fixtures.claims import claim_steady
from fixtures.experiment import Ran
from harness.chaos import aftermath, goals, outages
from harness.crashpoints.outcomes import Outcome

if TYPE_CHECKING:
    from harness.pytest_claims import Claims

SHORT = [(store, kind, 1) for kind in ("refused", "paused", "crashed") for store in ("mongo", "etcd")]
LONG = [
    *((store, kind, 10) for kind in ("refused", "reset", "black-hole", "crashed") for store in ("mongo", "etcd")),
    *((store, kind, 60) for kind in ("refused", "paused") for store in ("mongo", "etcd")),
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "store,kind,seconds", [*SHORT, *(pytest.param(*one, marks=pytest.mark.emco_slow) for one in LONG)]
)
def test_at_rest(store: str, kind: str, seconds: int, experiment: Callable[..., Ran], claims: "Claims") -> None:
    ran = experiment("at_rest.yaml", store=store, kind=kind, seconds=seconds)
    stage, asked = ran.stage, ran.stage.clients.asked
    tries = len(stage.knocks(target=store, since=ran.marked(outages.began_mark(store))))
    went, back = ran.output("the store goes away"), ran.output("the store is back")
    claims.about(
        "store_outage", f"at-rest/{store}/{kind}/{seconds}s", proof=f"{went}; {back}; {tries} tries to reach it"
    )
    claims.attach("answers.txt", "\n".join(one.describe() for one in asked))

    late = ran.failure("every service serves again")
    claims.check(
        "serves-again",
        "every service serves again by itself within 40 s, without a restart",
        holds=not late,
        seen=late or f"after {ran.output('every service serves again'):.1f} s",
        measured={"away_s": outages.away_for(stage, store)},
        otherwise=Outcome.NEEDS_REPAIR,
    )
    slowest = max(asked, key=lambda one: one.ended)
    late_s = slowest.ended - ran.marked(outages.ended_mark(store)).at
    claims.check(
        "answered",
        "a client that asks meanwhile is answered soon after the store is back: 10 s and three quarters of its outage",
        # a client of gRPC tries ever more seldom: after an outage of 60 s half a minute may pass until it does
        holds=late_s < 10.0 + 0.75 * outages.away_for(stage, store),
        seen=slowest.describe(),
        measured={"late_s": late_s, "refused": sum(one.told.kind == "refused" for one in asked)},
    )
    lies = ran.output("what of it is not true")
    claims.check(
        "truthful",
        "what was acknowledged took place, what was refused did not",
        holds=not lies,
        seen="; ".join(lies) or "all of it is true",
        otherwise=Outcome.LOST if any("did not take place" in lie for lie in lies) else Outcome.BROKEN,
    )
    before, answered = stage.snapshots["before"], stage.snapshots["answered"]
    left = aftermath.unasked(before, answered, asked)
    inert = aftermath.inert_leaks(before, answered)
    claims.check(
        "refused-leaves-nothing",
        "a refused request leaves the state as it was before",
        holds=not left and not inert,
        seen=aftermath.shown([*left, *inert]) or "nothing is left of it",
        otherwise=Outcome.LEAKS if inert else Outcome.BROKEN,
    )
    gone = aftermath.lost(before, answered)
    claims.check(
        "nothing-lost",
        "what was there before is there after",
        holds=not gone,
        seen=aftermath.shown(gone) or "nothing is missing",
        measured={"lost": len(gone)},
        otherwise=Outcome.LOST,
    )
    again = ran.failure("clients ask again for what was refused") or ran.failure("the application runs everywhere")
    claims.check(
        "works-again",
        "what was refused works when it is asked for again, and the application runs",
        holds=not again,
        seen=again or "; ".join(ran.output("clients ask again for what was refused")) or "nothing was refused",
        otherwise=Outcome.STUCK,
    )
    wrong = aftermath.disagreements(before, stage.snapshot())
    claims.check(
        "consistent",
        "stores and edges agree afterwards",
        holds=not wrong,
        seen=aftermath.shown(wrong, most=3) or "no invariant is broken",
        measured={"violations": len(wrong)},
    )
    assert set(ran.problems) <= {f"the action 'clients ask again for what was refused' failed: {again}"}, ran.why


MOMENTS: dict[str, dict[str, str | int]] = {  # of rsync's effects
    "accepted": {},
    "begun": {"at": "rsync/state/DesiredState/"},
    "reachable": {"at": "readystatus/"},
    "applied": {"at": "ConfigMap/status/"},
    "done": {"at": "AppContextEventQueue/", "nth": 2, "side": "before"},
}
IN_EVENT = [
    ("etcd", "refused", 1, "begun"),
    ("etcd", "refused", 1, "reachable"),
    ("etcd", "crashed", 1, "applied"),
    ("etcd", "refused", 1, "done"),
    ("mongo", "refused", 1, "accepted"),
]
LONG_IN_EVENT = [
    ("etcd", "refused", 10, "begun"),
    ("etcd", "refused", 10, "applied"),
    ("etcd", "black-hole", 10, "applied"),
    ("etcd", "paused", 10, "reachable"),
    ("mongo", "crashed", 10, "accepted"),
    ("mongo", "refused", 40, "accepted"),  # longer than its driver waits
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "store,kind,seconds,moment",
    [*IN_EVENT, *(pytest.param(*one, marks=pytest.mark.emco_slow) for one in LONG_IN_EVENT)],
)
def test_in_event(
    store: str, kind: str, seconds: int, moment: str, experiment: Callable[..., Ran], claims: "Claims"
) -> None:
    ran = experiment("in_event.yaml", store=store, kind=kind, seconds=seconds, moment=MOMENTS[moment])
    went, back = ran.output("the store goes away in the middle of instantiate"), ran.output("the store is back")
    claims.about("store_outage", f"in-event/{store}/{kind}/{seconds}s/{moment}", proof=f"{went}; {back}")
    claims.attach("answers.txt", "\n".join(one.describe() for one in ran.stage.clients.asked))
    claim_steady(claims, ran)
    lies = ran.output("what of it is not true")
    claims.check(
        "truthful",
        "what was acknowledged took place, what was refused did not",
        holds=not lies,
        seen="; ".join(lies) or "all of it is true",
    )
    failed = ran.failure("the application runs everywhere")
    how = failed or ran.output("the application runs everywhere")
    claims.check(
        "reaches-goal",
        "the application runs once the store is back, or its status says that it failed and a repeat brings it",
        holds=how in (goals.BY_ITSELF, goals.AGAIN) or goals.said_failed(how),
        seen=failed or f"it runs: {how}",
        measured={"away_s": outages.away_for(ran.stage, store), "by_itself": how == goals.BY_ITSELF},
        otherwise=Outcome.STUCK if failed else Outcome.NEEDS_REPAIR,
    )
    wrong = aftermath.disagreements(ran.stage.snapshots["before"], ran.stage.snapshot())
    claims.check(
        "consistent",
        "stores and edges agree afterwards",
        holds=not wrong,
        seen=aftermath.shown(wrong, most=3) or "no invariant is broken",
        measured={"violations": len(wrong)},
    )
