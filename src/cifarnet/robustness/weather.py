"""Corruptions by weather: snow, frost, fog."""

from __future__ import annotations

import functools

import numpy as np

from cifarnet.robustness import blur
from cifarnet.robustness.streams import Generators

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_TEXTURES, _TEXTURE_SIDE = 5, 256
_FROST_SEED = 0
_ICE = np.array([0.82, 0.92, 1.0], np.float32)  # color


def snow(
    images: np.ndarray,
    parameters: tuple[float, float, float, float, int, float, float],
    generators: Generators,
) -> np.ndarray:
    """Whiten the image, and add flakes that fall in one direction, and those turned by 180 degrees.

    Flakes are Gaussian noise, enlarged, without what is below a threshold, blurred by motion.
    """
    mean, deviation, factor, threshold, radius, length, share = parameters
    count, size = images.shape[:2]
    flakes, angles = np.empty((count, size, size), np.float32), np.empty(count)
    for n, generator in enumerate(generators):
        generator.standard_normal(out=flakes[n], dtype=np.float32)
        angles[n] = generator.uniform(-135, -45)
    flakes = np.float32(mean) + np.float32(deviation) * flakes
    matrix = blur.enlargement(size, factor)
    flakes = matrix @ flakes @ matrix.T
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1)[..., None]
    fallen = blur.along(flakes, radius, length, angles)
    white = np.maximum(images, (images @ _LUMA)[..., None] * 1.5 + 0.5)
    pale = np.float32(share) * images + np.float32(1 - share) * white
    return pale + fallen + fallen[:, ::-1, ::-1]


def frost(
    images: np.ndarray, parameters: tuple[float, float], generators: Generators
) -> np.ndarray:
    """Add a random part of a texture of ice.

    CIFAR-10-C adds photographs of frost; this texture is computed.
    """
    share, added = parameters
    size = images.shape[1]
    textures = _ice(max(_TEXTURE_SIDE, 2 * size))
    parts = []
    for generator in generators:
        which = generator.integers(len(textures))
        y, x = generator.integers(0, textures.shape[1] - size, 2)
        parts.append(textures[which, y : y + size, x : x + size])
    return np.float32(share) * images + np.float32(added) * (np.stack(parts)[..., None] * _ICE)


@functools.lru_cache(maxsize=2)
def _ice(side: int) -> np.ndarray:
    """Compute textures of ice, float32 [5, side, side], 0 to 1: needles over a soft haze.

    Both are noise with a spectrum that falls with frequency; the needles are its zero lines, made
    of waves of a few directions each.
    """
    random = np.random.default_rng(_FROST_SEED)
    y, x = (np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    frequency = np.hypot(y, x)
    frequency[0, 0] = np.inf
    textures = []
    for _ in range(_TEXTURES):
        haze = _unit(_filtered(random, frequency**-1.6))
        needles = np.zeros((side, side))
        for angle in random.uniform(0, np.pi, 6):
            across = np.abs(np.cos(np.arctan2(y, x) - angle)) ** 40
            lines = _filtered(random, across * frequency**-0.8)
            needles = np.maximum(needles, np.exp(-np.abs(lines) / 0.12))
        textures.append(np.clip(0.15 + 0.45 * haze + 0.6 * needles * haze, 0, 1))
    return np.stack(textures).astype(np.float32)


def _filtered(random: np.random.Generator, amplitude: np.ndarray) -> np.ndarray:
    """Return noise with an amplitude spectrum, of mean 0 and standard deviation 1."""
    spectrum = np.fft.fft2(random.standard_normal(amplitude.shape)) * amplitude
    noise = np.fft.ifft2(spectrum).real
    return (noise - noise.mean()) / noise.std()


def _unit(noise: np.ndarray) -> np.ndarray:
    low, high = np.percentile(noise, (1, 99))
    return np.clip((noise - low) / (high - low), 0, 1)


def fog(images: np.ndarray, parameters: tuple[float, float], generators: Generators) -> np.ndarray:
    """Add a fractal, and scale so that the largest value of each image stays below it."""
    added, decay = parameters
    size = images.shape[1]
    side = 1 << (size - 1).bit_length()
    values = np.empty((len(images), side * side - 1), np.float32)
    for out, generator in zip(values, generators, strict=True):
        generator.random(out=out, dtype=np.float32)
    haze = _fractal(2 * values - 1, side, decay)[:, :size, :size, None]
    largest = images.max(axis=(1, 2, 3), keepdims=True)
    return (images + np.float32(added) * haze) * largest / (largest + np.float32(added))


def _fractal(values: np.ndarray, side: int, decay: float) -> np.ndarray:
    """Compute heights by the diamond-square algorithm on a torus (Fournier 1982).

    Args:
        values: float32 [N, side^2 - 1], -1 to 1: the random parts, from coarse to fine.
        side: a power of two.
        decay: of the random part, squared, from a scale to the next finer one.

    Returns:
        float32 [N, side, side], 0 to 1 in each.
    """
    heights = np.zeros((len(values), side, side), np.float32)
    step, used, size = side, 0, np.float32(1)
    while step > 1:
        half = step // 2
        cells = (side // step) ** 2
        noise = values[:, used : used + 3 * cells].reshape(-1, 3, side // step, side // step)
        used += 3 * cells
        corners = heights[:, ::step, ::step]
        beside = corners + np.roll(corners, -1, axis=2)
        below = corners + np.roll(corners, -1, axis=1)
        centers = (beside + np.roll(beside, -1, axis=1)) / 4 + size * noise[:, 0]
        heights[:, half::step, half::step] = centers
        above = centers + np.roll(centers, 1, axis=1)
        left = centers + np.roll(centers, 1, axis=2)
        heights[:, ::step, half::step] = (above + beside) / 4 + size * noise[:, 1]
        heights[:, half::step, ::step] = (left + below) / 4 + size * noise[:, 2]
        step, size = half, size / np.float32(decay**2)
    heights -= heights.min(axis=(1, 2), keepdims=True)
    return heights / heights.max(axis=(1, 2), keepdims=True)
