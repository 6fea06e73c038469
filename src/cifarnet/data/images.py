"""Labelled images in memory, and where a set of them comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Told while something is fetched: what, bytes done, bytes in all if known.
Progress = Callable[[str, int, "int | None"], None]


@dataclass(frozen=True)
class Images:
    """A labelled set.

    Attributes:
        pixels: uint8 [N, S, S, 3], RGB, 0-255; may be a read-only memory map.
        labels: uint8 [N], indices of classes.
    """

    pixels: np.ndarray
    labels: np.ndarray

    def take(self, rows: np.ndarray) -> Images:
        """The images at `rows`, int [n], copied."""
        return Images(self.pixels[rows], self.labels[rows])


@dataclass(frozen=True)
class Source:
    """A data set as it comes: training and test images.

    Attributes:
        name: cifar10, synthetic or directory.
        description: one line for a person.
        classes: names, by label.
        train, test: the images.
        notes: what a person should know, such as files that were skipped.
    """

    name: str
    description: str
    classes: tuple[str, ...]
    train: Images
    test: Images
    notes: tuple[str, ...] = ()
