"""A procedural dataset of ten classes of 32 x 32 images: shapes and textures. It is not CIFAR-10.

It needs no download and is the same on every machine. Color, position, size, phase and noise vary
within a class, so that single pixels carry little information and a network must learn shape.
"""

from __future__ import annotations

import functools

import numpy as np

from cifarnet.data.images import Images, Source

CLASSES = (
    "disc",
    "square",
    "triangle",
    "ring",
    "cross",
    "horizontal stripes",
    "vertical stripes",
    "diagonal stripes",
    "checkerboard",
    "dots",
)
_SIZE = 32
_TRAIN, _TEST = 10_000, 2_000
_NOISE_STD = np.float32(20)  # of 0-255
_SEED = 20_260_101  # fixed: the dataset does not depend on a config's seed


@functools.cache
def load() -> Source:
    """Return 10,000 training and 2,000 test images, balanced; drawn once per process."""
    return Source(
        name="synthetic",
        description="synthetic shapes and textures (not CIFAR-10)",
        classes=CLASSES,
        train=_draw(_TRAIN, np.random.default_rng([_SEED, 0])),
        test=_draw(_TEST, np.random.default_rng([_SEED, 1])),
    )


def _draw(count: int, random: np.random.Generator) -> Images:
    labels = random.permutation(np.arange(count) % len(CLASSES)).astype(np.uint8)
    masks = np.empty((count, _SIZE, _SIZE), np.float32)
    for label, mask in enumerate(_MASKS):
        rows = np.flatnonzero(labels == label)
        masks[rows] = mask(random, len(rows))
    # Two colors at least 60 apart in every channel.
    inside = random.uniform(0, 255, (count, 1, 1, 3))
    step = random.choice([-1.0, 1.0], (count, 1, 1, 3)) * random.uniform(60, 128, (count, 1, 1, 3))
    outside = np.where(np.abs(inside + step - 127.5) <= 127.5, inside + step, inside - step)
    pixels = random.standard_normal((count, _SIZE, _SIZE, 3), np.float32)
    pixels *= _NOISE_STD
    pixels += outside.astype(np.float32)
    pixels += masks[..., None] * (inside - outside).astype(np.float32)
    drawn = np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)
    drawn.setflags(write=False)  # shared by all callers of `load`
    labels.setflags(write=False)
    return Images(drawn, labels)


def _grid(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw centers and radii.

    Returns:
        y and x relative to a random center, [count, S, S] each, and a random radius [count, 1, 1].
    """
    radius = random.uniform(6, 11, (count, 1, 1)).astype(np.float32)
    center = random.uniform(-1, 1, (2, count, 1, 1)).astype(np.float32) * (15 - radius) + 15.5
    y, x = np.mgrid[:_SIZE, :_SIZE].astype(np.float32)
    return y - center[0], x - center[1], radius


def _disc(random: np.random.Generator, count: int) -> np.ndarray:
    y, x, radius = _grid(random, count)
    return y**2 + x**2 <= radius**2


def _square(random: np.random.Generator, count: int) -> np.ndarray:
    y, x, radius = _grid(random, count)
    return np.maximum(abs(y), abs(x)) <= 0.85 * radius


def _triangle(random: np.random.Generator, count: int) -> np.ndarray:
    y, x, radius = _grid(random, count)
    up = random.choice([-1, 1], (count, 1, 1))
    return (abs(x) * 2 <= up * y + radius) & (up * y <= radius)


def _ring(random: np.random.Generator, count: int) -> np.ndarray:
    y, x, radius = _grid(random, count)
    square = y**2 + x**2
    return (square <= radius**2) & (square >= (0.6 * radius) ** 2)


def _cross(random: np.random.Generator, count: int) -> np.ndarray:
    y, x, radius = _grid(random, count)
    arm = radius / 3
    inside = np.maximum(abs(y), abs(x)) <= radius
    return inside & (np.minimum(abs(y), abs(x)) <= arm)


def _waves(random: np.random.Generator, count: int, dy: float, dx: float) -> np.ndarray:
    """Draw square waves along (dy, dx) of random period and phase."""
    y, x = np.mgrid[:_SIZE, :_SIZE].astype(np.float32)
    period = random.uniform(5, 10, (count, 1, 1)).astype(np.float32)
    phase = random.uniform(0, 1, (count, 1, 1)).astype(np.float32)
    return ((y * dy + x * dx) / period + phase) % 1 < 0.5


def _horizontal(random: np.random.Generator, count: int) -> np.ndarray:
    return _waves(random, count, 1, 0)


def _vertical(random: np.random.Generator, count: int) -> np.ndarray:
    return _waves(random, count, 0, 1)


def _diagonal(random: np.random.Generator, count: int) -> np.ndarray:
    half = count // 2
    root = np.sqrt(0.5)
    falling = _waves(random, half, root, root)
    return np.concatenate([falling, _waves(random, count - half, root, -root)])


def _checkerboard(random: np.random.Generator, count: int) -> np.ndarray:
    y, x = np.mgrid[:_SIZE, :_SIZE].astype(np.float32)
    period = random.uniform(6, 12, (count, 1, 1)).astype(np.float32)
    phase = random.uniform(0, 1, (2, count, 1, 1)).astype(np.float32)
    return ((y / period + phase[0]) % 1 < 0.5) ^ ((x / period + phase[1]) % 1 < 0.5)


def _dots(random: np.random.Generator, count: int) -> np.ndarray:
    y, x = np.mgrid[:_SIZE, :_SIZE].astype(np.float32)
    period = random.uniform(6, 10, (count, 1, 1)).astype(np.float32)
    phase = random.uniform(0, 1, (2, count, 1, 1)).astype(np.float32)
    across, down = (
        ((at / period + shift) % 1) - 0.5 for at, shift in zip((x, y), phase, strict=True)
    )
    return across**2 + down**2 < 0.3**2


_MASKS = (
    _disc,
    _square,
    _triangle,
    _ring,
    _cross,
    _horizontal,
    _vertical,
    _diagonal,
    _checkerboard,
    _dots,
)
