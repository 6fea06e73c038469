"""Scores of predicted probabilities: log loss, calibration, temperature, ranking by confidence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_BINS = 15  # as in Guo et al. 2017, arXiv 1706.04599
_EDGES = np.linspace(0, 1, _BINS + 1)
# Where every image is classified correctly the loss falls with the temperature without end.
_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Bin:
    """The predictions whose confidence is in (low, high]: count, mean confidence, accuracy."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Temperature:
    """A temperature that was fitted; `at_bound` if the loss falls beyond 0.05 or 20."""

    value: float
    at_bound: bool


@dataclass(frozen=True)
class Ranking:
    """Decisions ordered by confidence, the most confident first.

    Where several have the same confidence, figures are means over all their orders.

    Attributes:
        counts: decisions at each level of confidence, highest level first, int [L]; may be 0.
        errors: those of them that are wrong, [L].
    """

    counts: np.ndarray
    errors: np.ndarray

    def risks(self) -> np.ndarray:
        """Return the share of errors among the n most confident decisions, n from 1 to N, [N].

        The risk-coverage curve: Geifman 2017, arXiv 1705.08500. Its mean over n is the area under
        it: Geifman 2019, arXiv 1805.08206.
        """
        shares = self.errors / np.maximum(self.counts, 1)
        return np.asarray(np.repeat(shares, self.counts).cumsum() / np.arange(1, self.total + 1))

    def accuracy(self, coverage: float) -> float:
        """Return the accuracy of the most confident decisions; coverage above 0, at most 1."""
        return float(1 - self.risks()[math.ceil(coverage * self.total) - 1])

    def auroc(self) -> float | None:
        """Return the chance that a wrong decision is less confident than a right one.

        A tie counts half. None without both.
        """
        right = self.counts - self.errors
        pairs = right.sum() * self.errors.sum()
        above = (right.cumsum() - right / 2) @ self.errors
        return float(above / pairs) if pairs else None

    @property
    def total(self) -> int:
        """Number of decisions."""
        return int(self.counts.sum())


def normalized(probabilities: np.ndarray) -> np.ndarray:
    """Return rows that sum to 1, float64; of independent or rounded probabilities they do not.

    A row of zeros, as 8-bit probabilities of many classes may be, becomes uniform.
    """
    rows = probabilities.astype(np.float64)
    sums = rows.sum(axis=1, keepdims=True)
    return np.divide(rows, sums, out=np.full_like(rows, 1 / rows.shape[1]), where=sums != 0)


def log_loss(probabilities: np.ndarray, labels: np.ndarray, floor: float) -> float:
    """Return the mean negative log-likelihood of the labels, nats.

    Args:
        probabilities: float [N, K].
        labels: int [N], 0 to K - 1.
        floor: smallest probability that is distinguished; smaller ones count as this.
    """
    likelihood = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(likelihood, floor)).mean())


def bin_indices(confidence: np.ndarray) -> np.ndarray:
    """Return the bin of each confidence, 0 to 14, int [N]: bin m is (m / 15, (m + 1) / 15]."""
    return np.clip(np.searchsorted(_EDGES, confidence, side="left") - 1, 0, _BINS - 1)


def calibration_bins(probabilities: np.ndarray, labels: np.ndarray) -> list[Bin]:
    """Bin predictions by confidence; see `confidence_bins`. Args are those of `log_loss`."""
    return confidence_bins(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)


def confidence_bins(confidence: np.ndarray, correct: np.ndarray) -> list[Bin]:
    """Bin predictions by confidence, equal widths: Guo et al. 2017, equations 2 to 5.

    Args:
        confidence: float [N], the probability of the predicted class.
        correct: bool [N].
    """
    edges, place = _EDGES, bin_indices(confidence)
    bins = []
    for m in range(_BINS):
        inside = place == m
        number = int(inside.sum())
        bins.append(
            Bin(
                low=float(edges[m]),
                high=float(edges[m + 1]),
                count=number,
                confidence=float(confidence[inside].mean()) if number else 0.0,
                accuracy=float(correct[inside].mean()) if number else 0.0,
            )
        )
    return bins


def calibration_error(bins: list[Bin]) -> float:
    """Return the expected calibration error, 0 to 1: Guo et al. 2017, equation 3."""
    total = sum(one.count for one in bins)
    return sum(one.count * abs(one.confidence - one.accuracy) for one in bins) / total


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Return the logarithms of probabilities, float64 [N, K]; they serve as logits.

    A probability that was rounded to 0 counts as half the smallest positive one, at most 1/512:
    half a step of 8-bit probabilities.
    """
    rows = probabilities.astype(np.float64)
    smallest = rows[rows > 0].min(initial=1 / 256)
    return np.log(np.maximum(rows, smallest / 2))


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return the probabilities softmax(logits / temperature), float64 [N, K]."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> Temperature:
    """Find the temperature T of the smallest log loss of softmax(logits / T).

    Guo et al. 2017, arXiv 1706.04599, section 4.2. The loss is convex in 1/T; its derivative there
    is the mean of the expected logit minus the label's, whose root is found between T = 0.05 and
    T = 20.

    Args:
        logits: float [N, K], N at least 1; or log-probabilities, which differ by a constant per
            row, which the softmax cancels.
        labels: int [N], 0 to K - 1.

    Raises:
        ValueError: a logit is not finite.
    """
    from scipy.optimize import brentq

    if not np.isfinite(logits).all():
        raise ValueError("expected finite logits")
    rows = logits.astype(np.float64)
    rows = rows - rows.max(axis=1, keepdims=True)
    of_label = rows[np.arange(len(labels)), labels].mean()

    def slope(log_inverse: float) -> float:
        expected = (softmax(rows, np.exp(-log_inverse)) * rows).sum(axis=1).mean()
        return float(expected - of_label)

    low, high = (-np.log(bound) for bound in reversed(_TEMPERATURES))
    if not rows.any():  # every class is as probable as any other at every temperature
        return Temperature(1.0, False)
    if slope(high) <= 0:
        return Temperature(_TEMPERATURES[0], True)
    if slope(low) >= 0:
        return Temperature(_TEMPERATURES[1], True)
    return Temperature(float(np.exp(-brentq(slope, low, high, xtol=1e-9))), False)
