"""Magnitude pruning: the smallest weights become zero, the others are trained on."""

from __future__ import annotations

import keras
import numpy as np

from cifarnet import config as cfg
from cifarnet.data import Dataset
from cifarnet.exporters.finetune import tune
from cifarnet.training.step import Trainer


def prune(
    trained: keras.Model, config: cfg.Config, options: cfg.PruneConfig, dataset: Dataset
) -> keras.Model:
    """A copy of a run's network with `options.sparsity` of each kernel zero, fine-tuned.

    The smallest weights of each kernel by magnitude go at once, and stay zero while the rest is
    trained as the run was, with a lower rate: Han et al. 2015, arXiv 1506.02626. Kernels that the
    run does not train, such as a whitening one, stay whole.

    Args and errors are those of `tune`.
    """

    def mask(trainer: Trainer) -> None:
        kernels = [w for w in trainer.model.trainable_weights if len(w.shape) > 1]
        trainer.masks = [(kernel, _mask(kernel.numpy(), options.sparsity)) for kernel in kernels]
        for kernel, ones in trainer.masks:
            kernel.assign(kernel.numpy() * ones)

    return tune(trained, config, dataset, options.epochs, options.learning_rate, mask)


def sparsity(model: keras.Model) -> float:
    """Share of zeros among all weights of the kernels."""
    kernels = [w.numpy() for w in model.weights if len(w.shape) > 1]
    return 1 - sum(map(np.count_nonzero, kernels)) / sum(kernel.size for kernel in kernels)


def _mask(kernel: np.ndarray, share: float) -> np.ndarray:
    """Zeros, as float32, where the smallest `share` of the kernel's weights by magnitude are."""
    mask = np.ones(kernel.size, np.float32)
    mask[np.argsort(np.abs(kernel), axis=None, kind="stable")[: int(share * kernel.size)]] = 0.0
    return mask.reshape(kernel.shape)
