from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.crashpoints.claims import CLAIM_OUTCOMES, ClaimResult, claim_id, claim_subject, subject_id
from harness.crashpoints.model import CrashPoint, Fault, Grade, Outcome, Side
from harness.crashpoints.outcomes import GRADES

ID = "cluster_partition/instantiate/refused/one-of-three:retries-bounded"


def claim(**more: Any) -> ClaimResult:
    values: dict[str, Any] = {
        "id": ID,
        "scenario": "cluster_partition",
        "claim": "rsync gives up after max-retries",
        "outcome": Outcome.HOLDS,
        "reason": "3 attempts",
        "proof": "refused for 12.0 s, 9 connections",
    }
    return ClaimResult(**(values | more))


def test_an_id_says_scenario_variant_and_claim() -> None:
    assert (claim().subject, claim().variant, claim().name) == (
        "cluster_partition/instantiate/refused/one-of-three",
        "instantiate/refused/one-of-three",
        "retries-bounded",
    )
    alone = claim(id="namespace_wipe:rpo", scenario="namespace_wipe")
    assert (alone.subject, alone.variant, alone.name) == ("namespace_wipe", "", "rpo")


def test_grades_and_the_order_from_best_to_worst() -> None:
    order = list(Outcome)
    assert order[0] is Outcome.HOLDS
    assert order.index(Outcome.NEEDS_REPAIR) < order.index(Outcome.BROKEN) < order.index(Outcome.STUCK)
    assert set(GRADES) == set(Outcome)
    grades = [GRADES[outcome] for outcome in order]
    assert grades == sorted(grades, key=list(Grade).index)
    assert (claim().grade, claim(outcome=Outcome.BROKEN).grade) == (Grade.PASS, Grade.FAIL)


@pytest.mark.parametrize(
    "more, message",
    [
        ({"id": "dcm/create@after:mongo.data.crash"}, "is not the id of a claim"),
        ({"id": "cluster_partition"}, "is not the id of a claim"),
        ({"outcome": Outcome.ATOMIC}, "a claim cannot be 'atomic'; expected one of holds, leaks, orphans"),
        ({"proof": " "}, "without proof that the disruption happened the outcome is unknown"),
        ({"measured": {"spacing_s": float("nan")}}, "spacing_s = nan is neither a finite number nor"),
        ({"measured": {"rto_s": float("inf")}}, "rto_s = inf"),
        ({"measured": {"attempts": [1]}}, r"attempts = \[1\] is neither"),
        ({"measured": {"goal_s": None}}, "goal_s = None is neither"),
        ({"evidence": ("claims/a.svg", "../a.svg")}, r"evidence lies in the run's folder, '\.\./a\.svg' does not"),
        ({"evidence": ("/etc/passwd",)}, "evidence lies in the run's folder"),
    ],
)
def test_what_could_not_be_believed_or_stored_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        claim(**more)


def test_what_is_unknown_needs_no_proof() -> None:
    assert claim(outcome=Outcome.UNKNOWN, proof="").grade is Grade.ERROR


@pytest.mark.parametrize("scenario", ["", "Cluster", "a/b", "a b", "-a", "a:b"])
def test_a_scenarios_name_that_cannot_be_part_of_an_id_is_refused(scenario: str) -> None:
    with pytest.raises(ValueError, match="a scenario's name is made of"):
        subject_id(scenario, "x")


@pytest.mark.parametrize("variant", ["a b", "/a", "a/", "a'b", "a\n", "ä"])
def test_a_variant_that_cannot_be_part_of_an_id_is_refused(variant: str) -> None:
    with pytest.raises(ValueError, match="a variant is made of"):
        subject_id("x", variant)


@pytest.mark.parametrize("name", ["", "a.b", "a b", "A", "a/b", "a:b", "a\n"])
def test_a_claims_name_that_cannot_be_part_of_an_id_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="the name of a claim is made of"):
        claim_id("x", name)


NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]*", fullmatch=True)
SUBJECTS = st.builds(
    subject_id,
    st.from_regex(r"[a-z0-9][a-z0-9_-]*", fullmatch=True),
    st.just("") | st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._~@+=:/-]*[A-Za-z0-9._~@+=:-])?", fullmatch=True),
)


@given(SUBJECTS, NAMES)
def test_the_subject_can_be_read_back_from_an_id(subject: str, name: str) -> None:
    assert claim_subject(claim_id(subject, name)) == subject


@given(
    st.from_regex(r"[a-z0-9/_:.@-]+", fullmatch=True),
    st.sampled_from(get_args(Side)),
    st.from_regex(r"[a-zA-Z0-9.]+", fullmatch=True),
    st.integers(1, 3),
    st.sampled_from(get_args(Fault)),
)
def test_no_crash_points_id_is_that_of_a_claim(
    call: str, side: Side, effect: str, occurrence: int, fault: Fault
) -> None:
    assert claim_subject(CrashPoint(call, "dcm", side, effect, occurrence, 1, fault).id) == ""


def test_a_claim_may_lead_to_every_outcome_that_compares_no_states() -> None:
    assert set(Outcome) - set(CLAIM_OUTCOMES) == {Outcome.ATOMIC, Outcome.SELF_HEALS, Outcome.RETRY_HEALS}
