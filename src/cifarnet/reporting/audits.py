"""Sheets of what an audit found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cifarnet.formatting import percent
from cifarnet.reporting import plots
from cifarnet.runs import Audit

# A split and a row in it -> pixels uint8 [S, S, 3]
Image = Callable[[str, int], np.ndarray]


def duplicates(found: Audit, image: Image, png: Path) -> None:
    """Draw the listed pairs of duplicates side by side, four pairs per row.

    Args:
        found: the audit.
        image: gives the pixels of a listed one.
        png: the file to write.
    """
    shown, captions = [], []
    for one in found.duplicates:
        shown += [image(one.split, one.index), image(one.other_split, one.other_index)]
        kind = "exact" if one.exact else f"distance {one.distance:.2f}"
        captions.append(f"{one.split} {one.index}\n{one.label}\n{kind}")
        mirrored = "mirrored" if one.mirrored else ""
        captions.append(f"{one.other_split} {one.other_index}\n{one.other_label}\n{mirrored}")
    plots.sheet(_stacked(shown), captions, 8, png, f"{found.data}: pairs of duplicates")


def doubts(found: Audit, image: Image, png: Path) -> None:
    """Draw the images whose label is believed least; arguments as for `duplicates`."""
    shown = [image(one.split, one.index) for one in found.doubts]
    captions = [
        f"{one.split} {one.index}\nlabel {one.label}\n{one.predicted} {percent(one.confidence)}"
        for one in found.doubts
    ]
    title = f"{found.data}: labels that the network believes least"
    plots.sheet(_stacked(shown), captions, 8, png, title)


def _stacked(images: list[np.ndarray]) -> np.ndarray:
    return np.stack(images) if images else np.empty((0, 1, 1, 3), np.uint8)
