"""The picture of attempts: what is in it, that it is well-formed whatever the values, that it loads nothing."""

import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.reporting.plot import Band, Lane, Mark, Try, attempts_svg

SVG = "{http://www.w3.org/2000/svg}"


def drawn(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314  written by the code under test


def texts(text: str) -> list[str]:
    return [str(each.text) for each in drawn(text).iter(f"{SVG}text")]


def kinds(text: str, kind: str) -> list[ET.Element]:
    return [each for each in drawn(text).iter() if each.get("class") == kind]


def test_every_try_every_fault_and_every_mark_is_in_it() -> None:
    one = Lane("p1+c1", (Try(1.0, False), Try(3.0, False), Try(9.5, True)))
    other = Lane("p1+c2", (Try(1.0, True),))
    svg = attempts_svg(
        "one of two",
        [one, other],
        bands=[Band(0.5, 8, "refused", "p1+c1")],
        marks=[Mark(8, "healed"), Mark(9.7, "goal")],
    )
    assert (len(kinds(svg, "bad")), len(kinds(svg, "good")), len(kinds(svg, "band"))) == (2, 2, 1)
    said = texts(svg)
    for part in (
        "one of two",
        "p1+c1",
        "3 tries",
        "2 failed",
        "1 try",
        "0 failed",
        "refused",
        "healed 8.0 s",
        "goal 9.7 s",
    ):
        assert part in said
    assert [each for each in said if re.fullmatch(r"[\d.]+", each)] == ["0", "2", "4", "6", "8", "10"]


def test_a_time_is_where_the_axis_says() -> None:
    svg = attempts_svg("t", [Lane("a", (Try(5.0, True),))], end=10.0)
    axis = {float(str(each.get("x1"))) for each in kinds(svg, "axis")}
    (dot,) = kinds(svg, "good")
    assert float(str(dot.get("cx"))) == pytest.approx((min(axis) + max(axis)) / 2, abs=0.1)


def test_a_fault_of_one_lane_covers_that_lane_and_one_of_all_covers_all() -> None:
    lanes = [Lane("a", ()), Lane("b", ()), Lane("c", ())]
    one, every = (
        float(str(kinds(attempts_svg("t", lanes, bands=[Band(0, 1, "x", lane)]), "band")[0].get("height")))
        for lane in ("b", "")
    )
    assert every > 2 * one


def test_many_tries_stay_small_and_are_counted() -> None:
    svg = attempts_svg("t", [Lane("a", tuple(Try(each / 100, False) for each in range(20_000)))])
    assert len(svg) < 40_000
    assert "20000 tries" in texts(svg)
    assert "20000 failed" in texts(svg)


def test_labels_of_marks_are_never_on_one_another() -> None:
    svg = attempts_svg("t", [Lane("a", ())], marks=[Mark(each / 10, "x") for each in range(12)], end=600)
    rows = [each.get("y") for each in kinds(svg, "marked")]
    assert len(set(rows)) == len(rows)


def test_it_stands_for_itself_and_follows_light_and_dark() -> None:
    svg = attempts_svg("t", [Lane("a", ())])
    assert "prefers-color-scheme: dark" in svg
    assert re.findall(r"href|url\(|@import|<script|base64", svg) == []


NAMES = st.text(max_size=200)
TIMES = st.floats(0, 1e6)
LANES = st.lists(
    st.builds(Lane, NAMES, st.lists(st.builds(Try, TIMES, st.booleans()), max_size=20).map(tuple)),
    min_size=1,
    max_size=5,
)


@given(NAMES, LANES, st.lists(st.builds(Mark, TIMES, NAMES), max_size=12), NAMES, TIMES)
def test_whatever_the_values_it_is_well_formed_and_nothing_is_outside(
    title: str, lanes: list[Lane], marks: list[Mark], label: str, end: float
) -> None:
    svg = attempts_svg(title, lanes, bands=[Band(0, end, label)], marks=marks, end=end)
    width = float(str(drawn(svg).get("viewBox")).split()[2])
    places = [float(str(each.get(name))) for each in drawn(svg).iter() for name in ("x", "x1", "cx") if each.get(name)]
    assert all(0 <= x <= width for x in places)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"lanes": []}, "a plot has 1 to 40 lanes, not 0"),
        ({"lanes": [Lane(str(n), ()) for n in range(41)]}, "not 41"),
        ({"lanes": [Lane("a", (Try(-1, True),))]}, "times are seconds since the beginning, not -1"),
        ({"lanes": [Lane("a", ())], "end": math.inf}, "not inf"),
        ({"lanes": [Lane("a", ())], "bands": [Band(0, 1, "x", "b")]}, "the band 'x' is for 'b', which is no lane"),
        ({"lanes": [Lane("a", ())], "bands": [Band(2, 1, "x")]}, "the band 'x' ends before it begins"),
        ({"lanes": [Lane("a", ())], "marks": [Mark(1, "x")] * 13}, "at most 12 marks, not 13"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        attempts_svg("t", **arguments)  # type: ignore[arg-type]  # the table holds arguments of several types
