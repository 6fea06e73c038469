"""Pictures of a robustness evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cifarnet.reporting import canvas
from cifarnet.runs.results import EvaluationSource
from cifarnet.runs.robustness import AttackRecord, Robustness

# Okabe and Ito's palette, safe for color-blind readers.
_BLUE, _ORANGE, _GREEN = "#0072B2", "#E69F00", "#009E73"


@canvas.drawing()
def corruptions(found: Robustness, png: Path) -> None:
    """Draw accuracy by corruption and severity as a heat map; severity 0 is the clean images."""
    record = found.corruptions
    clean = 100 * record.clean.accuracy
    shares = 100 * np.array([one.accuracy for one in record.scores])
    table = np.column_stack([np.full(len(shares), clean), shares])
    means = [clean, *(100 * one.accuracy for one in record.severities)]
    table = np.vstack([table, means])
    figure = canvas.figure(7.0, 7.0)
    axes = figure.add_subplot()
    axes.imshow(table, cmap="cividis", vmin=0, vmax=table.max(), aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        color = "black" if value > table.max() / 2 else "white"
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=color, fontsize=9)
    axes.axhline(len(shares) - 0.5, color="white", linewidth=3)
    axes.axvline(0.5, color="white", linewidth=3)
    axes.set_xticks(range(table.shape[1]), ["clean", *(str(i) for i in range(1, table.shape[1]))])
    names = [one.corruption.replace("_", " ") for one in record.scores]
    axes.set_yticks(range(len(table)), [*names, "mean"])
    axes.set_xlabel("severity")
    low, high = record.accuracy_interval
    axes.set_title(
        f"{found.about.data}, {record.images:,} of {record.of:,} test images: accuracy, %\n"
        f"mean {100 * record.accuracy:.2f} (95 % interval {100 * low:.2f} to {100 * high:.2f})\n"
        f"{record.images_from}",
        fontsize=10,
    )
    canvas.save(figure, png)


@canvas.drawing()
def attacks(about: EvaluationSource, found: AttackRecord, png: Path) -> None:
    """Draw accuracy by the size of the attacks, with the interval of the worst case."""
    sizes = [0.0, *(one.epsilon for one in found.scores)]
    figure = canvas.figure(7.0, 4.6)
    axes = figure.add_subplot()
    for name, label, color in (
        ("pgd", "PGD alone", _ORANGE),
        ("apgd_dlr", "APGD-DLR alone", _GREEN),
    ):
        values = [found.clean_accuracy, *(getattr(one, name) for one in found.scores)]
        axes.plot(sizes, np.multiply(values, 100), "--", color=color, label=label, linewidth=1.2)
    worst = 100 * np.array([one.accuracy for one in found.scores])
    limits = 100 * np.array([one.accuracy_interval for one in found.scores])
    axes.plot(sizes, [100 * found.clean_accuracy, *worst], color=_BLUE)
    axes.errorbar(
        sizes[1:],
        worst,
        yerr=np.abs(limits.T - worst),
        fmt="o",
        color=_BLUE,
        capsize=4,
        label="under every attack, 95 % interval",
    )
    for size, value in zip(sizes[1:], worst, strict=True):
        axes.annotate(f"{value:.1f}", (size, value), (6, 6), textcoords="offset points")
    axes.set_ylim(0, 100)
    axes.set_xlim(0, 1.08 * sizes[-1])
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes], fontsize=8)
    axes.set_xlabel("largest change of a pixel value, of 255; 0: clean")
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.25)
    axes.legend(loc="upper right")
    axes.set_title(
        f"{about.data}, {found.images:,} of {found.of:,} test images: worst case under "
        "L-infinity attacks\nan upper bound of robust accuracy, not AutoAttack",
        fontsize=10,
    )
    canvas.save(figure, png)
