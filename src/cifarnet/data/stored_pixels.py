"""Pixels that stay on disk: rows of a memory-mapped array, read when they are asked for."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

# Rows are gathered in blocks of about this size, between which the mapped pages are given back:
# of each row, Linux maps up to 64 kB around it.
_BLOCK_BYTES = 64 << 20
_AROUND = 64 << 10

# A block of pixels, uint8 [n, S, S, 3] -> another one of the same shape
Transform = Callable[[np.ndarray], np.ndarray]


class Pixels(Protocol):
    """Pixels uint8 [N, S, S, 3]: a NumPy array, or `StoredPixels`.

    Indexed by a slice or by rows, both give an array.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, S, S, 3]."""

    @property
    def dtype(self) -> Any:
        """Element type, uint8."""

    def __len__(self) -> int:
        """Return N."""

    def __getitem__(self, index: Any) -> Any:
        """Return pixels as an array."""


class StoredPixels:
    """Chosen rows of a memory-mapped array, in a given order.

    Memory stays bounded: pages that were read are given back at once, and what the system keeps of
    them is its file cache, which it can drop.

    Args:
        base: uint8 [M, S, S, 3]; never written to.
        rows: int [N], of `base`.
        transform: applied to what is read.
    """

    def __init__(
        self, base: np.ndarray, rows: np.ndarray, transform: Transform | None = None
    ) -> None:
        self._base, self._rows, self._transform = base, rows, transform

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, S, S, 3]."""
        return (len(self._rows), *self._base.shape[1:])

    @property
    def dtype(self) -> Any:
        """Element type, uint8."""
        return self._base.dtype

    @property
    def ndim(self) -> int:
        """4."""
        return self._base.ndim

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Read images.

        Args:
            index: one image, a slice, or an array of rows or of booleans; in a tuple, what follows
                is taken of the pixels that were read.

        Returns:
            A new array uint8: [S, S, 3] of one image, else [n, S, S, 3].
        """
        if isinstance(index, tuple):
            found = self[index[0]]
            return found[(slice(None),) * (found.ndim - 3) + index[1:]]
        rows = self._rows[index]
        pixels = self._read(np.atleast_1d(rows))
        if self._transform is not None:
            pixels = self._transform(pixels)
        return pixels if rows.ndim else pixels[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read all images; for NumPy's functions."""
        if copy is False:
            raise ValueError("pixels on disk cannot be an array without a copy")
        return self[:].astype(dtype or self.dtype, copy=False)

    def select(self, rows: np.ndarray) -> StoredPixels:
        """Choose rows, int [n] or bool [N], without reading them."""
        return StoredPixels(self._base, self._rows[rows], self._transform)

    def mapped(self, transform: Transform) -> StoredPixels:
        """Let `transform` change what is read."""
        before = self._transform
        both = transform if before is None else lambda pixels: transform(before(pixels))
        return StoredPixels(self._base, self._rows, both)

    def is_like(self, other: StoredPixels) -> bool:
        """Return whether both read the same file in the same way."""
        return self._base is other._base and self._transform is other._transform

    def extended(self, others: Sequence[StoredPixels]) -> StoredPixels:
        """Append the images of others of which `is_like` holds."""
        rows = np.concatenate([self._rows, *(other._rows for other in others)])
        return StoredPixels(self._base, rows, self._transform)

    def _read(self, rows: np.ndarray) -> np.ndarray:
        found = np.empty((len(rows), *self._base.shape[1:]), np.uint8)
        each = int(np.prod(self._base.shape[1:])) + _AROUND
        step = max(1, _BLOCK_BYTES // each)
        for start in range(0, len(rows), step):
            some = slice(start, start + step)
            # `clip`: otherwise `take` would buffer its output. All rows are in range.
            np.take(self._base, rows[some], axis=0, out=found[some], mode="clip")
            release(self._base)
        return found


def concatenate(parts: Sequence[Pixels]) -> Pixels:
    """Return all images of several arrays; they stay on disk if all are of the same file."""
    stored = [part for part in parts if isinstance(part, StoredPixels)]
    if len(stored) == len(parts) and all(part.is_like(stored[0]) for part in stored):
        return stored[0].extended(stored[1:])
    return np.concatenate([part[:] for part in parts])


def blocks(pixels: Pixels, size: int) -> Iterator[np.ndarray]:
    """Yield all images in order, `size` at a time."""
    for start in range(0, len(pixels), size):
        yield pixels[start : start + size]


def release(base: np.ndarray) -> None:
    """Give back the memory of the pages that were read of a memory-mapped file."""
    mapped = getattr(base, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
