"""Values survive the way between a relay and who controls it; what nobody can have meant is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.wire.conditions import BlackHole, Cut, Healthy, Refuse, Reset, Slow
from harness.wire.effects import Effect, Observation
from harness.wire.messages import (
    MalformedMessage,
    condition_from_json,
    condition_to_json,
    effect_from_json,
    observation_from_json,
    observation_to_json,
    read,
    write,
)

effects = st.builds(
    Effect,
    store=st.sampled_from(("mongo", "etcd", "grpc", "edge")),
    op=st.text(),
    target=st.text(),
    key=st.lists(st.tuples(st.text(), st.text()), max_size=3).map(tuple),
    fields=st.lists(st.text(), max_size=3).map(tuple),
    read=st.booleans(),
    value=st.text(),
)
seconds = st.floats(allow_nan=False, allow_infinity=False)
observations = st.builds(
    Observation,
    seq=st.integers(min_value=0),
    source=st.text(),
    target=st.text(),
    effect=effects,
    requested=seconds,
    answered=st.none() | seconds,
    forwarded=st.booleans(),
    ok=st.none() | st.booleans(),
)


@given(observations)
def test_an_observation_survives(one: Observation) -> None:
    line = write({"one": observation_to_json(one)})
    assert line.count(b"\n") == 1
    there = observation_from_json(read(line)["one"])
    assert (there, there.effect.value) == (one, one.effect.value)


@pytest.mark.parametrize(
    "condition",
    [
        Healthy(),
        Refuse(),
        Reset(),
        BlackHole(),
        BlackHole("to_source", connects=False),
        Slow(0.25),
        Cut(b"\x02find\0", 2, Refuse()),
    ],
)
def test_a_condition_survives(condition: object) -> None:
    line = write({"it": condition_to_json(condition)})  # type: ignore[arg-type]  # it is one of the union
    assert condition_from_json(read(line)["it"]) == condition


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"7", b"\xff\n"])
def test_a_line_that_is_no_object_is_refused(line: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read(line)


@pytest.mark.parametrize(
    "value", [None, [], {}, 7, ["a"], ["mongo", "op", "target", 7, [], False], ["a", "b", "c", [["x"]], [], False]]
)
def test_what_is_no_effect_is_refused(value: object) -> None:
    with pytest.raises(MalformedMessage):
        effect_from_json(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        ["Broken"],
        ["Slow"],
        ["Slow", 1, 2],
        ["Condition"],
        ["Cut", "zz", 1, ["Healthy"]],
        ["Cut", "00", 0, ["Healthy"]],
    ],
)
def test_what_is_no_condition_is_refused(value: object) -> None:
    with pytest.raises(MalformedMessage):
        condition_from_json(value)
