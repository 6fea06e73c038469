"""Class-stratified and class-balanced sampling of rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from cifarnet.errors import DataError


def stratified(
    labels: np.ndarray, fraction: float, seed: int, classes: Sequence[str], key: str
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows in two, holding out `fraction` of each class, at least one row of each.

    Args:
        labels: uint8 [N].
        fraction: 0 to 1; the count is rounded per class.
        seed: determines which rows are held out.
        classes, key: class names and config key, for error messages.

    Returns:
        The remaining rows and the held-out rows, int64, ascending.

    Raises:
        DataError: a class has too few rows for both sides.
    """
    random = np.random.default_rng(seed)
    chosen = []
    for label, name in enumerate(classes):
        rows = np.flatnonzero(labels == label)
        count = max(1, round(fraction * len(rows)))
        if count >= len(rows):
            raise _too_few(name, len(rows), key, fraction)
        chosen.append(random.permutation(rows)[:count])
    held_out = np.sort(np.concatenate(chosen))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def by_hash(
    keys: Sequence[str], labels: np.ndarray, fraction: float, classes: Sequence[str], key: str
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows in two by a hash of their keys, so that no row depends on which others there are.

    A row is held out if the first 8 bytes of the SHA-256 of its key (UTF-8), big-endian, divided
    by 2^64, are below `fraction`. Each class has at least one row on both sides: otherwise its
    row of the lowest hash is held out, or that of the highest is not.

    Args:
        keys: a text for each row.
        labels: uint8 [N].
        fraction: 0 to 1.
        classes, key: class names and config key, for error messages.

    Returns:
        The remaining rows and the held-out rows, int64, ascending.

    Raises:
        DataError: a class has fewer than two rows.
    """
    hashes = [int.from_bytes(hashlib.sha256(k.encode()).digest()[:8], "big") for k in keys]
    held_out = np.array([value < fraction * 2**64 for value in hashes], bool)
    for label, name in enumerate(classes):
        rows = sorted(np.flatnonzero(labels == label).tolist(), key=hashes.__getitem__)
        if len(rows) < 2:
            raise _too_few(name, len(rows), key, fraction)
        held_out[rows[0]], held_out[rows[-1]] = True, False
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def balanced(labels: np.ndarray, limit: int, seed: int, classes: Sequence[str]) -> np.ndarray:
    """Choose `limit` rows, as evenly over the classes as their sizes allow (within one).

    Returns:
        Rows, int64, ascending.

    Raises:
        DataError: `limit` is more than all rows, or fewer than one row per class.
    """
    if limit > len(labels) or limit < len(classes):
        raise DataError(
            f"data.limit: expected {len(classes)} (the number of classes) to {len(labels)} "
            f"(the training images), received {limit}"
        )
    return np.sort(balanced_order(labels, seed)[:limit])


def balanced_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """Shuffle rows so that every beginning is as even over the classes as their sizes allow.

    Returns:
        All rows, int64 [N].
    """
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(labels))
    # Rank of each row within its class: taking the lowest ranks balances the classes.
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        rows = shuffled[labels[shuffled] == label]
        rank[rows] = np.arange(len(rows))
    return shuffled[np.argsort(rank[shuffled], kind="stable")]


def _too_few(name: str, count: int, key: str, fraction: float) -> DataError:
    return DataError(
        f"the class {name!r} has {count} training images, too few to hold out {key} "
        f"{fraction:g} of them; add images or change the fraction"
    )
