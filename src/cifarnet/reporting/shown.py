"""Which classes a table or picture shows where there are too many for all."""

from __future__ import annotations

import numpy as np

from cifarnet.runs import Evaluation

ALL = 50  # so many classes are all shown
SOME = 30  # of more classes


def classes(found: Evaluation) -> list[int]:
    """Return the classes to show: all, or the 30 of the lowest recall that have images.

    Returns:
        Labels, ascending; of the lowest recall first if they are not all.
    """
    if len(found.per_class) <= ALL:
        return list(range(len(found.per_class)))
    recalls = np.array([one.recall if one.support else np.inf for one in found.per_class])
    order = np.argsort(recalls, kind="stable")[:SOME]
    return [int(label) for label in order if found.per_class[label].support]


def confused(found: Evaluation) -> list[int]:
    """Return the classes of a confusion matrix: all, or the 30 of the most frequent mistakes.

    Returns:
        Labels, ascending.
    """
    if len(found.classes) <= ALL:
        return list(range(len(found.classes)))
    counts = np.array(found.confusion_matrix)
    np.fill_diagonal(counts, 0)
    chosen: set[int] = set()
    for cell in np.argsort(-counts, axis=None, kind="stable"):
        both = {int(label) for label in divmod(int(cell), len(counts))}
        if len(chosen | both) > SOME:
            break
        chosen |= both
    return sorted(chosen)


def rest(shown: int, total: int, record: str, which: str = "of the lowest recall") -> str:
    """Say which classes are shown and where the others are; empty if all are."""
    if shown == total:
        return ""
    return f"the {shown} {which} of {total:,} classes; all are in {record or 'the record'}"
