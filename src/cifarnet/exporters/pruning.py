"""Magnitude pruning: the smallest weights become zero, the others are trained on."""

from __future__ import annotations

import functools

import numpy as np

from cifarnet import config as cfg
from cifarnet.backend import keras, tf
from cifarnet.data import Dataset
from cifarnet.exporters.finetune import fine_tune
from cifarnet.training import optimizers


def prune(
    trained: keras.Model, config: cfg.Config, options: cfg.PruneConfig, dataset: Dataset
) -> keras.Model:
    """A copy of a run's network with `options.sparsity` of each kernel zero, fine-tuned.

    The smallest weights of each kernel by magnitude go at once, and stay zero while the rest is
    trained as the run was, with a lower rate: Han et al. 2015, arXiv 1506.02626. Kernels that the
    run does not train, such as a whitening one, stay whole.

    Args and errors are those of `fine_tune`.
    """

    def optimizer(train: cfg.TrainConfig, model: keras.Model) -> keras.optimizers.Optimizer:
        for kernel in model.trainable_weights:
            if len(kernel.shape) > 1:
                mask = _mask(kernel.numpy(), options.sparsity)
                kernel.assign(kernel.numpy() * mask)
                # Keras' optimizers apply a variable's constraint after each update of it.
                kernel.constraint = functools.partial(tf.multiply, mask)
        return optimizers.build(train, model)

    return fine_tune(
        trained, config, dataset, options.epochs, options.learning_rate, optimizer=optimizer
    )


def sparsity(model: keras.Model) -> float:
    """Share of zeros among all weights of the kernels."""
    kernels = [w.numpy() for w in model.weights if len(w.shape) > 1]
    return 1 - sum(map(np.count_nonzero, kernels)) / sum(kernel.size for kernel in kernels)


def _mask(kernel: np.ndarray, share: float) -> np.ndarray:
    """Zeros, as float32, where the smallest `share` of the kernel's weights by magnitude are."""
    mask = np.ones(kernel.size, np.float32)
    mask[np.argsort(np.abs(kernel), axis=None, kind="stable")[: int(share * kernel.size)]] = 0.0
    return mask.reshape(kernel.shape)
