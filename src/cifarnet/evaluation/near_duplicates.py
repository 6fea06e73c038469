"""Accuracy without the images that have a near duplicate among the training images."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifarnet.data import Dataset
from cifarnet.data.near_duplicates import RULE, cifar10_test
from cifarnet.errors import DataError
from cifarnet.runs.audits import WithoutNearDuplicates
from cifarnet.statistics import wilson

_KINDS = ("exact_duplicate", "near_duplicate")


class Known(NamedTuple):
    """Rows of a split that have near duplicates among the training images, and who says so."""

    rows: np.ndarray
    rule: str


def with_near_duplicates(dataset: Dataset, split: str, path: str | Path | None) -> Known | None:
    """Return the images of a split that have near duplicates among the training images.

    Training images are all that CIFAR-10 has, those of the validation split included.

    Args:
        dataset: the images.
        split: which.
        path: the user's list: `audit.csv` of an audit of these images; or a CSV with the column
            `TestID`, as https://github.com/cvjena/cifair has for CIFAR-10 (Barz and Denzler 2020,
            arXiv 1902.00423). None: the own list of CIFAR-10's test images.

    Returns:
        None without a list, for other images than those.

    Raises:
        DataError: the list cannot be read, or is not of these images.
    """
    is_cifar10 = dataset.source.name == "cifar10" and split == "test"
    if path is not None:
        return Known(_read(Path(path), dataset, split, is_cifar10), f"listed in {Path(path).name}")
    return Known(cifar10_test(), RULE) if is_cifar10 else None


def without(known: Known | None, arrays: dict[str, np.ndarray]) -> WithoutNearDuplicates | None:
    """Compute accuracy with and without these images, of the arrays of `measure`."""
    if known is None:
        return None
    correct = arrays["probabilities"].argmax(axis=1) == arrays["labels"]
    left = np.ones(len(correct), bool)
    left[known.rows] = False
    if not left.any():
        raise DataError(f"every image has a near duplicate, as {known.rule}; expected some without")
    others = correct[~left]
    return WithoutNearDuplicates(
        images=int(left.sum()),
        left_out=len(others),
        accuracy_without_near_duplicates=float(correct[left].mean()),
        interval=list(wilson(int(correct[left].sum()), int(left.sum()))),
        left_out_accuracy=float(others.mean()) if len(others) else None,
        left_out_interval=list(wilson(int(others.sum()), len(others))) if len(others) else None,
        rule=known.rule,
    )


def _read(path: Path, dataset: Dataset, split: str, is_cifar10: bool) -> np.ndarray:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read the list of near duplicates {path}: {error}") from error
    columns = set(rows[0]) if rows else set()
    try:
        if "TestID" in columns:
            if not is_cifar10:
                raise ValueError("a list with TestID is for CIFAR-10's test images alone")
            return _checked([int(row["TestID"]) for row in rows], len(dataset.images(split).labels))
        if {"kind", "split", "index", "file", "class", "other_split"} <= columns:
            return _of_audit(rows, dataset, split)
        raise ValueError("expected the columns of audit.csv, or TestID")
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is no list of near duplicates of these images: {error}") from error


def _of_audit(rows: list[dict[str, str]], dataset: Dataset, split: str) -> np.ndarray:
    images, found = dataset.images(split), []
    for row in rows:
        if row["kind"] in _KINDS and row["split"] == split and row["other_split"] != split:
            (index,) = _checked([int(row["index"])], len(images.labels))
            name = images.files[index].name if images.files else ""
            label = dataset.classes[int(images.labels[index])]
            if (row["file"], row["class"]) != (name, label):
                raise ValueError(f"{split} image {index} is {name or label} here")
            found.append(index)
    return np.unique(np.array(found, np.int64))


def _checked(rows: list[int], count: int) -> np.ndarray:
    if wrong := [row for row in rows if not 0 <= row < count]:
        raise ValueError(f"there are {count:,} images, and it names number {wrong[0]}")
    return np.unique(np.array(rows, np.int64))
