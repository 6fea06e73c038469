"""Our own Keras layers: the same numbers as Keras' layers of the same name, faster.

A layer list is looked up here first. Saved models hold Keras' own layers instead
(`models.build(..., plain=True)`), so a model file needs nothing of cifarnet to load.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from cifarnet.backend import keras, tf


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


# Kernel gradients of larger maps are faster as TensorFlow computes them. Milliseconds on 2 cores of
# an AMD EPYC (Zen 4) in bfloat16, its way and ours: 233 and 156 of [1024, 7, 7, 256] and 256
# filters, 62 and 26 of [1024, 3, 3, 256], 3.5 and 3.4 of [128, 7, 7, 64] and 64, but 216 and 240 of
# [1024, 15, 15, 64] and 256. In float32 its way is the faster one on all but the 3 x 3 map.
_SMALL_MAP = 64  # positions
_WIDE_INPUT = 64  # channels


@keras.saving.register_keras_serializable(package="cifarnet")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` that leaves out what nothing reads, and is faster on small maps.

    Args:
        pooling: size and strides, each (rows, columns), of a pooling without padding that is all
            that reads the outputs. The last rows and columns of an odd map are in none of its
            windows; under `padding: same` they are not computed. None: everything is.

    Other arguments, the weights and the numbers are Keras'; [B, H, W, C] in any float dtype.
    """

    def __init__(self, *args, pooling=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.pooling = pooling

    def compute_output_shape(self, input_shape):
        """Keras' shape, without what no window of the pooling reads."""
        batch, *sides, filters = super().compute_output_shape(input_shape)
        if self.pooling is not None and self.padding == "same" and self._fits(input_shape):
            size, strides = self.pooling
            for axis in (0, 1):
                unread = max(0, sides[axis] - size[axis]) % strides[axis]
                # Fewer outputs than this would need fewer inputs too, and so a copy of them.
                sides[axis] -= min(unread, self.kernel_size[axis] // 2)
        return (batch, *sides, filters)

    def convolution_op(self, inputs, kernel):
        """The convolution alone, without bias and activation."""
        outputs = self.compute_output_shape(inputs.shape)
        small = self._fits(inputs.shape) and self._is_small(inputs, math.prod(outputs[1:3]))
        if outputs == super().compute_output_shape(inputs.shape) and not small:
            return super().convolution_op(inputs, kernel)
        pads = []
        for axis, size in enumerate(self.kernel_size, start=1):
            before = (size - 1) // 2 if self.padding == "same" else 0
            pads.append((before, outputs[axis] + size - 1 - inputs.shape[axis] - before))
        return _convolve(inputs, tf.convert_to_tensor(kernel), pads, small)

    def get_config(self):
        """Keras' and `pooling`."""
        return {**super().get_config(), "pooling": self.pooling}

    def _fits(self, input_shape: tuple[int | None, ...]) -> bool:
        ones = self.strides == self.dilation_rate == (1, 1) and self.groups == 1
        return ones and self.data_format == "channels_last" and None not in input_shape[1:]

    def _is_small(self, inputs: tf.Tensor, positions: int) -> bool:
        sizes = positions <= _SMALL_MAP and inputs.shape[3] >= _WIDE_INPUT
        return sizes and inputs.dtype == tf.bfloat16 and not tf.config.list_physical_devices("GPU")


def _convolve(
    inputs: tf.Tensor, kernel: tf.Tensor, pads: list[tuple[int, int]], small: bool
) -> tf.Tensor:
    """Cross-correlation of images with rows and columns of zeros before and after them.

    In bfloat16 TensorFlow's own gradients of it take 30 times as long as those of other paddings.
    """
    whole = [(0, 0), *pads, (0, 0)]

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            turned = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
            sizes = zip(kernel.shape[:2], inputs.shape[1:3], upstream.shape[1:3], pads, strict=True)
            back = [(k - 1 - before, side - out + before) for k, side, out, (before, _) in sizes]
            to_inputs = tf.nn.conv2d(upstream, turned, 1, [(0, 0), *back, (0, 0)])
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
    inputs: tf.Tensor, upstream: tf.Tensor, pads: list[tuple[int, int]]
) -> tf.Tensor:
    """The kernel's gradient, as a convolution of another kind.

    At kernel row r and column c it is the sum over images and output positions (y, x) of
    inputs[y + r, x + c] times upstream[y, x]. For one c that is a convolution along y alone, of a
    picture that has the pairs of x and image for channels and the input channels side by side as
    columns. Its sums are long; the kernel for forward convolutions computes them at 1.5 times
    (7 x 7) to 2.7 times (3 x 3) the rate of the one for gradients.

    Args:
        inputs: [B, H, W, C], without the padding `pads`.
        upstream: gradient of the outputs, [B, Y, X, F].

    Returns:
        [rows, columns, C, F].
    """
    (rows_before, rows_after), (columns_before, columns_after) = pads
    count = inputs.shape[0] or tf.shape(inputs)[0]
    _, height, width, channels = inputs.shape
    _, out_height, out_width, filters = upstream.shape
    columns = width + columns_before + columns_after - out_width + 1
    turned = tf.transpose(inputs, [1, 3, 2, 0])  # [H, C, W, B]
    turned = tf.pad(turned, [(0, 0), (0, 0), (columns_before, columns_after), (0, 0)])
    pictures = [
        tf.reshape(turned[:, :, c : c + out_width], [height, channels, out_width * count])
        for c in range(columns)
    ]
    weights = tf.reshape(
        tf.transpose(upstream, [1, 2, 0, 3]), [out_height, 1, out_width * count, filters]
    )
    padding = [(0, 0), (rows_before, rows_after), (0, 0), (0, 0)]
    by_column = tf.nn.conv2d(tf.stack(pictures), weights, 1, padding)  # [columns, rows, C, F]
    return tf.transpose(by_column, [1, 0, 2, 3])


def _fused(
    function: Callable[[tf.Tensor], tf.Tensor], derivative: Callable[[tf.Tensor], tf.Tensor]
) -> Callable[[tf.Tensor], tf.Tensor]:
    """An elementwise function whose two directions are one compiled loop each.

    TensorFlow runs such a function as five to twenty kernels, each of which reads and writes
    memory; XLA makes one loop of them, which computes in float32 and keeps nothing but the inputs
    for the way back. Inputs are flattened, so that equally many elements share a compilation.
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


# Images whose patches fit into a processor's cache: a third of the time of all at once.
_WHITENING_BLOCK = 100


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
    covariance, count = 0.0, len(images) * width * width
    for start in range(0, len(images), _WHITENING_BLOCK):
        part = images[start : start + _WHITENING_BLOCK]
        patches = np.stack([part[:, y : y + width, x : x + width] for y, x in shifts], axis=3)
        patches = patches.reshape(-1, size * size * images.shape[3])
        covariance += (patches.T @ patches).astype(np.float64) / count
    values, vectors = np.linalg.eigh(covariance)
    filters = (vectors / np.sqrt(values + epsilon))[:, ::-1]
    filters = np.concatenate([filters, -filters], axis=1)
    return filters.reshape(size, size, images.shape[3], -1).astype(np.float32)
