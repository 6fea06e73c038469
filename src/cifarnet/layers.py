"""Our own Keras layers: the same numbers as Keras' layers of the same name, faster.

A layer list is looked up here first. Saved models hold Keras' own layers instead
(`models.build(..., plain=True)`), so a model file needs nothing of cifarnet to load.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import numpy as np
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


def _fused(
    function: Callable[[tf.Tensor], tf.Tensor], derivative: Callable[[tf.Tensor], tf.Tensor]
) -> Callable[[tf.Tensor], tf.Tensor]:
    """An elementwise function whose two directions are one compiled loop each.

    TensorFlow runs such a function as five to twenty kernels, each of which reads and writes
    memory; XLA makes one loop of them, which computes in float32 and keeps nothing but the inputs
    for the way back. Inputs are flattened, so that equally many elements share a compilation.
    """

    @tf.function(jit_compile=True)
    def forward(x: tf.Tensor) -> tf.Tensor:
        return tf.cast(function(tf.cast(x, tf.float32)), x.dtype)

    @tf.function(jit_compile=True)
    def backward(x: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        wide = tf.cast(gradient, tf.float32) * derivative(tf.cast(x, tf.float32))
        return tf.cast(wide, x.dtype)

    @tf.custom_gradient
    def fused(x: tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(x, [-1])

        def gradients(upstream: tf.Tensor) -> tf.Tensor:
            return tf.reshape(backward(flat, tf.reshape(upstream, [-1])), tf.shape(x))

        return tf.reshape(forward(flat), tf.shape(x)), gradients

    return fused


def _normal_cdf(x: tf.Tensor) -> tf.Tensor:
    return 0.5 + 0.5 * tf.math.erf(x * math.sqrt(0.5))


def _normal_pdf(x: tf.Tensor) -> tf.Tensor:
    return tf.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


_gelu = _fused(
    function=lambda x: x * _normal_cdf(x),
    derivative=lambda x: _normal_cdf(x) + x * _normal_pdf(x),
)
_silu = _fused(
    function=lambda x: x * tf.sigmoid(x),
    derivative=lambda x: tf.sigmoid(x) * (1 + x * (1 - tf.sigmoid(x))),
)


@keras.saving.register_keras_serializable(package="cifarnet")
def gelu(x: tf.Tensor) -> tf.Tensor:
    """x times the normal distribution's cdf at x, any shape and float dtype, as `keras`' `gelu`.

    Hendrycks and Gimpel 2016, arXiv 1606.08415; exact, not the tanh approximation.
    """
    return _gelu(x)


@keras.saving.register_keras_serializable(package="cifarnet")
def silu(x: tf.Tensor) -> tf.Tensor:
    """x times sigmoid(x), any shape and float dtype, as Keras' `silu`.

    Ramachandran et al. 2017, arXiv 1710.05941, who call it Swish.
    """
    return _silu(x)


# Ours for Keras' activations of these names.
ACTIVATIONS = {"gelu": gelu, "silu": silu, "swish": silu}


@keras.saving.register_keras_serializable(package="cifarnet")
class Whitening(keras.initializers.Initializer):
    """Marks a convolution whose kernel `models.whiten` computes from training images.

    Zeros until then.
    """

    def __call__(self, shape, dtype=None, **kwargs):
        """Zeros of `shape`."""
        return keras.ops.zeros(shape, dtype=dtype)


@keras.saving.register_keras_serializable(package="cifarnet")
class Dirac(keras.initializers.VarianceScaling):
    """The first filters of a convolution pass its input channels on; the rest are random.

    Jordan 2024, arXiv 2404.00498, section 3.3. The random ones are uniform with variance
    1 / (3 fan_in), as PyTorch draws them by default.
    """

    def __init__(self, seed=None):
        super().__init__(scale=1 / 3, mode="fan_in", distribution="uniform", seed=seed)

    def __call__(self, shape, dtype=None, **kwargs):
        """A kernel of `shape`, [rows, columns, inputs, filters]."""
        kernel = np.array(super().__call__(shape, dtype, **kwargs))
        rows, columns, inputs, filters = shape
        passed = min(inputs, filters)
        kernel[..., :passed] = 0.0
        kernel[rows // 2, columns // 2, range(passed), range(passed)] = 1.0
        return keras.ops.convert_to_tensor(kernel)

    def get_config(self):
        """Only the seed: the rest is fixed."""
        return {"seed": self.seed}


# By the name a config gives them.
INITIALIZERS = {"whitening": Whitening, "dirac": Dirac}


def whitening_kernel(images: np.ndarray, size: int, epsilon: float = 5e-4) -> np.ndarray:
    """Filters that make image patches uncorrelated and of unit variance, and their negatives.

    The eigenvectors of the patches' covariance, each divided by the root of its eigenvalue plus
    `epsilon`: Page 2019, "How to Train Your ResNet 8"; the negatives let ReLU pass both signs:
    Jordan 2024, arXiv 2404.00498, section 3.2, whose epsilon this is.

    Args:
        images: float32 [N, S, S, C], as the convolution receives them.
        size: side of the kernel, pixels.
        epsilon: keeps the smallest eigenvalues from being blown up.

    Returns:
        float32 [size, size, C, 2 size^2 C], strongest component first.
    """
    width = images.shape[1] - size + 1
    shifts = [(y, x) for y in range(size) for x in range(size)]
    patches = np.stack([images[:, y : y + width, x : x + width] for y, x in shifts], axis=3)
    patches = patches.reshape(-1, size * size * images.shape[3])
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / np.sqrt(values + epsilon))[:, ::-1]
    filters = np.concatenate([filters, -filters], axis=1)
    return filters.reshape(size, size, images.shape[3], -1).astype(np.float32)
