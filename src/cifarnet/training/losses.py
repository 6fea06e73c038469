"""The loss of a training step, its targets and its accuracy."""

from __future__ import annotations

import numpy as np

from cifarnet.backend import tf


def cross_entropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the mean softmax cross-entropy, nats, of targets and logits float32 [B, K]."""
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))


def targets_by_class(classes: int, smoothing: float) -> tf.Tensor:
    """Return the target distribution of each class, float32 [K, K], with label smoothing."""
    return tf.constant(np.eye(classes) * (1 - smoothing) + smoothing / classes, tf.float32)


def accuracy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return the share of labels int32 [B] that have the largest logit of [B, K]."""
    right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)
    return tf.reduce_mean(tf.cast(right, tf.float32))
