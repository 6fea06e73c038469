"""Magnitude pruning: the smallest weights become zero, the others are trained on."""

from __future__ import annotations

import keras
import numpy as np

from cifarnet import config as cfg
from cifarnet.data import Dataset
from cifarnet.train.trainer import Trainer


def prune(
    trained: keras.Model, config: cfg.Config, options: cfg.PruneConfig, dataset: Dataset
) -> keras.Model:
    """A copy of a run's network with `options.sparsity` of each kernel zero, fine-tuned.

    The smallest weights of each kernel by magnitude go at once, and stay zero while the rest is
    trained as the run was, with a lower rate: Han et al. 2015, arXiv 1506.02626. Kernels that the
    run does not train, such as a whitening one, stay whole.

    Args:
        trained: the run's saved model.
        config: the run's config, its precision chosen.

    Raises:
        ConfigError, ModelError: as for `Trainer`.
    """
    trainer = Trainer(_fine_tuning(config, options), dataset)
    trainer.model.set_weights(trained.get_weights())
    kernels = [w for w in trainer.model.trainable_weights if len(w.shape) > 1]
    trainer.masks = [(kernel, _mask(kernel.numpy(), options.sparsity)) for kernel in kernels]
    for kernel, mask in trainer.masks:
        kernel.assign(kernel.numpy() * mask)
    while trainer.step < trainer.total_steps:
        in_epoch = trainer.step % trainer.steps_per_epoch
        left = trainer.total_steps - trainer.step
        trainer.steps(min(trainer.steps_per_epoch - in_epoch, left))
    return trainer.float32_model(trainer.model.get_weights())


def sparsity(model: keras.Model) -> float:
    """Share of zeros among all weights of the kernels."""
    kernels = [w.numpy() for w in model.weights if len(w.shape) > 1]
    return 1 - sum(map(np.count_nonzero, kernels)) / sum(kernel.size for kernel in kernels)


def _mask(kernel: np.ndarray, share: float) -> np.ndarray:
    """Zeros, as float32, where the smallest `share` of the kernel's weights by magnitude are."""
    mask = np.ones(kernel.size, np.float32)
    mask[np.argsort(np.abs(kernel), axis=None, kind="stable")[: int(share * kernel.size)]] = 0.0
    return mask.reshape(kernel.shape)


def _fine_tuning(config: cfg.Config, options: cfg.PruneConfig) -> cfg.Config:
    """The run's training with fewer epochs, a lower rate, and nothing that ends or averages it."""
    train = config.train.model_copy(
        update={
            "epochs": options.epochs,
            "learning_rate": options.learning_rate or config.train.learning_rate / 10,
            "schedule": cfg.CosineSchedule(kind="cosine"),
            "ema": None,
            "lookahead": None,
            "freeze": {},
        }
    )
    return config.model_copy(update={"train": train})
