"""Convolutions and their gradients by the forms that TensorFlow's kernels compute fastest.

Measured by `scripts/measure_convolutions.py`; docs/benchmarks.md has its figures.
"""

from __future__ import annotations

import functools
import math

from cifarnet import system
from cifarnet.backend import tf

# Rows or columns of zeros before and after an image.
Padding = tuple[int, int]

# In bfloat16 `_small_kernel_gradient` is faster than TensorFlow's kernel for gradients on small
# maps of many channels; on larger maps, and in float32, it is not.
_SMALL_MAP = 64  # positions
_WIDE_INPUT = 64  # channels
# The matrix unit (AMX) takes the columns of one row of one image at a time, and reads the kernel
# anew for each: slow where a row is short and the kernel larger than the core's cache.
_SHORT_ROWS = 25  # positions
_LARGE_KERNEL = 3 * 2**19  # bytes
_SIDE_BY_SIDE = 16  # images


def is_small(inputs: tf.Tensor, positions: int) -> bool:
    """Return whether `convolve` is faster than TensorFlow's own gradients.

    Args:
        inputs: [B, H, W, C].
        positions: rows times columns of the outputs.
    """
    sizes = positions <= _SMALL_MAP and inputs.shape[3] >= _WIDE_INPUT
    return sizes and inputs.dtype == tf.bfloat16 and not _has_gpu()


def convolve(inputs: tf.Tensor, kernel: tf.Tensor, pads: list[Padding], small: bool) -> tf.Tensor:
    """Cross-correlate images, padded by zeros, with a kernel.

    TensorFlow's own gradients of a convolution with explicit padding are slow in bfloat16, so that
    they are computed here without it.

    Args:
        inputs: [B, H, W, C].
        kernel: [rows, columns, C, F].
        pads: of rows and of columns.
        small: what `is_small` says.
    """
    whole = [(0, 0), *pads, (0, 0)]

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rotated = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
            sizes = zip(kernel.shape[:2], inputs.shape[1:3], upstream.shape[1:3], pads, strict=True)
            back = [(k - 1 - before, side - out + before) for k, side, out, (before, _) in sizes]
            to_inputs = _correlate(upstream, rotated, back)
            if small:
                return to_inputs, _small_kernel_gradient(inputs, upstream, pads)
            return to_inputs, tf.raw_ops.Conv2DBackpropFilter(
                input=tf.pad(inputs, whole),
                filter_sizes=kernel.shape,
                out_backprop=upstream,
                strides=[1, 1, 1, 1],
                padding="VALID",
            )

        return _correlate(inputs, kernel, pads), gradients

    return convolve(inputs, kernel)


def _correlate(inputs: tf.Tensor, kernel: tf.Tensor, pads: list[Padding]) -> tf.Tensor:
    """Compute `convolve` without its gradients."""
    count, *sides, _ = inputs.shape
    outputs = [
        side + sum(pad) - size + 1
        for side, pad, size in zip(sides, pads, kernel.shape[:2], strict=True)
    ]
    size = kernel.dtype.size * math.prod(kernel.shape)
    short = math.prod(outputs) <= _SHORT_ROWS and size >= _LARGE_KERNEL
    if short and count is not None and kernel.dtype == tf.bfloat16 and _has_matrix_unit():
        together = math.gcd(count, _SIDE_BY_SIDE)
        if together > 1:
            return _side_by_side(inputs, kernel, pads, together)
    return tf.nn.conv2d(inputs, kernel, 1, [(0, 0), *pads, (0, 0)])


def _has_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))


@functools.cache
def _has_matrix_unit() -> bool:
    return "amx_bf16" in system.processor_flags() and not _has_gpu()


def _side_by_side(
    inputs: tf.Tensor, kernel: tf.Tensor, pads: list[Padding], together: int
) -> tf.Tensor:
    """Compute `_correlate` with several images, zeros between them, as one wide image.

    Args:
        inputs: [B, H, W, C], B known.
        kernel: [rows, columns, C, F].
        pads: of rows and of columns.
        together: images per wide image, a divisor of B.
    """
    count, height, width, channels = inputs.shape
    columns, (before, after) = kernel.shape[1], pads[1]
    gap = max(before, after)  # the zeros after an image are also those before the next
    wide = tf.reshape(inputs, [count // together, together, height, width, channels])
    wide = tf.transpose(wide, [0, 2, 1, 3, 4])
    wide = tf.pad(wide, [(0, 0), (0, 0), (0, 0), (0, gap), (0, 0)])
    wide = tf.reshape(wide, [count // together, height, together * (width + gap), channels])
    padding = [(0, 0), pads[0], (before, columns - 1 - before), (0, 0)]
    outputs = tf.nn.conv2d(wide, kernel, 1, padding)
    groups, rows, _, filters = outputs.shape
    outputs = tf.reshape(outputs, [groups, rows, together, width + gap, filters])
    outputs = outputs[:, :, :, : width + before + after - columns + 1]
    outputs = tf.transpose(outputs, [0, 2, 1, 3, 4])
    return tf.reshape(outputs, [count, rows, outputs.shape[3], filters])


def _small_kernel_gradient(
    inputs: tf.Tensor, upstream: tf.Tensor, pads: list[Padding]
) -> tf.Tensor:
    """Compute the kernel's gradient of `convolve` by a forward convolution.

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
