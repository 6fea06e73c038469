"""The sources of images: CIFAR-10, the synthetic dataset, or the user's folders."""

from __future__ import annotations

from dataclasses import replace

from cifarnet.config import DataConfig
from cifarnet.data import cifar10, image_folder, image_layout, synthetic
from cifarnet.data.images import OnFetch, Source
from cifarnet.data.sampling import balanced


def load_source(
    config: DataConfig,
    on_fetch: OnFetch | None = None,
    old_split: bool = False,
    seed: int | None = None,
) -> Source:
    """Load the source that a config names, before a validation split.

    Args:
        config: `source` and what belongs to it.
        on_fetch: called during a download or while images are read, as `Callback.on_fetch`.
        old_split: of a folder, hold out the test images that runs of format 1 did.
        seed: given, only the `limit` training images that it determines are loaded; None: all.

    Raises:
        DataError: it cannot be fetched or read; the message lists what was tried.
    """
    if config.source == "directory":
        return image_folder.load(config, on_fetch, old_split, seed)
    is_synthetic = config.source == "synthetic"
    source = synthetic.load() if is_synthetic else cifar10.load(config.path, on_fetch)
    if config.limit is None or seed is None:
        return source
    rows = balanced(source.train.labels, config.limit, seed, source.classes)
    return replace(source, train=source.train.take(rows))


def class_names(config: DataConfig) -> tuple[str, ...]:
    """Return the class names of a source without reading an image.

    Raises:
        DataError: as for `image_layout.class_names`.
    """
    if config.source == "synthetic":
        return synthetic.CLASSES
    if config.source == "directory" and config.path is not None:
        return image_layout.class_names(config.path)
    return cifar10.CLASSES
