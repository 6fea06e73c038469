"""Confidence intervals and tests."""

from __future__ import annotations

import math

import numpy as np

_RESAMPLES = 2_000


def wilson(correct: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Compute the 95 % score interval of a proportion (Wilson 1927)."""
    share, spread = correct / count, z * z / count
    center = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, center - half), min(1.0, center + half)


def bootstrap_mean(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Compute the 95 % percentile bootstrap interval of a mean (Efron 1979).

    Args:
        values: float [N], one per image.
        seed: of the 2,000 resamples.
    """
    from scipy import stats

    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=100,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
