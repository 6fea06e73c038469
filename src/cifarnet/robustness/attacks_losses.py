"""The losses that attacks raise, with their gradients."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cifarnet.backend import tf
from cifarnet.predictors.gradients import Differentiable

_TINY = 1e-12


class Evaluated(NamedTuple):
    """A loss of images, float32 [N], and which are classified rightly, bool [N].

    `gradient` is the loss' by the pixels, float32 [N, S, S, 3].
    """

    loss: np.ndarray
    right: np.ndarray
    gradient: np.ndarray


class Losses:
    """The losses of a network. All take pixels float32 [N, S, S, 3], 0-255, and labels [N].

    Right is an image whose label has the highest logit, the first of equal ones.
    """

    def __init__(self, network: Differentiable) -> None:
        """Take a network; each loss is traced when it is first called."""
        self._network = network
        shape = (None, network.size, network.size, 3)
        signature = [tf.TensorSpec(shape, tf.float32), tf.TensorSpec((None,), tf.int32)]
        self._cross_entropy = tf.function(self._by_cross_entropy, input_signature=signature)
        self._dlr = tf.function(self._by_dlr, input_signature=signature)
        self._margin = tf.function(self._by_margin, input_signature=signature)

    def cross_entropy(self, pixels: np.ndarray, labels: np.ndarray) -> Evaluated:
        """Compute the cross-entropy, nats."""
        return Evaluated(*_arrays(self._cross_entropy(pixels, labels)))

    def dlr(self, pixels: np.ndarray, labels: np.ndarray) -> Evaluated:
        """Compute the difference of logits ratio (Croce & Hein 2020, arXiv 2003.01690, eq. 6).

        -(z_y - max z_i, i != y) / (z_1 - z_3), with z_1 >= z_2 >= z_3 the highest logits: it does
        not change when logits are scaled or shifted, so that it does not saturate as the
        cross-entropy does. It needs three classes; with two it is the numerator alone.
        """
        return Evaluated(*_arrays(self._dlr(pixels, labels)))

    def margin(self, pixels: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute z_y - max z_i, i != y, float32 [N], and which images are right. No gradient."""
        margin, right = _arrays(self._margin(pixels, labels))
        return margin, right

    def right(self, pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return which images are classified rightly, bool [N]."""
        return self.margin(pixels, labels)[1]

    def _by_cross_entropy(self, pixels: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            logits = self._network.logits(pixels)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return loss, _right(logits, labels), _gradient(tape, loss, pixels)

    def _by_dlr(self, pixels: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            logits = self._network.logits(pixels)
            loss = -_margin(logits, labels)
            if self._network.classes > 2:
                highest = tf.math.top_k(logits, 3).values
                loss /= highest[:, 0] - highest[:, 2] + _TINY
        return loss, _right(logits, labels), _gradient(tape, loss, pixels)

    def _by_margin(self, pixels: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
        logits = self._network.logits(pixels)
        return _margin(logits, labels), _right(logits, labels)


def _margin(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    highest, columns = tf.math.top_k(logits, 2)
    other = tf.where(columns[:, 0] == labels, highest[:, 1], highest[:, 0])
    return tf.gather(logits, labels, batch_dims=1) - other


def _right(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.argmax(logits, axis=1, output_type=tf.int32) == labels


def _gradient(tape: tf.GradientTape, loss: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """Return the gradient; 0 where there is none, or where it is not finite."""
    found = tape.gradient(loss, pixels, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return tf.where(tf.math.is_finite(found), found, 0.0)


def _arrays(tensors: tuple[tf.Tensor, ...]) -> tuple[np.ndarray, ...]:
    return tuple(tensor.numpy() for tensor in tensors)
