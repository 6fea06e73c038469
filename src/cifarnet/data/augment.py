"""Augmentation of training images, reproducible per (seed, epoch, image index).

The random numbers of an epoch are drawn at once on the host, a row per image, so that an image's
transform does not depend on its batch, and a resumed run repeats it exactly. The transforms are
vectorized TensorFlow, run eagerly or inside a graph.

A new augmentation is a section in `config.schema` and one function here, registered under the
section's `kind`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cifarnet import config as cfg
from cifarnet.backend import tf

# (seed, epoch, position in the list of augmentations, shape) -> float32 in [0, 1) of that shape
Draw = Callable[[int, int, int, tuple[int, int]], np.ndarray]
# (images [B, S, S, 3] 0-255, draws float32 [B, k], the section of the config, channel means of the
# training images [3]) -> images [B, S, S, 3]; uint8 in may give float32 out
Transform = Callable[[tf.Tensor, tf.Tensor, Any, Sequence[float]], tf.Tensor]


@dataclass(frozen=True)
class Kind:
    """One kind of augmentation.

    Attributes:
        width: random numbers per image, k.
        draw: draws them for all images of an epoch.
        transform: applies the augmentation to a batch.
    """

    width: int
    draw: Draw
    transform: Transform


KINDS: dict[str, Kind] = {}


def _draw_per_epoch(seed: int, epoch: int, position: int, shape: tuple[int, int]) -> np.ndarray:
    """Draw new numbers in every epoch."""
    # 2 separates these streams from those of `_draw_alternating` and of the data order.
    return np.random.default_rng([seed, epoch, position, 2]).random(shape, np.float32)


def _draw_alternating(seed: int, epoch: int, position: int, shape: tuple[int, int]) -> np.ndarray:
    """Draw once per image, mirrored at 1/2 in odd epochs."""
    draws = np.random.default_rng([seed, position]).random(shape, np.float32)
    return draws if epoch % 2 == 0 else np.float32(1 - 2**-24) - draws


def register(
    kind: str, width: int, draw: Draw = _draw_per_epoch
) -> Callable[[Transform], Transform]:
    """Register a function as the transform of the augmentation `kind`; see `Kind`."""

    def add(transform: Transform) -> Transform:
        KINDS[kind] = Kind(width, draw, transform)
        return transform

    return add


@dataclass(frozen=True)
class Augment:
    """The augmentations of a config, in order.

    Attributes:
        sections: their sections of the config.
        mean: channel means of the training images, 0-255, [3].
    """

    sections: tuple[cfg.Augmentation, ...]
    mean: tuple[float, ...]

    def draw(self, seed: int, epoch: int, count: int) -> np.ndarray:
        """Draw the random numbers of images 0 to count - 1 for one epoch.

        Row i depends on (seed, epoch, i) alone, not on `count`.

        Returns:
            float32 [count, k], in [0, 1); k is the sum of the widths of all augmentations.
        """
        columns = [np.empty((count, 0), np.float32)]
        for position, section in enumerate(self.sections):
            kind = KINDS[section.kind]
            columns.append(kind.draw(seed, epoch, position, (count, kind.width)))
        return np.concatenate(columns, axis=1)

    def apply(self, pixels: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """Transform a batch.

        Args:
            pixels: uint8 [B, S, S, 3], RGB, 0-255.
            draws: float32 [B, k], the images' rows of `draw`.

        Returns:
            uint8, or float32 if an augmentation interpolates, [B, S, S, 3], 0-255.
        """
        start = 0
        for section in self.sections:
            kind = KINDS[section.kind]
            part = draws[:, start : start + kind.width]
            pixels = kind.transform(pixels, part, section, self.mean)
            start += kind.width
        return pixels


def build(sections: Sequence[cfg.Augmentation], mean: Sequence[float]) -> Augment:
    """Make the augmentation of `data.augment`.

    Args:
        sections: the augmentations, in order.
        mean: channel means of the training images, 0-255, [3].
    """
    return Augment(tuple(sections), tuple(mean))


@register("flip", width=1)
@register("alternating_flip", width=1, draw=_draw_alternating)
def flip(pixels: tf.Tensor, draws: tf.Tensor, *_: Any) -> tf.Tensor:
    """Mirror left-right where the draw is below 1/2."""
    columns = tf.range(pixels.shape[2])[None]
    columns = tf.where(draws < 0.5, columns[:, ::-1], columns)
    return tf.gather(pixels, columns, axis=2, batch_dims=1)


@register("crop", width=2)
def crop(pixels: tf.Tensor, draws: tf.Tensor, section: cfg.Crop, *_: Any) -> tf.Tensor:
    """Shift by up to `pixels` in each direction, the border filled by reflection.

    Equal to a window of the image padded by `numpy.pad(mode="reflect")`.
    """
    size, most = pixels.shape[1], section.pixels
    shift = tf.cast(draws * (2 * most + 1), tf.int32) - most
    source = tf.range(size)[None] - shift[:, :, None]  # [B, 2, S]: of rows and of columns
    source = tf.abs(source)
    source = size - 1 - tf.abs(size - 1 - source)
    rows = tf.gather(pixels, source[:, 0], axis=1, batch_dims=1)
    return tf.gather(rows, source[:, 1], axis=2, batch_dims=1)


@register("rotate", width=1)
def rotate(pixels: tf.Tensor, draws: tf.Tensor, section: cfg.Rotate, *_: Any) -> tf.Tensor:
    """Rotate about the center by up to `degrees` either way."""
    angle = (2 * draws[:, 0] - 1) * (section.degrees * math.pi / 180)
    return _affine(pixels, tf.cos(angle), tf.sin(angle))


@register("scale", width=1)
def scale(pixels: tf.Tensor, draws: tf.Tensor, section: cfg.Scale, *_: Any) -> tf.Tensor:
    """Zoom about the center by a factor of 1 - `fraction` to 1 + `fraction`."""
    factor = 1 + (2 * draws[:, 0] - 1) * section.fraction
    return _affine(pixels, 1 / factor, tf.zeros_like(factor))


@register("cutout", width=2)
def cutout(
    pixels: tf.Tensor, draws: tf.Tensor, section: cfg.Cutout, mean: Sequence[float]
) -> tf.Tensor:
    """Fill a square of side `size`, entirely inside the image, with the mean color."""
    side, size = pixels.shape[1], section.size
    start = tf.cast(draws * (side - min(size, side) + 1), tf.int32)[:, :, None]
    at = tf.range(side)[None, None]
    inside = tf.cast((at >= start) & (at < start + size), pixels.dtype)  # [B, 2, S]
    # Arithmetic on rows of 3 S numbers is faster than `tf.where` on [B, S, S, 3]; compare with
    # `scripts/measure_augmentation.py`. In uint8 the difference wraps, and the sum wraps back.
    square = inside[:, 0, :, None] * tf.repeat(inside[:, 1], 3, axis=1)[:, None]
    color = tf.cast(tf.round(tf.tile(tf.constant(mean, tf.float32), [side])), pixels.dtype)
    rows = tf.reshape(pixels, [-1, side, 3 * side])
    return tf.reshape(rows + square * (color - rows), tf.shape(pixels))


@register("brightness", width=1)
def brightness(pixels: tf.Tensor, draws: tf.Tensor, section: cfg.Brightness, *_: Any) -> tf.Tensor:
    """Add up to +-`fraction` of 255 and clip."""
    change = (2 * draws[:, :, None, None] - 1) * (255 * section.fraction)
    return tf.clip_by_value(tf.cast(pixels, tf.float32) + change, 0.0, 255.0)


@register("contrast", width=1)
def contrast(pixels: tf.Tensor, draws: tf.Tensor, section: cfg.Contrast, *_: Any) -> tf.Tensor:
    """Scale the difference from the image's mean by 1 +- `fraction` and clip."""
    pixels = tf.cast(pixels, tf.float32)
    mean = tf.reduce_mean(pixels, axis=[1, 2, 3], keepdims=True)
    factor = 1 + (2 * draws[:, :, None, None] - 1) * section.fraction
    return tf.clip_by_value(mean + (pixels - mean) * factor, 0.0, 255.0)


def _affine(pixels: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Sample input (a x - b y, b x + a y) for output (x, y), both relative to the center.

    Bilinear, the border filled by reflection. a, b: float32 [B].
    """
    size = pixels.shape[1]
    center = (size - 1) / 2
    zero = tf.zeros_like(a)
    matrix = [a, -b, center * (1 - a + b), b, a, center * (1 - a - b), zero, zero]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(pixels, tf.float32),
        transforms=tf.stack(matrix, axis=1),
        output_shape=[size, size],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
