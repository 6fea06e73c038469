"""Our own Keras layers: the same numbers as Keras' layers of the same name, faster.

A layer list is looked up here first. Saved models hold Keras' own layers instead
(`models.build(..., plain=True)`), so a model file needs nothing of cifarnet to load.
"""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="cifarnet")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` on TensorFlow's fused kernel while training.

    Input and output [B, H, W, C], any float dtype; statistics, gamma and beta stay float32,
    also under mixed precision, where Keras' own layer computes wholly in float32.
    Other shapes or axes, masks and `synchronized=True` fall back to Keras' computation.
    """

    def add_weight(self, *args, **kwargs):
        """As in Keras, but never cast down under mixed precision: the kernel wants float32."""
        return super().add_weight(*args, **{**kwargs, "autocast": False})

    def call(self, inputs, training=None, mask=None):
        """Normalise by the batch while training, else by the moving statistics."""
        if not training or not self.trainable or mask is not None or not self._fits(inputs):
            return super().call(inputs, training=training, mask=mask)
        channels = inputs.shape[-1]
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma if self.scale else tf.ones([channels]),
            offset=self.beta if self.center else tf.zeros([channels]),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        count = tf.cast(tf.size(inputs) / channels, tf.float32)
        # The kernel estimates the variance with count - 1, Keras with count.
        variance *= (count - 1) / count
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        return outputs

    def _fits(self, inputs: tf.Tensor) -> bool:
        return len(inputs.shape) == 4 and self.axis in (-1, 3) and not self.synchronized
