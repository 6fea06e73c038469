"""The images that an evaluation stores for its page: some of each cell of the confusion matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cifarnet import runs
from cifarnet.runs.sprites import MOST_MISTAKES, MOST_RIGHT, Sprite

_MAX_SIDE = 64  # pixels
_MAX_PIXELS = 1 << 20  # of all images together: about 0.4 MB
_QUALITY = 90


def choose(probabilities: np.ndarray, labels: np.ndarray, size: int) -> Sprite:
    """Choose the most confident images of each pair of true and predicted class.

    These are 10 of each kind of mistake and 4 right ones of each class; if there were more than
    about a million pixels, only those of the pairs with the most images.

    Args:
        probabilities: float32 [N, K].
        labels: int [N].
        size: side of the images, pixels.
    """
    side = min(size, _MAX_SIDE)
    predicted, highest = probabilities.argmax(axis=1), probabilities.max(axis=1)
    cells = labels.astype(np.int64) * probabilities.shape[1] + predicted
    order = np.lexsort((-highest, cells))
    starts = np.flatnonzero(np.diff(cells[order], prepend=-1))
    lengths = np.diff(np.append(starts, len(order)))
    ranks = np.arange(len(order)) - np.repeat(starts, lengths)
    most = np.where(predicted == labels, MOST_RIGHT, MOST_MISTAKES)[order]
    kept = ranks < most
    rows = order[kept]
    sizes = np.repeat(lengths, lengths)[kept]
    largest_first = np.argsort(-sizes, kind="stable")[: _MAX_PIXELS // side**2]
    rows = rows[np.sort(largest_first)]
    return Sprite(rows=rows.tolist(), columns=max(1, round(len(rows) ** 0.5)), side=side)


def write(sprite: Sprite, images: np.ndarray, path: Path) -> None:
    """Write the chosen images side by side as a WebP file.

    Args:
        sprite: what was chosen.
        images: uint8 [len(sprite.rows), S, S, 3].
        path: the file.

    Raises:
        RunError: it cannot be written.
    """
    from PIL import Image

    side, columns = sprite.side, sprite.columns
    lines = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * side, lines * side))
    for place, pixels in enumerate(images):
        image = Image.fromarray(pixels)
        if image.width != side:
            image = image.resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(image, (place % columns * side, place // columns * side))
    runs.write_atomic(path, lambda file: sheet.save(file, "WEBP", quality=_QUALITY))
