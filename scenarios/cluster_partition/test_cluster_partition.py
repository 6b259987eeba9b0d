"""An edge goes away while EMCO has something to do there, or nothing. README.md beside this file: what is claimed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from fixtures import beyond_links, partition
from fixtures.experiment import Ran
from fixtures.partition import Variant

if TYPE_CHECKING:
    from harness.pytest_claims import Claims

Run = Callable[..., Ran]
READY = {"instantiate": "approve-dig1", "update": "replace-prof1", "terminate": "instantiate-dig1"}
SLOW = pytest.mark.emco_slow
pytestmark = pytest.mark.timeout(300)
LAST = {
    "flapping": (0, 30, 40),
    "slow": (0, 30, 40),
    "black-hole": (3, 80, 60),
    "reset": (0, 16, 40),
    "silent": (0, 65, 40),
    "one-way": (0, 65, 40),
}
"""Tries, seconds until the edge is back; seconds until all must be well. Else 4 tries or 30 s, and 40 s."""


def away(call: str, kind: str, target: str = "p1+c2", seconds: float = 1.0) -> Variant:
    tries, longest, limit = LAST.get(kind, (4, 30, 40))
    goal = partition.goal_of(call)
    settings = {
        "ready": READY[call],
        "call": f"{call}-dig1",
        "goal": goal,
        "tries": tries,
        "longest": longest,
        "limit": limit,
    }
    return Variant(call, kind, settings, target, seconds=seconds)


def named(variants: list[Variant], *, slow: bool = False) -> list[object]:
    return [pytest.param(one, id=one.name, marks=SLOW if slow else ()) for one in variants]


QUICK = [away("instantiate", kind) for kind in ("refused", "reset")] + [away("instantiate", "flapping", seconds=2.3)]
QUICK += [away("instantiate", "slow", seconds=0.2), away("instantiate", "refused", "p1+*")]
QUICK += [away("update", "refused"), away("terminate", "refused")]
FULL = [away(call, kind) for call in ("update", "terminate") for kind in ("reset", "black-hole", "silent", "one-way")]
FULL += [away("instantiate", kind) for kind in ("black-hole", "silent", "one-way")]
FULL += [away(call, "flapping", seconds=2.3) for call in ("update", "terminate")]
FULL += [away(call, "slow", seconds=0.5) for call in ("update", "terminate")]
FULL += [
    away(call, kind, "p1+*")
    for call in READY
    for kind in ("refused", "reset", "black-hole", "silent", "one-way")
    if (call, kind) != ("instantiate", "refused")
]
FULL += [away(call, "flapping", "p1+*", seconds=2.3) for call in READY]
FULL += [away(call, "slow", "p1+*", seconds=0.2 if call == "instantiate" else 0.5) for call in READY]


@pytest.mark.parametrize("variant", named(QUICK) + named(FULL, slow=True))
def test_while_away(variant: Variant, experiment: Run, claims: "Claims") -> None:
    rec = partition.recorded(claims, experiment("experiment.yaml", **variant.configuration), variant)
    partition.claim_while_away(claims, rec, variant.call)


def resting(kind: str, target: str = "p1+c2") -> Variant:
    # A watch that was cut off asks again after 0.8 to 1.6 s: what flaps has to refuse for longer, or chance decides.
    return Variant("rest", kind, {}, target, seconds=2.3 if kind == "flapping" else 1.0)


# Of the other kinds nobody would know: at rest nothing crosses a link but a watch that waits, and it would wait on.
REST = [resting(kind, target) for target in ("p1+c2", "p1+*") for kind in ("refused", "reset", "flapping")]


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(one, id=one.kind + ("-all" if one.target == "p1+*" else ""), marks=SLOW if number else ())
        for number, one in enumerate(REST)
    ],
)
def test_at_rest(variant: Variant, experiment: Run, claims: "Claims") -> None:
    rec = partition.recorded(claims, experiment("at_rest.yaml", **variant.configuration), variant)
    partition.claim_at_rest(claims, rec)


@pytest.mark.parametrize(
    "call, meanwhile",
    [
        ("instantiate", "stop"),
        ("instantiate", "restart-rsync"),
        pytest.param("terminate", "stop", marks=SLOW),
        pytest.param("instantiate", "nothing", marks=SLOW),
    ],
)
def test_given_up(call: str, meanwhile: str, experiment: Run, claims: "Claims") -> None:
    variant = Variant(
        call,
        "refused",
        {"ready": READY[call], "call": f"{call}-dig1", "meanwhile": meanwhile},
        prefix=f"given-up/{meanwhile}",
    )
    ran = experiment("given_up.yaml", **variant.configuration)
    partition.claim_given_up(claims, partition.recorded(claims, ran, variant), ran, meanwhile)


@SLOW
@pytest.mark.parametrize("call, failed", [("instantiate", "InstantiateFailed"), ("terminate", "TerminateFailed")])
def test_max_retries(call: str, failed: str, experiment: Run, claims: "Claims") -> None:
    variant = Variant(
        call,
        "refused",
        {"max_retries": "2", "ready": READY[call], "call": f"{call}-dig1", "failed": failed},
        prefix="max-retries",
    )
    ran = experiment("max_retries.yaml", **variant.configuration)
    partition.claim_bounded(claims, partition.recorded(claims, ran, variant), ran, failed=failed, most=2)


@pytest.mark.emco_real
@pytest.mark.emco_processes("the harness does not stand between rsync in a pod and a Git server")
@pytest.mark.parametrize("kind", ["refused", pytest.param("black-hole", marks=SLOW)])
def test_git_away(kind: str, experiment: Run, claims: "Claims") -> None:
    settings = {"longest": 15 if kind == "refused" else 75}
    variant = Variant("instantiate", kind, settings, target=partition.GIT, prefix="git-away")
    ran = experiment("git_away.yaml", kind=kind, **settings)
    rec = partition.recorded(claims, ran, variant, rests=False)  # there is no Git server that could end it
    beyond_links.claim_git_away(claims, rec, ran)


@pytest.mark.timeout(900)
@pytest.mark.emco_kind(edges="kind")
def test_machine_away(experiment: Run, claims: "Claims") -> None:
    beyond_links.claim_machine(claims, experiment("network.yaml"))


@pytest.mark.timeout(900)
@pytest.mark.emco_kind(installed=True)
def test_policy(experiment: Run, claims: "Claims") -> None:
    ran = experiment("policy.yaml")
    if why := beyond_links.unenforced(ran):
        pytest.skip(why)
    beyond_links.claim_policy(claims, ran)
