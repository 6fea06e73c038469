"""Pictures of a robustness evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cifarnet.reporting import canvas
from cifarnet.runs.robustness import Robustness


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
