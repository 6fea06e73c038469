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

# In bfloat16 `_small_kernel_gradient` is faster than `_kernel_gradient` on small maps of many
# channels; on larger maps, and in float32, it is not.
_SMALL_MAP = 64  # positions
_WIDE_INPUT = 64  # channels
# The matrix unit (AMX) takes the columns of one row of one image at a time, and reads the kernel
# anew for each: slow where a row is short and the kernel larger than the core's cache. Images side
# by side have longer rows.
_SIDE_BY_SIDE = 16  # images
_LARGE_KERNEL = 3 * 2**19  # bytes
_SHORT_ROWS = 25  # positions, up to which large kernels are applied to images side by side
_TINY_MAP = 25  # positions, from which gradients of other kernels gain by it


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

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rotated = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
            sizes = zip(kernel.shape[:2], inputs.shape[1:3], upstream.shape[1:3], pads, strict=True)
            back = [(k - 1 - before, side - out + before) for k, side, out, (before, _) in sizes]
            to_inputs = _correlate(upstream, rotated, back)
            gradient = _small_kernel_gradient if small else _kernel_gradient
            return to_inputs, gradient(inputs, upstream, pads, kernel.shape)

        return _correlate(inputs, kernel, pads), gradients

    return convolve(inputs, kernel)


def _correlate(inputs: tf.Tensor, kernel: tf.Tensor, pads: list[Padding]) -> tf.Tensor:
    """Compute `convolve` without its gradients."""
    _, *sides, _ = inputs.shape
    outputs = [
        side + sum(pad) - size + 1
        for side, pad, size in zip(sides, pads, kernel.shape[:2], strict=True)
    ]
    short = math.prod(outputs) <= _SHORT_ROWS and _is_large(kernel.shape)
    together = _together(inputs) if short else 1
    if together > 1:
        return _side_by_side(inputs, kernel, pads, together)
    return tf.nn.conv2d(inputs, kernel, 1, [(0, 0), *pads, (0, 0)])


def _together(inputs: tf.Tensor) -> int:
    """Return how many images to put side by side, where short rows are slow; 1 elsewhere."""
    count = inputs.shape[0]
    known = count is not None and inputs.dtype == tf.bfloat16 and _has_matrix_unit()
    return math.gcd(count, _SIDE_BY_SIDE) if known else 1


def _is_large(shape: tf.TensorShape) -> bool:
    """Return whether a kernel of bfloat16 is."""
    return math.prod(shape) * tf.bfloat16.size >= _LARGE_KERNEL


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
    count, _, width, _ = inputs.shape
    columns, (before, after) = kernel.shape[1], pads[1]
    gap = max(before, after)  # the zeros after an image are also those before the next
    padding = [(0, 0), pads[0], (before, columns - 1 - before), (0, 0)]
    outputs = tf.nn.conv2d(_joined(inputs, together, width + gap), kernel, 1, padding)
    groups, rows, _, filters = outputs.shape
    outputs = tf.reshape(outputs, [groups, rows, together, width + gap, filters])
    outputs = outputs[:, :, :, : width + before + after - columns + 1]
    outputs = tf.transpose(outputs, [0, 2, 1, 3, 4])
    return tf.reshape(outputs, [count, rows, outputs.shape[3], filters])


def _joined(images: tf.Tensor, together: int, width: int) -> tf.Tensor:
    """Return wide images of `together` images each, with zeros up to `width` columns per image."""
    count, rows, columns, channels = images.shape
    wide = tf.reshape(images, [count // together, together, rows, columns, channels])
    wide = tf.transpose(wide, [0, 2, 1, 3, 4])
    wide = tf.pad(wide, [(0, 0), (0, 0), (0, 0), (0, width - columns), (0, 0)])
    return tf.reshape(wide, [count // together, rows, together * width, channels])


def _kernel_gradient(
    inputs: tf.Tensor, upstream: tf.Tensor, pads: list[Padding], shape: tf.TensorShape
) -> tf.Tensor:
    """Compute the kernel's gradient of `convolve` by TensorFlow's own kernel.

    Args:
        inputs: [B, H, W, C], without the padding `pads`.
        upstream: gradient of the outputs, [B, Y, X, F].
        pads: of rows and of columns.
        shape: of the kernel, [rows, columns, C, F].
    """
    return tf.raw_ops.Conv2DBackpropFilter(
        input=tf.pad(inputs, [(0, 0), *pads, (0, 0)]),
        filter_sizes=shape,
        out_backprop=upstream,
        strides=[1, 1, 1, 1],
        padding="VALID",
    )


def _small_kernel_gradient(
    inputs: tf.Tensor, upstream: tf.Tensor, pads: list[Padding], shape: tf.TensorShape
) -> tf.Tensor:
    """Compute `_kernel_gradient` in the form that is the fastest for a small map."""
    tiny = math.prod(upstream.shape[1:3]) < _TINY_MAP
    together = 1 if tiny or _is_large(shape) else _together(inputs)
    if together == 1:
        return _forward_kernel_gradient(inputs, upstream, pads)
    rows, (before, after) = pads
    width = inputs.shape[2] + max(before, after)
    wide, wide_upstream = (_joined(images, together, width) for images in (inputs, upstream))
    columns = (before, shape[1] - 1 - before)
    return _kernel_gradient(wide, wide_upstream, [rows, columns], shape)


def _forward_kernel_gradient(
    inputs: tf.Tensor, upstream: tf.Tensor, pads: list[Padding]
) -> tf.Tensor:
    """Compute `_kernel_gradient` by a forward convolution.

    At kernel row r and column c it is the sum over images and output positions (y, x) of
    inputs[y + r, x + c] times upstream[y, x]. For one c that is a convolution along y alone, whose
    channels are the pairs of x and image, and whose columns are the input channels. It sums over
    many terms for few outputs, which the kernel for forward convolutions does faster than the one
    for gradients.

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
