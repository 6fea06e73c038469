"""The networks of a training: the one to train, the one to validate, the one to save."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import numpy as np

from cifarnet import models
from cifarnet.backend import keras, tf
from cifarnet.config import Config
from cifarnet.data import Dataset, images_per_batch
from cifarnet.training.team import Team

# images float32 [B, S, S, 3] -> logits [B, K], in training mode
Forward = Callable[[tf.Tensor], tf.Tensor]
# As in Jordan 2024's code for arXiv 2404.00498.
_WHITENING_IMAGES = 5_000


def build(
    config: Config, dataset: Dataset, team: Team, weights: list[np.ndarray] | None
) -> tuple[keras.Model, keras.Model]:
    """Build the network to train and the one to validate; the same one without `train.ema`.

    Args:
        config, dataset, team: of the training.
        weights: initial weights; drawn from the seed if None.
    """
    keras.utils.set_random_seed(config.seed)
    count = images_per_batch(config.data.image_size, _WHITENING_IMAGES)
    train = dataset.train
    # Images of a folder are sorted by class; of CIFAR-10 the source takes the first.
    pixels = train.spread(count).pixels if train.files else train.pixels[:count]
    stock = build_stock(config, dataset, config.train.precision, np.asarray(pixels))
    if weights is not None:
        stock.set_weights(weights)
    model = models.fast.rewrite(stock)
    if team.replicas > 1:
        models.replicas.divide_batch(model, config.train.batch_size)
    return model, model if config.train.ema is None else models.fast.rewrite(stock)


def build_stock(
    config: Config, dataset: Dataset, precision: str, images: np.ndarray | None = None
) -> keras.Model:
    """Build the network of Keras' own layers; `images` are for whitening kernels."""
    size, statistics = config.data.image_size, (dataset.mean, dataset.std)
    classes = len(dataset.classes)
    return models.build(config.model, size, classes, *statistics, precision, images)


def passes(
    model: keras.Model,
    config: Config,
    sizes: Iterable[int],
    forward: Callable[[keras.Model], Forward] | None,
) -> dict[int, Forward]:
    """Return the training pass of `model` by the size of its images; all have its weights.

    Args:
        model: of the full size.
        config: of the training.
        sizes: sides of images, pixels.
        forward: makes a training pass; that of the network itself if None.
    """
    make = forward or (lambda network: functools.partial(network, training=True))
    full = config.data.image_size
    resized = {size: models.at_size(model, size) for size in sizes if size != full}
    return {size: make(network) for size, network in {full: model, **resized}.items()}
