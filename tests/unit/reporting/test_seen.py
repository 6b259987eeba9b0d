"""A finding is the same in another run by its words, whatever figures and names it has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.reporting.seen import opening, says, words

STUCK = "acknowledged with 202, but its goal is never reached: /context/16533/status/ is Instantiating; undo+redo helps"


@pytest.mark.parametrize(
    "reason, begins",
    [
        ("nothing heals: not repeating", "nothing heals: not repeating"),
        ("repeating heals; left behind", "repeating heals"),
        ("does not come to rest by itself (rsync has)", "does not come to rest by itself"),
        (STUCK, "acknowledged with …, but its goal is never reached: … is Instantiating"),
        ("1 try in 65 s", "… try in … s"),
        ("I12-schema, I4-dangling: mongo emco", "I12-schema, I4-dangling: mongo emco"),  # names, not figures
        ("still on p1+c1, p1+c3 after 10 s", "still on … after … s"),
        ("{project} proj1, {a,b} lc1/proj1 and 2 more cannot be deleted", "… more cannot be deleted"),
        ("repeating gives the state, undo+redo does", "repeating gives the state, undo+redo does"),
        (f"it said {'so ' * 80}", f"it said {'so ' * 50}".strip()),
        ("", ""),
    ],
)
def test_figures_and_names_with_figures_are_left_out(reason: str, begins: str) -> None:
    assert opening(reason) == begins
    assert not begins or says(reason, begins)


@pytest.mark.parametrize(
    "reason, seen, same",
    [
        (STUCK, "acknowledged with", True),  # a shorter one accepts more
        (STUCK, "acknowledged with 500, but its goal is never reached: /other/ is Instantiating", True),
        (STUCK, "acknowledged with …, but its goal is never reached: rsync has", False),
        ("nothing heals: not repeating", "nothing heals", True),
        ("repeating does not heal, undo+redo does", "repeating does not heal", False),
        ("I8-idle, edge-owned: etcd /a", "I8-idle", False),
        ("I8-idle: etcd /a", "I8-idle", True),
        ("I8-idler: etcd /a", "I8-idle", False),
        ("rsync: ended right after its start", "nothing heals", False),
    ],
)
def test_a_reason_says_what_was_seen_or_something_else(reason: str, seen: str, *, same: bool) -> None:
    assert says(reason, seen) == same


@given(st.text(), st.integers(), st.integers())
def test_two_runs_that_differ_in_figures_say_the_same(text: str, one: int, two: int) -> None:
    assert words(f"{text} {one} s") == words(f"{text} {two} s")


@given(st.text())
def test_words_of_words_are_the_same(text: str) -> None:
    assert words(words(text)) == words(text)


@given(st.text())
def test_every_reason_says_its_own_beginning(reason: str) -> None:
    assert not opening(reason) or says(reason, opening(reason))
