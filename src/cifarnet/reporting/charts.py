"""Line charts as numbers that a template draws as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 345, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 10, 40


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: in the legend and in the values on hover.
        x, y: its points, finite and rising in x; a `y` of None is a gap.
        dots: draw the points, not the line between them.
        dashed: draw a reference, such as chance.
        low, high: interval of each point.
        notes: text beside each value on hover.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    dots: bool = False
    dashed: bool = False
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Drawn:
    """A line in the coordinates of the drawing: an SVG path, dots, and vertical bars."""

    name: str
    path: str
    dots: list[tuple[float, float]]
    bars: list[tuple[float, float, float]]
    dashed: bool


@dataclass(frozen=True)
class Chart:
    """A chart, ready to be drawn.

    Attributes:
        x_ticks, y_ticks: place in the drawing, and text.
        places, texts: of each x its place in the drawing, and the values there as text.
    """

    title: str
    x_label: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: list[Drawn]
    places: list[float]
    texts: list[str]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def chart(
    title: str,
    x_label: str,
    lines: Sequence[Line],
    y_range: tuple[float, float] | None = None,
    percent: bool = False,
    whole: bool = False,
) -> Chart | None:
    """Lay out a chart; None without a point.

    Args:
        title: what it shows, with the unit of the vertical axis.
        x_label: of the horizontal axis, with its unit.
        lines: what is drawn.
        y_range: of the vertical axis; None: of the points.
        percent: whether `y` are shares to show as percentages.
        whole: whether `x` are whole numbers.
    """
    xs = [x for line in lines for x, y in zip(line.x, line.y, strict=True) if y is not None]
    ys = [y for line in lines for y in (*line.y, *line.low, *line.high) if y is not None]
    if not xs:
        return None
    x_ends, y_ends = (min(xs), max(xs)), y_range or (min(ys), max(ys))
    x_place = _Scale(x_ends, _LEFT, WIDTH - _RIGHT)
    y_place = _Scale(y_ends, HEIGHT - _BOTTOM, _TOP)
    texts = _texts(lines, percent)
    return Chart(
        title=title,
        x_label=x_label,
        x_ticks=[
            (x_place(value), f"{value:g}")
            for value in ticks(*x_ends)
            if value % 1 == 0 or not whole
        ],
        y_ticks=[
            (y_place(value), f"{100 * value:g} %" if percent else f"{value:g}")
            for value in ticks(*y_ends)
        ],
        lines=[_draw(line, x_place, y_place) for line in lines],
        places=[x_place(x) for x in texts],
        texts=[f"{x_label} {x:.4g}: {', '.join(found)}" for x, found in texts.items()],
    )


def sparkline(values: Sequence[float]) -> str:
    """Return the SVG path of a line without axes, 80 x 18; empty with fewer than two values."""
    if len(values) < 2:
        return ""
    x_place = _Scale((0, len(values) - 1), 1, 79)
    y_place = _Scale((min(values), max(values)), 17, 1)
    return _path([(x_place(i), y_place(value)) for i, value in enumerate(values)])


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return at most about `most` round numbers from `low` to `high`: multiples of 1, 2 or 5."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * by for by in (1, 2, 5, 10) if power * by >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


class _Scale:
    """Maps numbers of an axis to places in the drawing."""

    def __init__(self, ends: tuple[float, float], start: float, stop: float) -> None:
        self.low, self.span = ends[0], ends[1] - ends[0]
        self.start, self.stop = start, stop

    def __call__(self, value: float) -> float:
        share = (value - self.low) / self.span if self.span else 0.5
        return round(self.start + share * (self.stop - self.start), 1)


def _draw(line: Line, x_place: _Scale, y_place: _Scale) -> Drawn:
    points = [
        None if y is None else (x_place(x), y_place(y)) for x, y in zip(line.x, line.y, strict=True)
    ]
    alone = [point for point in points if point is not None]
    bars = [
        (x_place(x), y_place(low), y_place(high))
        for x, low, high in zip(line.x, line.low, line.high, strict=False)
    ]
    path = "" if line.dots else _path(points)
    return Drawn(line.name, path, alone if line.dots or len(alone) < 30 else [], bars, line.dashed)


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """Return an SVG path through the points, interrupted at each None."""
    parts, pen = [], "M"
    for point in points:
        if point is None:
            pen = "M"
            continue
        parts.append(f"{pen}{point[0]:g} {point[1]:g}")
        pen = "L"
    return "".join(parts)


def _texts(lines: Sequence[Line], percent: bool) -> dict[float, list[str]]:
    """Return the values of every line at each x, rising in x."""
    found: dict[float, list[str]] = {}
    for line in lines:
        notes = [f" ({note})" for note in line.notes] or [""] * len(line.x)
        for x, y, note in zip(line.x, line.y, notes, strict=True):
            if y is not None and not line.dashed:
                value = f"{100 * y:.2f} %" if percent else f"{y:.4g}"
                found.setdefault(x, []).append(f"{line.name} {value}{note}")
    return dict(sorted(found.items()))
