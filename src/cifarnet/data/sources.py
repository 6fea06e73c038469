"""The sources of images: CIFAR-10, the synthetic dataset, or the user's folders."""

from __future__ import annotations

from cifarnet.config import DataConfig
from cifarnet.data import cifar10, image_folder, synthetic
from cifarnet.data.images import OnFetch, Source


def load_source(config: DataConfig, on_fetch: OnFetch | None = None) -> Source:
    """Load the source that a config names, whole: before any split or limit.

    Args:
        config: `source` and what belongs to it.
        on_fetch: called during a download, as `Callback.on_fetch`.

    Raises:
        DataError: it cannot be fetched or read; the message lists what was tried.
    """
    if config.source == "synthetic":
        return synthetic.load()
    if config.source == "directory":
        return image_folder.load(config)
    return cifar10.load(config.path, on_fetch)


def class_names(config: DataConfig) -> tuple[str, ...]:
    """Return the class names of a source without reading an image.

    Raises:
        DataError: as for `image_folder.class_names`.
    """
    if config.source == "synthetic":
        return synthetic.CLASSES
    if config.source == "directory" and config.path is not None:
        return image_folder.class_names(config.path)
    return cifar10.CLASSES
