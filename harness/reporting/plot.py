"""Attempts over time as one small SVG: when rsync tried, what became of each try, while what was broken.

A pure function of values; the text is the whole picture: no font, script or style from elsewhere. It follows the
reader's light or dark scheme. What a try led to is told by shape as well as by colour.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _LEFT, _RIGHT, _TITLE, _LABEL, _LANE, _BOTTOM = 860, 150, 118, 34, 15, 52, 44
_MOST_LANES, _MOST_MARKS, _MOST_TICKS = 40, 12, 8
_LONGEST = 60  # characters of a mark's label
_CELL = 4  # tries of one lane and kind closer than so many pixels are one sign; the count beside the lane says how many
_STYLE = """
  svg { --ink: #1c2024; --dim: #5c6570; --line: #dce0e5; --good: #1a7f4b; --bad: #c2410c; --band: #c2410c; --mark: #2459a9; }
  @media (prefers-color-scheme: dark) {
    svg { --ink: #e6e9ed; --dim: #9aa4af; --line: #333a42; --good: #4cc38a; --bad: #ff8b4d; --band: #ff8b4d; --mark: #7fb0ff; }
  }
  text { font: 12px system-ui, sans-serif; fill: var(--ink); } .dim { fill: var(--dim); }
  .title { font-size: 14px; font-weight: 600; } .end { text-anchor: end; } .middle { text-anchor: middle; }
  .axis { stroke: var(--line); } .lane { stroke: var(--dim); stroke-opacity: .45; }
  .band { fill: var(--band); fill-opacity: .13; }
  .good { fill: var(--good); } .bad { stroke: var(--bad); stroke-width: 1.6; fill: none; }
  .mark { stroke: var(--mark); stroke-width: 1.5; stroke-dasharray: 4 3; } .marked { fill: var(--mark); }
"""  # noqa: E501  a line for each scheme


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt: when, in seconds since the beginning, and whether it succeeded."""

    at: float
    succeeded: bool


@dataclass(frozen=True, slots=True)
class Lane:
    """The attempts of one edge (or of whatever else tries), in any order."""

    name: str
    tries: tuple[Try, ...]


@dataclass(frozen=True, slots=True)
class Band:
    """A fault in force: from when to when, what it is, and for which lane; empty: for all."""

    start: float
    end: float
    label: str
    lane: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """One moment: healed, goal reached, stopped."""

    at: float
    label: str


def attempts_svg(
    title: str, lanes: Sequence[Lane], *, bands: Sequence[Band] = (), marks: Sequence[Mark] = (), end: float = 0.0
) -> str:
    """The picture, as SVG text.

    end: when observation ended, in seconds; the last event counts where it is later
    Raises ValueError for times that are negative or not finite, no lane, too many, a band for no lane.
    """
    _check(lanes, bands, marks, end)
    moments = [each.at for lane in lanes for each in lane.tries] + [mark.at for mark in marks]
    last = max([end, *moments, *(band.end for band in bands)], default=0.0) or 1.0
    step = _step(last)
    seconds = math.ceil(last / step - 1e-9) * step
    placed = _placed(marks, seconds)
    top = _TITLE + _LABEL * (1 + max((row for _, _, row in placed), default=-1))
    frame = _Frame(seconds, top, top + _LANE * len(lanes))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {frame.floor + _BOTTOM}" role="img">',
        f"<title>{_shown(title)}</title>",
        f"<style>{_STYLE}</style>",
        _text(12, 20, title, "title"),
        *_bands(bands, lanes, frame),
        *_axis(frame, step),
        *(part for number, lane in enumerate(lanes) for part in _lane(lane, frame.middle(number), frame)),
        *_marks(placed, frame),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _x(at: float, seconds: float) -> float:
    return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * at / seconds, 1)


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where things are, in pixels; the axis is so many seconds long."""

    seconds: float
    top: int
    floor: int

    def x(self, at: float) -> float:
        return _x(at, self.seconds)

    @property
    def right(self) -> float:
        return _WIDTH - _RIGHT

    def middle(self, lane: int) -> float:
        return self.top + _LANE * (lane + 0.5)


def _check(lanes: Sequence[Lane], bands: Sequence[Band], marks: Sequence[Mark], end: float) -> None:
    if not 1 <= len(lanes) <= _MOST_LANES:
        raise ValueError(f"a plot has 1 to {_MOST_LANES} lanes, not {len(lanes)}")
    if len(marks) > _MOST_MARKS:
        raise ValueError(f"a plot has at most {_MOST_MARKS} marks, not {len(marks)}")
    names = {lane.name for lane in lanes}
    for band in bands:
        if band.lane and band.lane not in names:
            raise ValueError(f"the band {band.label!r} is for {band.lane!r}, which is no lane")
        if band.end < band.start:
            raise ValueError(f"the band {band.label!r} ends before it begins")
    times = [end, *(each.at for lane in lanes for each in lane.tries), *(mark.at for mark in marks)]
    for time in [*times, *(moment for band in bands for moment in (band.start, band.end))]:
        if not (math.isfinite(time) and time >= 0):
            raise ValueError(f"times are seconds since the beginning, not {time!r}")


def _step(last: float) -> float:
    """Between two ticks of the axis: 1, 2 or 5 times a power of ten, such that there are few."""
    least = last / _MOST_TICKS
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def _bands(bands: Sequence[Band], lanes: Sequence[Lane], frame: _Frame) -> Iterator[str]:
    places = {lane.name: number for number, lane in enumerate(lanes)}
    for band in bands:
        left, right = frame.x(band.start), frame.x(band.end)
        top = frame.middle(places[band.lane]) - _LANE / 2 + 2 if band.lane else frame.top
        height = _LANE - 4 if band.lane else frame.floor - frame.top
        width = max(1.0, round(right - left, 1))
        yield f'<rect class="band" x="{left}" y="{top:g}" width="{width}" height="{height:g}">'
        yield f"<title>{_shown(band.label)}, {band.start:.1f} s to {band.end:.1f} s</title></rect>"
        yield _text(left + 4, top + 12, band.label, "dim")


def _axis(frame: _Frame, step: float) -> Iterator[str]:
    for number in range(round(frame.seconds / step) + 1):
        x = frame.x(number * step)
        yield f'<line class="axis" x1="{x}" y1="{frame.top}" x2="{x}" y2="{frame.floor}"/>'
        yield _text(x, frame.floor + 16, f"{number * step:.6g}", "dim middle")
    yield _text(frame.x(frame.seconds / 2), frame.floor + 34, "seconds", "dim middle")


def _lane(lane: Lane, y: float, frame: _Frame) -> Iterator[str]:
    yield _text(_LEFT - 12, y + 4, lane.name if len(lane.name) <= 20 else f"{lane.name[:19]}…", "end")
    yield f'<line class="lane" x1="{_LEFT}" y1="{y:g}" x2="{frame.right}" y2="{y:g}"/>'
    failed = sum(not each.succeeded for each in lane.tries)
    many = f"{len(lane.tries)} tries" if len(lane.tries) != 1 else "1 try"
    yield _text(frame.right + 10, y - 2, many, "")
    yield _text(frame.right + 10, y + 13, f"{failed} failed", "dim")
    drawn: set[tuple[int, bool]] = set()
    for each in sorted(lane.tries, key=lambda each: each.at):
        x = frame.x(each.at)
        cell = (int(x) // _CELL, each.succeeded)
        if cell in drawn:
            continue
        drawn.add(cell)
        word = "succeeded" if each.succeeded else "failed"
        sign = _dot(x, y + 6) if each.succeeded else _cross(x, y - 6)
        yield f"<g><title>{each.at:.2f} s, {word}</title>{sign}</g>"


def _dot(x: float, y: float) -> str:
    return f'<circle class="good" cx="{x}" cy="{y:g}" r="4"/>'


def _cross(x: float, y: float) -> str:
    return f'<path class="bad" d="M{x - 4:g} {y - 4:g}l8 8m0 -8l-8 8"/>'


def _placed(marks: Sequence[Mark], seconds: float) -> list[tuple[Mark, float, int]]:
    """Each mark, where its label begins, and in which row, such that no label is on another."""
    ends: list[float] = []
    placed: list[tuple[Mark, float, int]] = []
    for mark in sorted(marks, key=lambda mark: mark.at):
        width = 7.0 * len(_label(mark))
        left = min(_x(mark.at, seconds) + 4, _WIDTH - width)
        row = next((number for number, taken in enumerate(ends) if taken <= left), len(ends))
        ends[row : row + 1] = [left + width]
        placed.append((mark, left, row))
    return placed


def _marks(placed: Sequence[tuple[Mark, float, int]], frame: _Frame) -> Iterator[str]:
    for mark, left, row in placed:
        x, top = frame.x(mark.at), _TITLE + _LABEL * row
        yield f'<line class="mark" x1="{x}" y1="{top}" x2="{x}" y2="{frame.floor}"/>'
        yield _text(left, top + 10, _label(mark), "marked")


def _label(mark: Mark) -> str:
    return f"{mark.label[:_LONGEST]} {mark.at:.1f} s"


def _shown(text: str) -> str:
    # XML has no place for control characters, not even escaped.
    return escape("".join(character if character.isprintable() else " " for character in text))


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{_shown(text)}</text>'
