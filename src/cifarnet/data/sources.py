"""Where images come from: CIFAR-10, the synthetic set, or a folder of the user's own."""

from __future__ import annotations

from cifarnet.config import DataConfig
from cifarnet.data import cifar10, image_folder, synthetic
from cifarnet.data.images import Progress, Source


def load_source(config: DataConfig, progress: Progress | None = None) -> Source:
    """The data set a config names, whole, before any split or limit.

    Raises:
        DataError: it cannot be had or read; says what was tried.
    """
    if config.source == "synthetic":
        return synthetic.load()
    if config.source == "directory":
        return image_folder.load(config)
    return cifar10.load(config.path, progress)


def class_names(config: DataConfig) -> tuple[str, ...]:
    """Names of the classes, found without reading any image."""
    if config.source == "synthetic":
        return synthetic.CLASSES
    if config.source == "directory" and config.path is not None:
        return image_folder.class_names(config.path)
    return cifar10.CLASSES
