"""Our own Keras layers: the same numbers as Keras' layers of the same name, faster.

`fast.rewrite` puts them into a model that is trained. Saved models hold Keras' own layers, so a
model file needs nothing of cifarnet to load.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from cifarnet.backend import keras, tf
from cifarnet.models import convolutions, replicas, synchronized

Shape = tuple[Any, ...]  # int, or None where unknown
# Size and strides of a pooling, each (rows, columns).
Pooling = tuple[tuple[int, int], tuple[int, int]]
Elementwise = Callable[[tf.Tensor], tf.Tensor]


@keras.saving.register_keras_serializable(package="cifarnet")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` with TensorFlow's fused kernel while training.

    Input and output [B, H, W, C], any float dtype; statistics, gamma and beta stay float32, also
    under mixed precision, where all of Keras' computation is in float32. Other shapes or
    axes, masks, `renorm` and `synchronized` fall back to it. Replicas use the whole batch.
    """

    def add_weight(self, *args: Any, **kwargs: Any) -> keras.Variable:
        """Add a weight that mixed precision does not cast: the fused kernel needs float32."""
        return super().add_weight(*args, **{**kwargs, "autocast": False})

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Normalize by the batch while training, else by the moving statistics."""
        if training and self.trainable and replicas.count() > 1:
            self.synchronized = mask is not None or self.axis not in (-1, len(inputs.shape) - 1)
            if not self.synchronized:
                weights = self.gamma, self.beta  # each may be None
                outputs, *moments = synchronized.normalize(inputs, *weights, self.epsilon)
                self._move(*moments)
                return outputs
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
        self._move(mean, variance * ((count - 1) / count))
        return outputs

    def _move(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))

    def _fits(self, inputs: tf.Tensor) -> bool:
        other = self.synchronized or getattr(self, "renorm", False)  # Keras 3.10 has no renorm
        return len(inputs.shape) == 4 and self.axis in (-1, 3) and not other


@keras.saving.register_keras_serializable(package="cifarnet")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` that skips outputs that are not read, and is faster on small maps.

    Args:
        pooling: the pooling without padding that alone reads the outputs. The last rows and
            columns of an odd map are in none of its windows; under `padding: same` they are not
            computed. None: all outputs are computed.

    Other arguments, the weights and the numbers are those of Keras; [B, H, W, C] in any float
    dtype.
    """

    def __init__(self, *args: Any, pooling: Pooling | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pooling = pooling

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return Keras' shape, without what no window of the pooling reads."""
        batch, *sides, filters = super().compute_output_shape(input_shape)
        if self.pooling is not None and self.padding == "same" and self._fits(input_shape):
            size, strides = self.pooling
            for axis in (0, 1):
                unread = max(0, sides[axis] - size[axis]) % strides[axis]
                # Fewer outputs than this would need fewer inputs too, and so a copy of them.
                sides[axis] -= min(unread, self.kernel_size[axis] // 2)
        return (batch, *sides, filters)

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Convolve, without bias and activation."""
        outputs = self.compute_output_shape(inputs.shape)
        positions = math.prod(outputs[1:3]) if self._fits(inputs.shape) else None
        small = positions is not None and convolutions.is_small(inputs, positions)
        if outputs == super().compute_output_shape(inputs.shape) and not small:
            return super().convolution_op(inputs, kernel)
        pads = []
        for axis, size in enumerate(self.kernel_size, start=1):
            before = (size - 1) // 2 if self.padding == "same" else 0
            pads.append((before, outputs[axis] + size - 1 - inputs.shape[axis] - before))
        return convolutions.convolve(inputs, tf.convert_to_tensor(kernel), pads, small)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of Keras' layer and `pooling`."""
        return {**super().get_config(), "pooling": self.pooling}

    def _fits(self, input_shape: Shape) -> bool:
        ones = self.strides == self.dilation_rate == (1, 1) and self.groups == 1
        return ones and self.data_format == "channels_last" and None not in input_shape[1:]


@keras.saving.register_keras_serializable(package="cifarnet")
class MaxPooling2D(keras.layers.MaxPooling2D):
    """`keras.layers.MaxPooling2D` followed by an activation.

    Args:
        activation: as for Keras' other layers.

    Other arguments and the numbers are those of Keras.
    """

    def __init__(
        self, *args: Any, activation: str | Elementwise | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.activation = keras.activations.get(activation)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Pool, then apply the activation."""
        return self.activation(super().call(inputs))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of Keras' layer and `activation`."""
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "activation": activation}


def _fused(function: Elementwise, derivative: Elementwise) -> Elementwise:
    """Compile an elementwise function and its gradient to one loop each.

    TensorFlow runs such a function as five to twenty kernels, each of which reads and writes
    memory; XLA fuses them into one loop, which computes in float32 and keeps only the inputs for
    the backward pass. Inputs are flattened, so that tensors of equal size share a compilation.
    """

    @tf.function(jit_compile=True, autograph=False)
    def forward(x: tf.Tensor) -> tf.Tensor:
        return tf.cast(function(tf.cast(x, tf.float32)), x.dtype)

    @tf.function(jit_compile=True, autograph=False)
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
    """Compute x times the normal distribution's cdf at x, any shape and float dtype, as Keras does.

    Hendrycks and Gimpel 2016, arXiv 1606.08415; exact, not the tanh approximation.
    """
    return _gelu(x)


@keras.saving.register_keras_serializable(package="cifarnet")
def silu(x: tf.Tensor) -> tf.Tensor:
    """Compute x times sigmoid(x), any shape and float dtype, as Keras does.

    Ramachandran et al. 2017, arXiv 1710.05941, who call it Swish.
    """
    return _silu(x)


# By the name of Keras' activation.
ACTIVATIONS: dict[str, Elementwise] = {"gelu": gelu, "silu": silu, "swish": silu}
