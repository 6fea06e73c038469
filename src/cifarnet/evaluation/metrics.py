"""Metrics of predictions: accuracy, calibration, confusion, the most confident mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cifarnet.errors import ArtifactError
from cifarnet.runs import Evaluation
from cifarnet.runs.records import CalibrationBin, ClassMetrics, Mistake

_BINS = 15  # as in Guo et al. 2017
_MISTAKES = 40


def metrics(probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Evaluation:
    """Compute all metrics of a set of predictions.

    Args:
        probabilities: float32 [N, K], N at least 1.
        labels: int [N], 0 to K - 1.
        classes: K names.

    Raises:
        ArtifactError: the network has another number of classes than the data.
    """
    from sklearn.metrics import (
        confusion_matrix,
        log_loss,
        precision_recall_fscore_support,
        top_k_accuracy_score,
    )

    count, width = probabilities.shape
    if width != len(classes):
        raise ArtifactError(
            f"the network gives {width} classes, the data has {len(classes)}: "
            f"{', '.join(classes[:5])}, ..."
        )
    every = np.arange(width)
    predicted = probabilities.argmax(axis=1)
    right = predicted == labels
    # log_loss wants rows that sum to 1 more exactly than float32 does.
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    top5 = 1.0 if width <= 5 else top_k_accuracy_score(labels, exact, k=5, labels=every)
    scores = precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    per_class = [
        ClassMetrics(
            name=name,
            precision=float(precision),
            recall=float(recall),
            f1=float(f1),
            support=int(support),
        )
        for name, precision, recall, f1, support in zip(classes, *scores, strict=True)
    ]
    calibration = _calibration(probabilities.max(axis=1), right)
    error = sum(b.count * abs(b.confidence - b.accuracy) for b in calibration) / count
    return Evaluation(
        count=count,
        loss=float(log_loss(labels, exact, labels=every)),
        accuracy=float(right.mean()),
        accuracy_interval=_wilson(int(right.sum()), count),
        top5_accuracy=float(top5),
        expected_calibration_error=error,
        calibration=calibration,
        per_class=per_class,
        classes=list(classes),
        confusion_matrix=confusion_matrix(labels, predicted, labels=every).tolist(),
        mistakes=_mistakes(probabilities, labels, classes),
    )


def _calibration(confidence: np.ndarray, right: np.ndarray) -> list[CalibrationBin]:
    """Equal-width bins of confidence: Guo et al. 2017, arXiv 1706.04599, equations 2 to 5."""
    edges = np.linspace(0, 1, _BINS + 1)
    # Bin m holds confidences in (edge m, edge m + 1].
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, _BINS - 1)
    bins: list[CalibrationBin] = []
    for m in range(_BINS):
        inside = place == m
        number = int(inside.sum())
        bins.append(
            CalibrationBin(
                low=float(edges[m]),
                high=float(edges[m + 1]),
                count=number,
                confidence=float(confidence[inside].mean()) if number else 0.0,
                accuracy=float(right[inside].mean()) if number else 0.0,
            )
        )
    return bins


def _wilson(right: int, count: int, z: float = 1.959964) -> list[float]:
    """95 % interval of a share: Wilson 1927, the score interval."""
    share, spread = right / count, z * z / count
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return [max(0.0, centre - half), min(1.0, centre + half)]


def _mistakes(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> list[Mistake]:
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:_MISTAKES]
    return [
        Mistake(
            index=int(i),
            true=classes[labels[i]],
            predicted=classes[predicted[i]],
            confidence=float(confidence[i]),
        )
        for i in worst
    ]
