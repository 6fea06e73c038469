"""Where images come from: CIFAR-10, the synthetic set, or a folder of the user's own."""

from __future__ import annotations

from cifarnet.config import DataConfig
from cifarnet.sources import cifar10, directory, synthetic
from cifarnet.sources.cifar10 import CLASSES as CIFAR10_CLASSES
from cifarnet.sources.cifar10 import cache_folder, fetch, verify
from cifarnet.sources.directory import image_files, read_image
from cifarnet.sources.images import Images, Progress, Source

__all__ = [
    "CIFAR10_CLASSES",
    "Images",
    "Progress",
    "Source",
    "cache_folder",
    "class_names",
    "fetch",
    "image_files",
    "load",
    "read_image",
    "verify",
]


def load(config: DataConfig, progress: Progress | None = None) -> Source:
    """The data set a config names, whole, before any split or limit.

    Raises:
        DataError: it cannot be had or read; says what was tried.
    """
    if config.source == "synthetic":
        return synthetic.load()
    if config.source == "directory":
        return directory.load(config)
    return cifar10.load(config.path, progress)


def class_names(config: DataConfig) -> tuple[str, ...]:
    """Names of the classes, found without reading any image."""
    if config.source == "synthetic":
        return synthetic.CLASSES
    if config.source == "directory" and config.path is not None:
        return directory.class_names(config.path)
    return CIFAR10_CLASSES
