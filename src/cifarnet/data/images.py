"""Labeled images, in memory or on disk, and the source that they come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from cifarnet.data.stored_pixels import Pixels, StoredPixels

# `Callback.on_fetch`: what is fetched, bytes done, bytes in total (None: unknown).
OnFetch = Callable[[str, int, int | None], None]

_SIDE = 64  # pixels; batches of larger images have fewer of them


class ImageFile(NamedTuple):
    """An image file: path inside the dataset's folder, with `/`, and SHA-256 of its bytes."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Images:
    """Labeled images.

    Attributes:
        pixels: uint8 [N, S, S, 3], RGB, 0-255; may be a read-only memory map, or rows of one.
        labels: uint8 [N], or uint16 of more than 256 classes; indices of classes.
        files: of a folder's images, the file of each, in order; empty for other sources.
    """

    pixels: Pixels
    labels: np.ndarray
    files: tuple[ImageFile, ...] = ()

    def take(self, rows: np.ndarray) -> Images:
        """Choose the images at `rows`, int [n]; pixels in memory are copied."""
        files = tuple(self.files[row] for row in rows) if self.files else ()
        kept = self.pixels
        pixels = kept.select(rows) if isinstance(kept, StoredPixels) else kept[rows]
        return Images(pixels, self.labels[rows], files)

    def spread(self, most: int) -> Images:
        """Return at most `most` images, evenly spaced: those of a folder are sorted by class.

        They are held in memory.
        """
        if len(self.labels) <= most:
            return self.loaded()
        rows = np.linspace(0, len(self.labels) - 1, most).round().astype(int)
        return self.take(rows).loaded()

    def stored(self) -> Images:
        """Return the same images, whose pixels are read each time they are asked for."""
        if isinstance(self.pixels, StoredPixels):
            return self
        base = np.asanyarray(self.pixels)
        return replace(self, pixels=StoredPixels(base, np.arange(len(base))))

    def loaded(self) -> Images:
        """Return the same images with pixels that are an array."""
        if isinstance(self.pixels, StoredPixels):
            return replace(self, pixels=self.pixels[:])
        return self


def images_per_batch(side: int, most: int) -> int:
    """Return `most`, or fewer images with as many pixels as that many of 64 x 64 have.

    Args:
        side: of the images, pixels.
        most: at least 1.
    """
    return min(most, max(1, most * _SIDE**2 // side**2))


def label_type(classes: int) -> type[np.unsignedinteger]:
    """Return the dtype of labels."""
    return np.uint8 if classes <= 256 else np.uint16


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
