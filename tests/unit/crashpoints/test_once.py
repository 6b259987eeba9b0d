"""Made once: creating again is not applying again."""

from harness.crashpoints.learn import Seen
from harness.crashpoints.once import made_again
from harness.wire.effects import Effect, Observation

from .conftest import PROFILE

LEARNED = (
    Seen("POST", "rsync", "edge", "p1+c1", "edge POST p1+c1 (path=/configmaps)"),
    Seen("PATCH", "rsync", "edge", "p1+c1", "edge PATCH p1+c1 (path=/configmaps/a)"),
    Seen("POST", "dcm", "mongo", "mongo", "a write of this name elsewhere"),
)


def seen(op: str, *, ok: bool | None = True, store: str = "edge") -> Observation:
    effect = Effect(store, op, "p1+c1", (("path", "/configmaps"),))  # type: ignore[arg-type]
    return Observation(0, "rsync", "p1+c1", effect, 0.0, ok=ok)


def test_applying_again_is_fine_and_so_is_a_creation_that_was_refused_or_not_answered() -> None:
    assert made_again(LEARNED, (seen("POST"), seen("PATCH"), seen("PATCH")), PROFILE) == ()
    assert made_again(LEARNED, (seen("POST"), seen("POST", ok=False), seen("POST", ok=None)), PROFILE) == ()
    assert made_again(LEARNED, (seen("POST"), seen("POST", store="mongo")), PROFILE) == ()
    assert made_again(LEARNED, (), PROFILE) == ()


def test_what_was_created_more_often_than_without_the_fault_is_named() -> None:
    assert made_again(LEARNED, (seen("POST"), seen("POST")), PROFILE) == ("POST, 2 times instead of 1",)
    assert made_again((), (seen("POST"),), PROFILE) == ("POST, 1 times instead of 0",)
