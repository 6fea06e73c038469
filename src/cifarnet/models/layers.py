"""Our own Keras layers: the same numbers as Keras' layers of the same name, faster.

`fast.rewrite` puts them into a model that is trained. Saved models hold Keras' own layers, so a
model file needs nothing of cifarnet to load.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from cifarnet.backend import keras, tf
from cifarnet.models import replicas, synchronized

Shape = tuple[Any, ...]  # int, or None where unknown
# Size and strides of a pooling, each (rows, columns).
Pooling = tuple[tuple[int, int], tuple[int, int]]
# Rows or columns of zeros before and after an image.
Padding = tuple[int, int]
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


# In bfloat16 `_small_kernel_gradient` is faster than TensorFlow's kernel for gradients on small
# maps of many channels; on larger maps, and in float32, it is not. `scripts/compare_training.py`
# times the whole step of configs/airbench94.yaml, which uses it on maps of 7 x 7 and 3 x 3.
_SMALL_MAP = 64  # positions
_WIDE_INPUT = 64  # channels


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
        small = self._fits(inputs.shape) and self._is_small(inputs, math.prod(outputs[1:3]))
        if outputs == super().compute_output_shape(inputs.shape) and not small:
            return super().convolution_op(inputs, kernel)
        pads = []
        for axis, size in enumerate(self.kernel_size, start=1):
            before = (size - 1) // 2 if self.padding == "same" else 0
            pads.append((before, outputs[axis] + size - 1 - inputs.shape[axis] - before))
        return _convolve(inputs, tf.convert_to_tensor(kernel), pads, small)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of Keras' layer and `pooling`."""
        return {**super().get_config(), "pooling": self.pooling}

    def _fits(self, input_shape: Shape) -> bool:
        ones = self.strides == self.dilation_rate == (1, 1) and self.groups == 1
        return ones and self.data_format == "channels_last" and None not in input_shape[1:]

    def _is_small(self, inputs: tf.Tensor, positions: int) -> bool:
        sizes = positions <= _SMALL_MAP and inputs.shape[3] >= _WIDE_INPUT
        return sizes and inputs.dtype == tf.bfloat16 and not tf.config.list_physical_devices("GPU")


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


def _convolve(inputs: tf.Tensor, kernel: tf.Tensor, pads: list[Padding], small: bool) -> tf.Tensor:
    """Cross-correlate images, padded by zeros, with a kernel.

    TensorFlow's own gradients of a convolution with explicit padding are slow in bfloat16, so that
    they are computed here without it.

    Args:
        inputs: [B, H, W, C].
        kernel: [rows, columns, C, F].
        pads: of rows and of columns.
        small: use `_small_kernel_gradient`.
    """
    whole = [(0, 0), *pads, (0, 0)]

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rotated = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
            sizes = zip(kernel.shape[:2], inputs.shape[1:3], upstream.shape[1:3], pads, strict=True)
            back = [(k - 1 - before, side - out + before) for k, side, out, (before, _) in sizes]
            to_inputs = tf.nn.conv2d(upstream, rotated, 1, [(0, 0), *back, (0, 0)])
            if small:
                return to_inputs, _small_kernel_gradient(inputs, upstream, pads)
            return to_inputs, tf.raw_ops.Conv2DBackpropFilter(
                input=tf.pad(inputs, whole),
                filter_sizes=kernel.shape,
                out_backprop=upstream,
                strides=[1, 1, 1, 1],
                padding="VALID",
            )

        return tf.nn.conv2d(inputs, kernel, 1, whole), gradients

    return convolve(inputs, kernel)


def _small_kernel_gradient(
    inputs: tf.Tensor, upstream: tf.Tensor, pads: list[Padding]
) -> tf.Tensor:
    """Compute the kernel's gradient of `_convolve` by a forward convolution.

    At kernel row r and column c it is the sum over images and output positions (y, x) of
    inputs[y + r, x + c] times upstream[y, x]. For one c that is a convolution along y alone, whose
    channels are the pairs of x and image, and whose columns are the input channels. It sums over
    many terms for few outputs, which the kernel for forward convolutions does faster than the one
    for gradients.

    Args:
        inputs: [B, H, W, C], without the padding `pads`.
        upstream: gradient of the outputs, [B, Y, X, F].
        pads: of rows and of columns.

    Returns:
        [rows, columns, C, F].
    """
    (rows_before, rows_after), (columns_before, columns_after) = pads
    count = inputs.shape[0] or tf.shape(inputs)[0]
    _, height, width, channels = inputs.shape
    _, out_height, out_width, filters = upstream.shape
    columns = width + columns_before + columns_after - out_width + 1
    transposed = tf.transpose(inputs, [1, 3, 2, 0])  # [H, C, W, B]
    transposed = tf.pad(transposed, [(0, 0), (0, 0), (columns_before, columns_after), (0, 0)])
    images = [
        tf.reshape(transposed[:, :, c : c + out_width], [height, channels, out_width * count])
        for c in range(columns)
    ]
    weights = tf.reshape(
        tf.transpose(upstream, [1, 2, 0, 3]), [out_height, 1, out_width * count, filters]
    )
    padding = [(0, 0), (rows_before, rows_after), (0, 0), (0, 0)]
    by_column = tf.nn.conv2d(tf.stack(images), weights, 1, padding)  # [columns, rows, C, F]
    return tf.transpose(by_column, [1, 0, 2, 3])


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
