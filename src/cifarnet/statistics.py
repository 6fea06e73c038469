"""Confidence intervals and tests."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

_RESAMPLES = 2_000
_BATCH = 100  # resamples at a time, which bounds memory
_MAX_SEEDS = 100_000
_SEED = 0  # of resamples: an interval is the same each time
_Z = 1.959964  # standard errors to each side of a 95 % interval


class TTest(NamedTuple):
    """Welch's test of a difference of means: the difference, its 95 % interval, two-sided p."""

    difference: float
    low: float
    high: float
    p: float


def wilson(correct: int, count: int) -> tuple[float, float]:
    """Compute the 95 % score interval of a proportion (Wilson 1927)."""
    share, spread = correct / count, _Z * _Z / count
    center = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, center - half), min(1.0, center + half)


def bootstrap_mean(values: np.ndarray) -> tuple[float, float]:
    """Compute the 95 % percentile bootstrap interval of a mean (Efron 1979), of 2,000 resamples.

    Args:
        values: float [N], one per image.
    """
    from scipy import stats

    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compute 95 % percentile bootstrap intervals of several statistics of the same images.

    Args:
        statistic: gives float [S] for the rows of a resample, int [count]; a NaN is left out.
        count: number of images.

    Returns:
        The lower and the upper ends, float [S] both.
    """
    rng = np.random.default_rng(_SEED)
    found = [statistic(rng.integers(count, size=count)) for _ in range(_RESAMPLES // 2)]
    low, high = np.nanpercentile(found, [2.5, 97.5], axis=0)
    return low, high


# --- several values, such as the accuracies of seeds ----------------------------------


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Compute the 95 % t interval of a mean; None for fewer than two values (Student 1908)."""
    from scipy import stats

    count = len(values)
    if count < 2:
        return None
    half = stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / math.sqrt(count)
    return float(np.mean(values) - half), float(np.mean(values) + half)


