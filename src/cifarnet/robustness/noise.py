"""Corruptions by noise: Gaussian, of photons, of dead pixels."""

from __future__ import annotations

import numpy as np

from cifarnet.robustness.streams import Generators


def gaussian(images: np.ndarray, deviation: float, generators: Generators) -> np.ndarray:
    """Add Gaussian noise to every value."""
    noise = np.empty_like(images)
    for out, generator in zip(noise, generators, strict=True):
        generator.standard_normal(out=out, dtype=np.float32)
    return images + np.float32(deviation) * noise


def shot(images: np.ndarray, photons: float, generators: Generators) -> np.ndarray:
    """Replace every value by a Poisson count, as if white were so many photons."""
    pairs = zip(images * np.float32(photons), generators, strict=True)
    counts = [generator.poisson(expected) for expected, generator in pairs]
    return np.stack(counts).astype(np.float32) / np.float32(photons)


def impulse(images: np.ndarray, share: float, generators: Generators) -> np.ndarray:
    """Set a share of the values, each channel by itself, to 0 or 1."""
    noise = np.empty_like(images)
    for out, generator in zip(noise, generators, strict=True):
        generator.random(out=out, dtype=np.float32)
    changed = np.where(noise < share / 2, np.float32(0), images)
    return np.where(noise >= 1 - share / 2, np.float32(1), changed)
