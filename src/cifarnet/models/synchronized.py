"""Batch normalization by the statistics of a batch whose rows are on several replicas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cifarnet.backend import tf
from cifarnet.models import replicas


def normalize(
    inputs: tf.Tensor, gamma: Any, beta: Any, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalize over the batch of all replicas, by TensorFlow's fused kernels.

    One all-reduce forward, of each replica's mean and variance, and one backward, of the sums that
    the gradient needs. Keras' layer with `synchronized=True` computes the variance as a difference
    of large numbers, and its passes over the inputs are not fused.

    Args:
        inputs: [B, ..., C], any float dtype; the rows of this replica.
        gamma, beta: float32 [C], or None.
        epsilon: added to the variance.

    Returns:
        Like `inputs`; mean and population variance of the whole batch, float32 [C], without
        gradients.
    """
    channels = inputs.shape[-1]
    gamma = tf.ones([channels]) if gamma is None else tf.convert_to_tensor(gamma)
    beta = tf.zeros([channels]) if beta is None else tf.convert_to_tensor(beta)
    shape, inputs = tf.shape(inputs), tf.reshape(inputs, [-1, *_middle(inputs), channels])
    moments = _moments(inputs, gamma, epsilon)

    @tf.custom_gradient
    def scaled(inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return moments.gradients(inputs, gamma, upstream)

        return moments.scale(inputs, gamma, beta), gradients

    outputs = tf.reshape(scaled(inputs, gamma, beta), shape)
    return outputs, moments.mean, moments.variance


def _middle(inputs: tf.Tensor) -> tuple[int, int]:
    return tuple(inputs.shape[1:3]) if len(inputs.shape) == 4 else (1, 1)


def _moments(inputs: tf.Tensor, gamma: tf.Tensor, epsilon: float) -> _Moments:
    count = tf.cast(tf.size(inputs) / inputs.shape[-1], tf.float32)
    _, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=tf.stop_gradient(inputs),
        scale=tf.ones_like(gamma),
        offset=tf.zeros_like(gamma),
        mean=[],
        variance=[],
        epsilon=epsilon,
        is_training=True,
    )
    # The kernel estimates the variance with count - 1.
    return _pooled(count, mean, variance * ((count - 1) / count), epsilon)


@dataclass(frozen=True)
class _Moments:
    """Of the whole batch, per channel: count, mean and population variance, float32 [C]."""

    count: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor
    epsilon: float

    def scale(self, inputs: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
        """Return the normalized inputs times `scale` plus `offset`."""
        return tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=scale,
            offset=offset,
            mean=self.mean,
            variance=self.variance,
            epsilon=self.epsilon,
            is_training=False,
        )[0]

    def gradients(
        self, inputs: tf.Tensor, gamma: tf.Tensor, upstream: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the gradients of `scale` by inputs, gamma and beta; the last two of own rows."""
        # As if mean and variance were constants; then what depends on them, which is linear in the
        # normalized inputs: Ioffe and Szegedy 2015, arXiv 1502.03167, section 3.
        direct, to_gamma, to_beta, *_ = tf.raw_ops.FusedBatchNormGradV3(
            y_backprop=upstream,
            x=inputs,
            scale=gamma,
            reserve_space_1=self.mean,
            reserve_space_2=self.variance,
            reserve_space_3=tf.zeros_like(gamma),
            epsilon=self.epsilon,
            is_training=False,
        )
        sums = tf.reduce_sum(replicas.gather(tf.stack([to_gamma, to_beta])), axis=0)
        factor = gamma * tf.math.rsqrt(self.variance + self.epsilon) / self.count
        slope, shift = tf.unstack(-sums * factor)
        return direct + self.scale(inputs, slope, shift), to_gamma, to_beta


def _pooled(count: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, epsilon: float) -> _Moments:
    """Pool the moments of the replicas: Chan, Golub and LeVeque 1983, The American Statistician 37.

    Args:
        count: of the values per channel of this replica, float32.
        mean, variance: of these, float32 [C].
        epsilon: see `normalize`.
    """
    counts, means, variances = tf.unstack(
        replicas.gather(tf.stack([tf.fill(mean.shape, count), mean, variance])), axis=1
    )
    whole = tf.reduce_sum(counts, axis=0)
    pooled = tf.reduce_sum(counts * means, axis=0) / whole
    within = tf.reduce_sum(counts * (variances + (means - pooled) ** 2), axis=0)
    return _Moments(whole, pooled, within / whole, epsilon)
