"""Labeled images in memory, and the source that they come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# `Callback.on_fetch`: what is fetched, bytes done, bytes in total (None: unknown).
OnFetch = Callable[[str, int, int | None], None]


class ImageFile(NamedTuple):
    """An image file: path inside the dataset's folder, with `/`, and SHA-256 of its bytes."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Images:
    """Labeled images.

    Attributes:
        pixels: uint8 [N, S, S, 3], RGB, 0-255; may be a read-only memory map.
        labels: uint8 [N], indices of classes.
        files: of a folder's images, the file of each, in order; empty for other sources.
    """

    pixels: np.ndarray
    labels: np.ndarray
    files: tuple[ImageFile, ...] = ()

    def take(self, rows: np.ndarray) -> Images:
        """Copy the images at `rows`, int [n]."""
        files = tuple(self.files[row] for row in rows) if self.files else ()
        return Images(self.pixels[rows], self.labels[rows], files)


@dataclass(frozen=True)
class Source:
    """A source's training and test images, before a validation set is split off.

    Attributes:
        name: cifar10, synthetic or directory.
        description: one line for people.
        classes: class names, by label.
        train, test: the images.
        notes: what the user should know, such as files that were skipped.
        validation: the source's own validation split; None: it is split off from `train`.
        unused: names of a folder's image files that `data.limit` left out, unread; needed to tell
            them from files that are added to the folder later.
        unreadable: names of a folder's image files that cannot be read.
    """

    name: str
    description: str
    classes: tuple[str, ...]
    train: Images
    test: Images
    notes: tuple[str, ...] = ()
    validation: Images | None = None
    unused: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
