"""Corruptions by blur: defocus, frosted glass, motion, zoom."""

from __future__ import annotations

import functools
import math

import numpy as np

from cifarnet.robustness.streams import Generators

_VISIBLE = 1e-5  # a weight that moves no value by half a level of 255, even of 20 such weights


def defocus(
    images: np.ndarray, parameters: tuple[float, float], generators: Generators
) -> np.ndarray:
    """Average over a disk of a radius in pixels, whose edge a 3 x 3 Gaussian smooths."""
    from scipy import ndimage

    radius, deviation = parameters
    side = np.arange(-3, 4)
    disk = (np.add.outer(side**2, side**2) <= radius**2).astype(float)
    edge = np.exp(-(np.arange(-1, 2) ** 2) / (2 * deviation**2))
    kernel = ndimage.convolve(disk, np.outer(edge, edge), mode="constant")
    return _correlate(images, (kernel / kernel.sum()).astype(np.float32))


def _correlate(images: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlate with a square kernel of odd side; borders are mirrored without the edge."""
    size, radius = images.shape[1], len(kernel) // 2
    padded = np.pad(images, ((0, 0), (radius, radius), (radius, radius), (0, 0)), mode="reflect")
    total = np.zeros_like(images)
    for (y, x), weight in np.ndenumerate(kernel):
        if weight > _VISIBLE:
            total += weight * padded[:, y : y + size, x : x + size]
    return total


def glass(images: np.ndarray, parameters: tuple[float, int], generators: Generators) -> np.ndarray:
    """Blur, move pixels by up to one pixel up and left, as often as said, and blur again.

    The published code means to exchange two pixels, but copies one over the other, since both are
    views of one array; so each pixel becomes one of itself and its three neighbors up and left.
    """
    from scipy import ndimage

    deviation, repetitions = parameters
    count, size = images.shape[:2]
    kernel = ndimage.gaussian_filter1d(np.eye(size, dtype=np.float32), deviation, 0, mode="nearest")
    moved = _separable(images, kernel)
    shifts = np.zeros((count, repetitions, 2, size, size), np.int8)
    for out, generator in zip(shifts, generators, strict=True):
        # Pixels of the first two rows and columns stay.
        out[:, :, 2:, 2:] = generator.integers(-1, 1, (repetitions, 2, size - 2, size - 2), np.int8)
    rows = np.arange(count)[:, None, None]
    down, right = np.indices((size, size))
    for i in range(repetitions):
        moved = moved[rows, down + shifts[:, i, 0], right + shifts[:, i, 1]]
    return _separable(moved, kernel)


def _separable(images: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply a linear map [S, S] to the columns and to the rows of images [N, S, S, C]."""
    return _planes_mapped(_planes(images), matrix).transpose(0, 2, 3, 1)


def _planes(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _planes_mapped(planes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Do the same to planes [N, C, S, S].

    Image by image: the library for matrix products would use several threads for all at once,
    which takes more processor time, and much more where other work has the processors.
    """
    count, _, _, size = planes.shape
    down = matrix @ planes
    return (down.reshape(count, -1, size) @ matrix.T).reshape(planes.shape)


def motion(images: np.ndarray, parameters: tuple[int, float], generators: Generators) -> np.ndarray:
    """Blur along a direction of -45 to 45 degrees."""
    angles = [generator.uniform(-45, 45) for generator in generators]
    return along(images, *parameters, np.array(angles))


def along(images: np.ndarray, radius: int, deviation: float, angles: np.ndarray) -> np.ndarray:
    """Blur each image to one side along a direction, as ImageMagick's motion blur does.

    Weights are a half Gaussian over 2 x radius + 1 pixels; outside, the edge is repeated.

    Args:
        images: float32 [N, S, S, C].
        radius, deviation: pixels.
        angles: degrees [N], clockwise from right.
    """
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * deviation**2))
    weights /= weights.sum()
    steps, weights = (values[weights > _VISIBLE] for values in (steps, weights))
    turn = np.radians(angles)[:, None]
    right = np.ceil(steps * np.cos(turn) - 0.5).astype(int)
    down = np.ceil(steps * np.sin(turn) - 0.5).astype(int)
    size, width = images.shape[1], 2 * radius + 1
    padded = np.pad(images, ((0, 0), (width, width), (width, width), (0, 0)), mode="edge")
    blurred = np.zeros_like(images)
    for n, out in enumerate(blurred):
        for weight, y, x in zip(weights, down[n] + width, right[n] + width, strict=True):
            out += np.float32(weight) * padded[n, y : y + size, x : x + size]
    return blurred


def zoom(images: np.ndarray, steps: int, generators: Generators) -> np.ndarray:
    """Average the image and its enlargements by 1, 1.01, ... around the center."""
    planes = _planes(images)
    total = planes.copy()
    for step in range(steps + 1):
        total += _planes_mapped(planes, enlargement(images.shape[1], 1 + step / 100))
    return (total / np.float32(steps + 2)).transpose(0, 2, 3, 1)


@functools.lru_cache(maxsize=64)
def enlargement(size: int, factor: float) -> np.ndarray:
    """Return the linear map [S, S] that enlarges a row around its center, by interpolation."""
    from scipy import ndimage

    kept = math.ceil(size / factor)
    first = (size - kept) // 2
    rows = np.eye(size, dtype=np.float32)[first : first + kept]
    large = ndimage.zoom(rows, (factor, 1), order=1)
    trim = (len(large) - size) // 2
    return np.ascontiguousarray(large[trim : trim + size])
