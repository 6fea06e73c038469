"""Datasets: a source's images as train, validation and test splits."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cifarnet.config import DataConfig
from cifarnet.data import image_folder
from cifarnet.data.images import Images, OnFetch, Source
from cifarnet.data.memory import budget
from cifarnet.data.sampling import stratified
from cifarnet.data.sources import load_source
from cifarnet.data.stored_pixels import StoredPixels, blocks
from cifarnet.errors import DataError

SPLITS = ("train", "validation", "test")
_BLOCK = 256  # images: 256 x 255 squared fits uint32, so all sums are exact
_MAX_COMPARED_BYTES = 1 << 30
_MAX_COMPARED = 5_000  # enough to detect a difference of 0.1 percentage points


@dataclass(frozen=True)
class Dataset:
    """A source's images in three splits.

    Attributes:
        source: where the images come from.
        train, validation, test: the splits; `validation` may be empty.
        changes: what a run's images differ in from those it was trained on; empty: nothing.
    """

    source: Source
    train: Images
    validation: Images
    test: Images
    changes: str = ""

    @property
    def description(self) -> str:
        """One line for people."""
        return self.source.description

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, by label."""
        return self.source.classes

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, such as files that were skipped."""
        return self.source.notes

    @property
    def mean(self) -> tuple[float, ...]:
        """Channel means of the training pixels, 0-255, [3]."""
        return self._moments[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Channel standard deviations of the training pixels (population), 0-255, [3]."""
        return self._moments[1]

    @property
    def is_on_disk(self) -> bool:
        """Whether training images are read each time they are needed; see `placed`."""
        return isinstance(self.train.pixels, StoredPixels)

    def images(self, name: str) -> Images:
        """Return the split named `train`, `validation` or `test`; it may be empty."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]

    def split(self, name: str) -> Images:
        """Return the split named `train`, `validation` or `test`.

        Raises:
            DataError: no such split, or it is empty.
        """
        if name not in SPLITS:
            raise DataError(f"expected one of the splits {', '.join(SPLITS)}, received {name!r}")
        images = self.images(name)
        if len(images.labels) == 0:
            raise DataError(f"there are no {name} images: {self._why_empty(name)}")
        return images

    def duplicates(self, name: str) -> int:
        """Count the images of a split whose files are byte-identical to training images."""
        train = {file.sha256 for file in self.train.files}
        return sum(file.sha256 in train for file in self.images(name).files)

    def comparison(self) -> tuple[str, np.ndarray, np.ndarray]:
        """Return images on which artifacts are compared; never test images.

        Returns:
            The split's name: `validation`, or `train` without a validation split; and pixels and
            labels of at most 5,000 of its images.
        """
        name = self.comparison_split
        images = self.sample(name)
        return name, np.asarray(images.pixels), images.labels

    @property
    def comparison_split(self) -> str:
        """`validation`, or `train` without a validation split; never `test`."""
        return "validation" if len(self.validation.labels) else "train"

    def sample(self, name: str) -> Images:
        """Return at most 5,000 images of a split, evenly spaced, in memory.

        Of images of more than 267 pixels there are fewer, of 1 GiB.

        Raises:
            DataError: as for `split`.
        """
        images = self.split(name)
        most = min(_MAX_COMPARED, _MAX_COMPARED_BYTES // math.prod(images.pixels.shape[1:]))
        return images.spread(most)

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each split: of its pixels' bytes, then its labels'."""
        return {name: self.digest(name) for name in SPLITS}

    def digest(self, name: str) -> str:
        """Return the SHA-256 of one split, as `digests` does."""
        if name not in self._digests:
            self._digests[name] = _digest(self.images(name))
        return self._digests[name]

    def _why_empty(self, name: str) -> str:
        if self.changes:
            return self.changes
        if name == "validation":
            return "data.validation_fraction is 0 in this config"
        return f"none of {self.description}"

    @cached_property
    def _digests(self) -> dict[str, str]:
        return {}  # filled by `digest`

    @cached_property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        shape = self.train.pixels.shape
        # Summed per position, which is contiguous in memory, then over the positions of a channel.
        total, squares = np.zeros((2, math.prod(shape[1:])), np.uint64)
        for pixels in blocks(self.train.pixels, _BLOCK):
            block = pixels.reshape(len(pixels), -1).astype(np.uint16)
            total += block.sum(axis=0, dtype=np.uint32)
            squares += (block * block).sum(axis=0, dtype=np.uint32)
        total, squares = (sums.reshape(-1, 3).sum(axis=0) for sums in (total, squares))
        count = math.prod(shape) / 3
        mean = total / count
        return tuple(mean.tolist()), tuple(np.sqrt(squares / count - mean**2).tolist())


def load(
    config: DataConfig, seed: int, on_fetch: OnFetch | None = None, old_split: bool = False
) -> Dataset:
    """Load a source and split it.

    Args:
        config: the source, `limit` and `validation_fraction`.
        seed: determines which training images are used and which are held out.
        on_fetch: called during a download or while images are read, as `Callback.on_fetch`.
        old_split: as for `load_source`.

    Raises:
        DataError: the source cannot be loaded; a class is too small; `limit` is out of range.
    """
    source = load_source(config, on_fetch, old_split, seed)
    if source.validation is not None:
        return placed(Dataset(source, source.train, source.validation, source.test), config)
    labels, fraction = source.train.labels, config.validation_fraction
    train, validation = np.arange(len(labels)), np.arange(0)
    if fraction > 0:
        key = "data.validation_fraction"
        train, validation = stratified(labels, fraction, seed, source.classes, key)
    images = source.train.stored()
    return placed(Dataset(source, images.take(train), images.take(validation), source.test), config)


def load_given(
    config: DataConfig, test_fraction: float | None = None, on_fetch: OnFetch | None = None
) -> Dataset:
    """Load a folder to measure a model file on; see `image_folder.load_given`."""
    source = image_folder.load_given(config, test_fraction, on_fetch)
    return placed(Dataset(source, source.train, source.train, source.test), config)


def placed(dataset: Dataset, config: DataConfig) -> Dataset:
    """Hold the images in memory if they fit in `memory_share` of it; else leave them on disk.

    Test images of CIFAR-10 stay memory-mapped in both cases.
    """
    splits = {name: dataset.images(name) for name in SPLITS}
    needed = sum(math.prod(images.pixels.shape) for images in splits.values())
    limit = budget(config)
    place = Images.loaded if limit is None or needed <= limit else Images.stored
    train, validation, test = (place(images) for images in splits.values())
    return replace(dataset, train=train, validation=validation, test=test)


def _digest(images: Images) -> str:
    digest = hashlib.sha256()
    for block in blocks(images.pixels, _BLOCK):
        digest.update(np.ascontiguousarray(block).data)
    digest.update(np.ascontiguousarray(images.labels).data)
    return digest.hexdigest()