def std_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Compute the 95 % chi-square interval of a standard deviation; None for fewer than two values.

    Assumes that the values are normally distributed.
    """
    from scipy import stats

    freedom = len(values) - 1
    if freedom < 1:
        return None
    total = freedom * np.var(values, ddof=1)
    low, high = np.sqrt(total / stats.chi2.ppf([0.975, 0.025], freedom))
    return float(low), float(high)


def flip_std(correct: np.ndarray) -> float | None:
    """Compute the deviation of accuracy that independent flips of test images alone would give.

    Each image is right in a share p of all trainings, independently of the other images. Then the
    variance of accuracy is the mean of p (1 - p) over the images, divided by their number;
    k / (k - 1) removes the bias of estimating p from k trainings (Jordan 2023, arXiv 2304.01910).

    Args:
        correct: bool [k, N], whether training i is right on image j.

    Returns:
        The standard deviation, 0 to 1; None for fewer than two trainings.
    """
    runs, images = correct.shape
    if runs < 2:
        return None
    share = correct.mean(axis=0)
    return math.sqrt(float((share * (1 - share)).mean()) * runs / (runs - 1) / images)


def welch(first: Sequence[float], second: Sequence[float]) -> TTest | None:
    """Test whether two means differ, with unequal variances (Welch 1947).

    Returns:
        First minus second; None with fewer than two values on a side, or without any variance.
    """
    from scipy import stats

    if min(len(first), len(second)) < 2 or np.ptp(first) == np.ptp(second) == 0:
        return None
    with warnings.catch_warnings():  # SciPy's, of one side without variance
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.ttest_ind(first, second, equal_var=False)
    interval = found.confidence_interval()
    difference = float(np.mean(first) - np.mean(second))
    return TTest(difference, float(interval.low), float(interval.high), float(found.pvalue))


def seeds_needed(first_std: float, second_std: float, difference: float) -> int | None:
    """Compute how many values per side show a difference of means with power 80 %.

    Of the two-sided t test at 5 % with equal numbers, by the noncentral t distribution (Cohen
    1988); the deviations count as exact.

    Returns:
        At least 2; None above 100,000.
    """
    from scipy import stats

    spread = math.hypot(first_std, second_std)
    low, high = 1, 2  # too few; to be tried

    def shows(count: int) -> bool:
        freedom = 2 * (count - 1)
        limit = stats.t.ppf(0.975, freedom)
        shift = difference * math.sqrt(count) / spread
        tails = stats.nct.sf(limit, freedom, shift) + stats.nct.cdf(-limit, freedom, shift)
        return bool(tails >= 0.8)

    if spread <= 1e-9 * difference:  # rounding of equal values; noncentral t would overflow
        return 2
    while not shows(high):
        low, high = high, 2 * high
        if low > _MAX_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def bootstrap_accuracies(groups: Sequence[np.ndarray]) -> np.ndarray:
    """Resample trainings and images together: accuracies of groups on the same drawn images.

    A hierarchical bootstrap: each resample draws images, the same for every group, and within each
    group trainings; so the difference of two rows varies as with other images and other seeds.

    Args:
        groups: for each group bool [k, N]; see `flip_std`. N is equal.

    Returns:
        float64 [groups, 2,000], the mean accuracy of a group in each resample.
    """
    rng = np.random.default_rng(_SEED)
    images = groups[0].shape[1]
    stacked = np.concatenate(groups).astype(np.float32).T  # counts up to 2^24 are exact
    ends = np.cumsum([len(group) for group in groups])[:-1]
    batches = []
    for _ in range(_RESAMPLES // _BATCH):
        drawn = rng.integers(0, images, (_BATCH, images))
        drawn += images * np.arange(_BATCH)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=_BATCH * images)
        right = weights.reshape(_BATCH, images).astype(np.float32) @ stacked
        batches.append(right.astype(np.float64) / images)
    means = []
    for accuracies in np.split(np.concatenate(batches), ends, axis=1):
        count = accuracies.shape[1]
        chosen = rng.integers(0, count, (_RESAMPLES, count))
        means.append(np.take_along_axis(accuracies, chosen, axis=1).mean(axis=1))
    return np.stack(means)


# --- paired right and wrong answers ---------------------------------------------------


def mcnemar(first_only: int, second_only: int) -> float:
    """Test whether two classifiers differ on the same images: the two-sided mid-p value.

    McNemar 1947 with the mid-p correction, which Fagerland, Lydersen and Laake 2013 recommend
    (doi 10.1186/1471-2288-13-91).

    Args:
        first_only, second_only: images that only the first, only the second gets right.
    """
    from scipy import stats

    fewer, total = min(first_only, second_only), first_only + second_only
    below, equal = stats.binom.cdf(fewer - 1, total, 0.5), stats.binom.pmf(fewer, total, 0.5)
    return float(2 * below + equal)


def paired_interval(first_only: int, second_only: int, count: int) -> tuple[float, float]:
    """Compute the 95 % interval of the difference of two accuracies on the same images.

    Wald's interval after adding 1/2 to each of the four cells (Agresti and Min 2005,
    doi 10.1002/sim.1781).

    Args:
        first_only, second_only: images that only the first, only the second gets right.
        count: images in all.
    """
    total = count + 2
    difference = (first_only - second_only) / total
    spread = (first_only + second_only + 1) / total - difference**2
    half = _Z * math.sqrt(spread / total)
    return max(-1.0, difference - half), min(1.0, difference + half)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number, step by step from the smallest (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    adjusted = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    found = np.empty(len(order))
    found[order] = adjusted
    return [float(p) for p in found]


def auroc_interval(auroc: float, positives: int, negatives: int) -> tuple[float, float]:
    """Compute the 95 % interval of an area under the ROC curve (Newcombe 2006, method 5).

    It is the area's score interval, with the variance of Hanley and McNeil 1982 at the mean of both
    numbers: the areas whose distance from the measured one is at most 1.96 standard errors. Unlike
    Wald's interval it has a width at 0 and 1.
    """
    from scipy.optimize import brentq

    others = (positives + negatives) / 2 - 1

    def excess(area: float) -> float:
        spread = 1 + others * ((1 - area) / (2 - area) + area / (1 + area))
        variance = area * (1 - area) * spread / (positives * negatives)
        return float((auroc - area) ** 2 - _Z * _Z * variance)

    # At 0 and 1 themselves the excess is 0, too.
    low = 0.0 if auroc <= 0 else float(brentq(excess, 0.0, min(auroc, 1 - 1e-9)))
    high = 1.0 if auroc >= 1 else float(brentq(excess, max(auroc, 1e-9), 1.0))
    return low, high
