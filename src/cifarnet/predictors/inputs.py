"""The input of a network: its layout, its quantization, and raw pixels as its values."""

from __future__ import annotations

from typing import Any

import numpy as np

from cifarnet.choices import InputRange, Layout
from cifarnet.errors import ArtifactError
from cifarnet.predictors.preprocessing import RANGES, Preprocessing

Shape = tuple[int | None, ...]

_SIDES: dict[Layout, tuple[int, tuple[int, int]]] = {"nhwc": (3, (1, 2)), "nchw": (1, (2, 3))}


def find_layout(shape: Shape, stated: Preprocessing) -> tuple[Layout, int]:
    """Return the layout of an input of this shape, and the side of its images.

    Raises:
        ArtifactError: it is not of square RGB images, or open and not stated.
    """
    for layout, (channels, sides) in _SIDES.items():
        open_channels = stated.layout == layout and shape[channels:] and shape[channels] is None
        if len(shape) != 4 or stated.layout not in (None, layout):
            continue
        if shape[channels] == 3 or open_channels:
            height, width = (shape[i] for i in sides)
            side = _side(height, width, stated.image_size, shape)
            if side is not None:
                return layout, side
    expected = "[N, S, S, 3] or [N, 3, S, S]"
    if stated.layout is not None:
        expected = f"in layout {stated.layout}"
    hint = "; state its --layout and --image-size" if shape[1:] == (None,) * 3 else ""
    raise ArtifactError(
        f"expected a model of square RGB images {expected}, received input {list(shape)}{hint}"
    )


def _side(height: int | None, width: int | None, stated: int | None, shape: Shape) -> int | None:
    """Return the side of square images, None if they are not square."""
    fixed = {side for side in (height, width) if side is not None}
    if len(fixed) > 1:
        return None
    if stated is None and None in (height, width):
        raise ArtifactError(
            f"its input {list(shape)} leaves the size of the images open; state the one it was "
            "trained on with --image-size, such as --image-size 32"
        )
    if stated is not None and fixed and fixed != {stated}:
        raise ArtifactError(
            f"it takes images of {fixed.pop()} pixels, received --image-size {stated}"
        )
    return stated if stated is not None else height


def represented(dtype: Any, scale: float, zero_point: int) -> tuple[float, float] | None:
    """Return the lowest and highest value of an 8-bit input; None for others.

    16-bit inputs are quantized symmetrically, so that their limits say nothing of the pixels.
    """
    if dtype not in (np.uint8, np.int8):
        return None
    limits = np.iinfo(dtype)
    return scale * (limits.min - zero_point), scale * (limits.max - zero_point)


def range_of(limits: tuple[float, float] | None) -> InputRange | None:
    """Return the range of pixels that an input's limits cover, within 2 % of its width."""
    for name, (low, high) in RANGES.items():
        width = high - low
        if limits is not None and np.allclose(limits, (low, high), rtol=0, atol=0.02 * width):
            return name
    return None


class Inputs:
    """Raw pixels to the values that a network takes."""

    def __init__(
        self, layout: Layout, said: Preprocessing, dtype: Any, scale: float, zero_point: int
    ) -> None:
        """Take the preprocessing; an integer input q stands for scale x (q - zero_point)."""
        self.layout, self._dtype = layout, dtype
        self._scale, self._zero_point = scale, zero_point
        self._low, self._high = RANGES[said.input_range or "0-255"]
        self._mean = np.asarray(said.mean or (0.0,) * 3, np.float32)
        self._std = np.asarray(said.std or (1.0,) * 3, np.float32)
        self._is_raw = self._takes_raw_pixels()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the input of uint8 pixels [N, S, S, 3]."""
        if self._is_raw:
            return self._in_layout(pixels.astype(self._dtype, copy=False))
        values = self.values(pixels.astype(np.float32))
        if np.issubdtype(self._dtype, np.integer):
            limits = np.iinfo(self._dtype)
            values = np.rint(values / self._scale) + self._zero_point
            values = np.clip(values, limits.min, limits.max)
        return self._in_layout(values.astype(self._dtype))

    def values(self, pixels: Any) -> Any:
        """Return what pixels become before rounding, of an array or a tensor float [N, S, S, 3]."""
        values = self._low + pixels * ((self._high - self._low) / 255)
        return (values - self._mean) / self._std

    def _takes_raw_pixels(self) -> bool:
        is_float = np.issubdtype(self._dtype, np.floating)
        unscaled = self._dtype == np.uint8 and (self._scale, self._zero_point) == (1.0, 0)
        unchanged = not self._mean.any() and (self._std == 1).all()
        return bool(
            (is_float or unscaled) and unchanged and (self._low, self._high) == RANGES["0-255"]
        )

    def _in_layout(self, images: np.ndarray) -> np.ndarray:
        if self.layout == "nchw":
            images = images.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(images)


def probe(size: int) -> np.ndarray:
    """Return images to find out what a network gives: noise, black, white, red, green, blue."""
    noise = np.random.default_rng(0).integers(0, 256, (4, size, size, 3), np.uint8)
    colors = np.array([[0, 0, 0], [255] * 3, [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    flat = np.broadcast_to(colors[:, None, None], (len(colors), size, size, 3))
    return np.concatenate([noise, flat])
