"""Scores of predicted probabilities: log loss and calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BINS = 15  # as in Guo et al. 2017, arXiv 1706.04599


@dataclass(frozen=True)
class Bin:
    """The predictions whose confidence is in (low, high]: count, mean confidence, accuracy."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


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


def calibration_bins(probabilities: np.ndarray, labels: np.ndarray) -> list[Bin]:
    """Bin predictions by confidence; see `confidence_bins`. Args are those of `log_loss`."""
    return confidence_bins(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)


def confidence_bins(confidence: np.ndarray, correct: np.ndarray) -> list[Bin]:
    """Bin predictions by confidence, equal widths: Guo et al. 2017, equations 2 to 5.

    Args:
        confidence: float [N], the probability of the predicted class.
        correct: bool [N].
    """
    edges = np.linspace(0, 1, _BINS + 1)
    # Bin m holds confidences in (edge m, edge m + 1].
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, _BINS - 1)
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
