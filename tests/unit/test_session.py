"""Which points a run is to do, before anything is known of them but the calls."""

import pytest

from harness.faults.victim import UsageError
from harness.session import Chosen

CALLS = {"clm/clusters/create-c1", "orchestrator/apps/create-app1", "clm/clusters/create-c1-2"}


@pytest.mark.parametrize(
    "pattern",
    [
        "*", "clm/*", "clm/clusters/create-c1@*", "clm/clusters/create-c1@after:mongo.data~2.*", "?lm/*", "[co]*",
        "clm/clusters/create-c[12]@*", "*create-app1*", "nosuch", "clm/clusters/create-c1@after:mongo.data.crash",
    ],
)  # fmt: skip
def test_what_may_fit_a_point_is_left_to_the_plan(pattern: str) -> None:
    Chosen((pattern,)).check(CALLS)


@pytest.mark.parametrize(
    "pattern, hint",
    [
        ("nosuch/*", "`emco-chaos points` lists them"),
        ("clm/clusters/create-c3@*", "is 'clm/clusters/create-c1"),
        ("orchestrator/app/*", "is 'orchestrator/apps/create-app1' meant"),
        ("@*", "lists them"),
    ],
)
def test_what_fits_no_call_is_refused_before_anything_is_learned(pattern: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"no crash point matches .*: no call begins so; .*{hint}"):
        Chosen(("clm/*", pattern)).check(CALLS)
