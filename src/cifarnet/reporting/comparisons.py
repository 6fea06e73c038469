"""The picture of a comparison of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cifarnet.reporting import canvas
from cifarnet.runs.comparisons import Comparison

# Okabe and Ito's palette, safe for color-blind readers.
_SEED, _MEAN, _REST = "#0072B2", "#D55E00", "#999999"
_FILL = f"{_SEED}99"  # seeds of nearly equal accuracy remain visible
_MAX_DIFFERENCES = 15  # more do not fit below each other


@canvas.drawing()
def picture(found: Comparison, png: Path) -> None:
    """Draw the accuracy of each seed, each group's mean with its interval, and the differences."""
    shown = found.differences[:_MAX_DIFFERENCES]
    rows = [len(found.groups), len(shown)][: 2 if shown else 1]
    figure = canvas.figure(8.5, 1.7 + 0.42 * sum(rows) + (0.8 if shown else 0))
    parts = figure.subplots(len(rows), 1, height_ratios=[one + 0.6 for one in rows], squeeze=False)
    _accuracies(parts[0, 0], found)
    if shown:
        _differences(parts[1, 0], found, len(shown))
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    figure.suptitle(
        f"{found.images:,} {found.split} images of {found.data}; augmentation: {found.tta}",
        fontsize=10,
    )
    canvas.save(figure, png)


def _accuracies(axes: Any, found: Comparison) -> None:
    for row, group in enumerate(found.groups):
        seeds = [100 * one.accuracy for one in group.runs]
        label = {"label": "a seed"} if row == 0 else {}
        axes.plot(
            seeds, [row] * len(seeds), "o", color=_SEED, markerfacecolor=_FILL, zorder=3, **label
        )
    several = [(row, one) for row, one in enumerate(found.groups) if one.accuracy_interval]
    for number, (row, group) in enumerate(several):
        label = {"label": "mean of the seeds, 95 % interval"} if number == 0 else {}
        _interval(axes, row + 0.22, group.accuracy, group.accuracy_interval, _MEAN, **label)
    axes.set_yticks(range(len(found.groups)), [one.name for one in found.groups], fontsize=8)
    axes.set_ylim(len(found.groups) - 0.4, -0.6)
    axes.set_xlabel("accuracy, %")
    axes.grid(alpha=0.25, axis="x")


def _differences(axes: Any, found: Comparison, number: int) -> None:
    axes.axvline(0, color=_REST, linewidth=1)
    for row, one in enumerate(found.differences[:number]):
        color = _MEAN if one.differs else _REST
        if one.interval is None:
            axes.plot(100 * one.difference, row, "s", color=color, fillstyle="none")
        else:
            _interval(axes, row, one.difference, one.interval, color)
    names = [f"{one.first}\n- {one.second}" for one in found.differences[:number]]
    axes.set_yticks(range(number), names, fontsize=7)
    axes.set_ylim(number - 0.4, -0.6)
    left = len(found.differences) - number
    rest = f"; {left} more are in compare.json" if left else ""
    axes.set_xlabel(f"difference, points, 95 % interval (orange: differs){rest}")
    axes.grid(alpha=0.25, axis="x")


def _interval(
    axes: Any, row: float, value: float, ends: list[float] | None, color: str, **label: str
) -> None:
    low, high = ends or (value, value)
    axes.plot([100 * low, 100 * high], [row, row], color=color, linewidth=1.5, **label)
    axes.plot(100 * value, row, "|", color=color, markersize=12, markeredgewidth=2)
