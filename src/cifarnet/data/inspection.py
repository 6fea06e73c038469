"""Inspect a dataset: counts, digests and moments, and a picture of its augmentation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarnet.callbacks import Callback, Callbacks
from cifarnet.config import Config
from cifarnet.data.dataset import SPLITS, load
from cifarnet.reporting import plots

_MAX_CLASSES = 50


@dataclass(frozen=True)
class SplitInfo:
    """A split's digest (see `Dataset.digests`) and its number of images per class."""

    digest: str
    per_class: dict[str, int]


@dataclass(frozen=True)
class DatasetInfo:
    """Statistics of a dataset.

    Attributes:
        source: cifar10, synthetic or directory.
        description: one line for people.
        splits: train, validation and test.
        mean, std: channel moments of the training pixels, 0-255, [3].
        notes: what the user should know, such as files that were skipped.
    """

    source: str
    description: str
    splits: dict[str, SplitInfo]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...]


def inspect(config: Config, callbacks: Iterable[Callback] = ()) -> DatasetInfo:
    """Load the dataset of a config and compute its statistics.

    Raises:
        DataError: as for `load`.
    """
    dataset = load(config.data, config.seed, Callbacks(callbacks).on_fetch)
    splits = {}
    for name in SPLITS:
        counts = np.bincount(dataset.images(name).labels, minlength=len(dataset.classes))
        per_class = dict(zip(dataset.classes, counts.tolist(), strict=True))
        splits[name] = SplitInfo(dataset.digest(name), per_class)
    return DatasetInfo(
        source=dataset.source.name,
        description=dataset.description,
        splits=splits,
        mean=dataset.mean,
        std=dataset.std,
        notes=dataset.notes,
    )


def draw_preview(
    config: Config, png: Path, epoch: int = 0, callbacks: Iterable[Callback] = ()
) -> str:
    """Draw a training image of each class before and after augmentation and mixing in an epoch.

    Of more than 50 classes, 50 are drawn, evenly spaced.

    Returns:
        The augmentations and the mixing drawn, such as `flip, crop, cutmix`.

    Raises:
        DataError: as for `load`.
        RunError: the picture cannot be written.
    """
    from cifarnet.data import augment, mixing  # need TensorFlow

    dataset = load(config.data, config.seed, Callbacks(callbacks).on_fetch)
    classes = np.arange(len(dataset.classes))
    if len(classes) > _MAX_CLASSES:
        classes = np.linspace(0, len(classes) - 1, _MAX_CLASSES).round().astype(int)
    rows = [int(np.flatnonzero(dataset.train.labels == c)[0]) for c in classes]
    transforms = augment.build(config.data.augment, dataset.mean)
    draws = transforms.draw(config.seed, epoch, len(dataset.train.labels))
    before = dataset.train.pixels[rows]

    def augmented(chosen: list[int]) -> np.ndarray:
        pixels = transforms.apply(dataset.train.pixels[chosen], draws[chosen])
        return np.asarray(pixels).astype(np.float32)

    after = augmented(rows)
    kinds: list[str] = [one.kind for one in config.data.augment]
    mix = mixing.build(config.data)
    if mix is not None:
        partners, shares = mix.draw(config.seed, epoch, len(draws))
        after = np.asarray(mix.apply(after, augmented(partners[rows].tolist()), shares[rows])[0])
        kinds.append(mix.kind)
    after = after.round().astype(np.uint8)
    names = [dataset.classes[int(dataset.train.labels[row])] for row in rows]
    pairs = np.stack([before, after], axis=1).reshape(-1, *before.shape[1:])
    captions = [text for name in names for text in (name, "augmented" if mix is None else "mixed")]
    done = ", ".join(kinds) or "no augmentation"
    plots.sheet(pairs, captions, 10, png, f"Training images and epoch {epoch}'s view: {done}")
    return done
