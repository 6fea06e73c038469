"""Class by class choices of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cifarnet.errors import DataError


def stratified(
    labels: np.ndarray, fraction: float, seed: int, classes: Sequence[str], key: str
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows in two, holding out `fraction` of every class, at least one of each.

    Args:
        labels: uint8 [N].
        fraction: 0 to 1, rounded class by class.
        seed: decides which rows.
        classes, key: class names and config key, for errors.

    Returns:
        Rows kept and rows held out, int64, ascending.

    Raises:
        DataError: a class too small to give one row to each side.
    """
    random = np.random.default_rng(seed)
    held = []
    for label, name in enumerate(classes):
        rows = np.flatnonzero(labels == label)
        count = max(1, round(fraction * len(rows)))
        if count >= len(rows):
            raise DataError(
                f"the class {name!r} has {len(rows)} training images, too few to hold out "
                f"{key} {fraction:g} of them; add images or change the fraction"
            )
        held.append(random.permutation(rows)[:count])
    chosen = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def balanced(labels: np.ndarray, limit: int, seed: int, classes: Sequence[str]) -> np.ndarray:
    """`limit` rows, as many of each class as can be (within one).

    Returns:
        Rows, int64, ascending.

    Raises:
        DataError: more rows than there are, or fewer than one a class.
    """
    if limit > len(labels) or limit < len(classes):
        raise DataError(
            f"data.limit: expected {len(classes)} (the number of classes) to {len(labels)} "
            f"(the training images), received {limit}"
        )
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(labels))
    # Position of each row among the rows of its class: taking the lowest balances the classes.
    place = np.empty(len(labels), np.int64)
    for label in range(len(classes)):
        rows = shuffled[labels[shuffled] == label]
        place[rows] = np.arange(len(rows))
    return np.sort(shuffled[np.argsort(place[shuffled], kind="stable")][:limit])
