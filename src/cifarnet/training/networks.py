"""The networks of a training: the one to train, the one to validate, the one to save."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cifarnet import models
from cifarnet.backend import keras
from cifarnet.config import Config
from cifarnet.data import Dataset, images_per_batch
from cifarnet.training.team import Team

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
    stock = build_stock(config, dataset, config.train.precision, dataset.train.pixels[:count])
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


def resized(model: keras.Model, config: Config, sizes: Iterable[int]) -> dict[int, keras.Model]:
    """Return networks of the weights of `model` by the size of their images, itself included."""
    full = config.data.image_size
    return {full: model, **{s: models.at_size(model, s) for s in sizes if s != full}}
