"""The images of all splits in one row, and the duplicates among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cifarnet.data import SPLITS, Dataset, Pixels, near_duplicates
from cifarnet.data.stored_pixels import concatenate
from cifarnet.runs.audits import Duplicate, Overlap


@dataclass(frozen=True)
class Pool:
    """All images of a dataset, in the order train, validation, test.

    Attributes:
        dataset: whose images they are.
        splits: names of its splits that have images.
        pixels: uint8 [N, S, S, 3].
        split: int [N], index of each image's split in `splits`.
        index: int [N], its row in the split.
        label: int [N], its class.
    """

    dataset: Dataset
    splits: tuple[str, ...]
    pixels: Pixels
    split: np.ndarray
    index: np.ndarray
    label: np.ndarray

    def place(self, row: int) -> tuple[str, int, str, str]:
        """Return an image's split, row in it, file (empty: none) and class."""
        name, index = self.splits[self.split[row]], int(self.index[row])
        images = self.dataset.images(name)
        file = images.files[index].name if images.files else ""
        return name, index, file, self.dataset.classes[int(self.label[row])]


def pool(dataset: Dataset) -> Pool:
    """Put the images of a dataset in one row."""
    splits = tuple(name for name in SPLITS if len(dataset.images(name).labels))
    images = [dataset.images(name) for name in splits]
    counts = [len(one.labels) for one in images]
    return Pool(
        dataset,
        splits,
        concatenate([one.pixels for one in images]),
        np.repeat(np.arange(len(splits)), counts),
        np.concatenate([np.arange(count) for count in counts]),
        np.concatenate([one.labels for one in images]),
    )


@dataclass(frozen=True)
class Found:
    """Pairs of duplicates: exact ones by the first of their group; each pair once.

    Attributes:
        earlier, later: int64 [P], rows of the pool; earlier < later.
        distance: float32 [P].
        exact, mirrored: bool [P].
        leaks: bool [P], whether the two are of different splits.
        conflicts: bool [P], whether the two are of different classes.
    """

    earlier: np.ndarray
    later: np.ndarray
    distance: np.ndarray
    exact: np.ndarray
    mirrored: np.ndarray
    leaks: np.ndarray
    conflicts: np.ndarray


def search(images: Pool, on_share: Callable[[float], None] | None = None) -> Found:
    """Find all exact and near duplicates, leaks first, then by distance.

    Args:
        images: to compare.
        on_share: as for `near_duplicates.find`.
    """
    count = len(images.pixels)
    first, copies = near_duplicates.exact(images.pixels)
    group = np.arange(count)
    group[copies] = first
    near = near_duplicates.find(images.pixels, on_share=on_share)
    other = group[near.first] != group[near.second]  # pairs of equal images are listed once
    earlier = np.concatenate([first, near.first[other]])
    later = np.concatenate([copies, near.second[other]])
    distance = np.concatenate([np.zeros(len(first), np.float32), near.distance[other]])
    exact = np.arange(len(earlier)) < len(first)
    mirrored = np.concatenate([np.zeros(len(first), bool), near.mirrored[other]])
    leaks = images.split[earlier] != images.split[later]
    conflicts = images.label[earlier] != images.label[later]
    order = np.lexsort((earlier, later, distance, ~exact, ~leaks))
    parts = (earlier, later, distance, exact, mirrored, leaks, conflicts)
    return Found(*(x[order] for x in parts))


def overlaps(images: Pool, found: Found) -> list[Overlap]:
    """Count the images of each split that have duplicates in it, or in one before it."""
    rows = []
    for later, name in enumerate(images.splits):
        total = int((images.split == later).sum())
        for earlier in range(later + 1):
            between = images.split[found.later] == later
            between &= images.split[found.earlier] == earlier
            exact = np.unique(found.later[between & found.exact])
            near = np.setdiff1d(found.later[between], exact)
            rows.append(
                Overlap(
                    split=name,
                    other=images.splits[earlier],
                    images=total,
                    exact=len(exact),
                    near=len(near),
                )
            )
    return rows


def duplicate(images: Pool, found: Found, pair: int) -> Duplicate:
    """Describe one pair."""
    split, index, file, label = images.place(int(found.later[pair]))
    other_split, other_index, other_file, other_label = images.place(int(found.earlier[pair]))
    return Duplicate(
        exact=bool(found.exact[pair]),
        split=split,
        index=index,
        file=file,
        label=label,
        other_split=other_split,
        other_index=other_index,
        other_file=other_file,
        other_label=other_label,
        distance=round(float(found.distance[pair]), 4),
        mirrored=bool(found.mirrored[pair]),
    )
