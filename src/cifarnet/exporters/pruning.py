"""Magnitude pruning: set the smallest weights to zero, then fine-tune the others."""

from __future__ import annotations

import numpy as np

from cifarnet import config as cfg
from cifarnet.backend import keras, tf
from cifarnet.data import Dataset
from cifarnet.errors import GateError
from cifarnet.exporters import parity
from cifarnet.exporters.finetune import fine_tune
from cifarnet.predictors import keras_file
from cifarnet.training import optimizers


def prune(
    trained: keras.Model, config: cfg.Config, options: cfg.PruneConfig, dataset: Dataset
) -> keras.Model:
    """Set `options.sparsity` of each kernel to zero in a copy of a network, and fine-tune it.

    The smallest weights of each kernel by magnitude become zero at once and stay zero while the
    others are trained with a lower learning rate: Han et al. 2015, arXiv 1506.02626. Kernels that
    the run does not train, such as a whitening one, are not pruned.

    Args and errors are those of `fine_tune`.
    """

    def optimizer(train: cfg.TrainConfig, model: keras.Model) -> keras.optimizers.Optimizer:
        for kernel in _trained_kernels(model):
            kernel.assign(kernel.numpy() * _mask(kernel.numpy(), options.sparsity))
        return keep_zeros(train, model)

    return fine_tune(
        trained, config, dataset, options.epochs, options.learning_rate, optimizer=optimizer
    )


def keep_zeros(train: cfg.TrainConfig, model: keras.Model) -> keras.optimizers.Optimizer:
    """Build the optimizer of a training in which the kernels' zeros stay zero."""
    for kernel in _trained_kernels(model):
        mask = (kernel.numpy() != 0).astype(np.float32)
        # Keras' optimizers apply a variable's constraint after each update of it.
        kernel.constraint = _Masked(mask, kernel.constraint)
    return optimizers.build(train, model)


def sparsity(model: keras.Model) -> float:
    """Return the share of zeros among all weights of the kernels."""
    kernels = [w.numpy() for w in model.weights if len(w.shape) > 1]
    return 1 - sum(map(np.count_nonzero, kernels)) / sum(kernel.size for kernel in kernels)


def check(
    original: keras.Model,
    pruned: keras.Model,
    pixels: np.ndarray,
    labels: np.ndarray,
    allowed: float,
) -> dict[str, float]:
    """Return the accuracies before and after pruning, as a record names them.

    Raises:
        GateError: it fell by more than `allowed`.
    """
    before, after = (
        float((keras_file.from_model(model)(pixels).argmax(axis=1) == labels).mean())
        for model in (original, pruned)
    )
    if parity.loses_more(before, after, allowed, len(labels)):
        raise GateError(
            f"the pruned network loses {100 * (before - after):.2f} points of accuracy on "
            f"{len(labels):,} images ({100 * before:.2f} % to {100 * after:.2f} %), allowed "
            f"{100 * allowed:.2f} (export.max_accuracy_loss). Prune less, or train longer after it "
            "(export.prune.epochs)"
        )
    return {"accuracy_before": before, "accuracy": after}


def _trained_kernels(model: keras.Model) -> list[keras.Variable]:
    return [variable for variable in model.trainable_weights if len(variable.shape) > 1]


class _Masked(keras.constraints.Constraint):
    """Apply a layer's own constraint, if it has one, then multiply by a mask."""

    def __init__(self, mask: np.ndarray, constraint: keras.constraints.Constraint | None) -> None:
        self._mask = mask
        self._constraint = constraint

    def __call__(self, kernel: keras.Variable) -> tf.Tensor:
        constrained = kernel if self._constraint is None else self._constraint(kernel)
        return tf.multiply(constrained, self._mask)


def _mask(kernel: np.ndarray, share: float) -> np.ndarray:
    """Return float32 zeros at the smallest `share` of the weights by magnitude, ones elsewhere."""
    mask = np.ones(kernel.size, np.float32)
    mask[np.argsort(np.abs(kernel), axis=None, kind="stable")[: int(share * kernel.size)]] = 0.0
    return mask.reshape(kernel.shape)
