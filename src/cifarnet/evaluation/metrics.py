"""Metrics of predictions: accuracy, calibration, confusion, the most confident mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from cifarnet import scores
from cifarnet.errors import ArtifactError
from cifarnet.evaluation import confidence
from cifarnet.runs import Evaluation
from cifarnet.runs.results import CalibrationBin, ClassMetrics, Mistake
from cifarnet.statistics import wilson

_MAX_MISTAKES = 40


def compute_metrics(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> Evaluation:
    """Compute the metrics of a split's predictions.

    Args:
        probabilities: float32 [N, K], N at least 1. Loss and calibration are of rows normalized to
            sum to 1.
        labels: int [N], 0 to K - 1.
        classes: K names.

    Returns:
        The metrics, without `temperature`, `advice` and `about`.

    Raises:
        ArtifactError: the network and the dataset differ in their number of classes.
    """
    from sklearn.metrics import confusion_matrix, log_loss, top_k_accuracy_score

    count, width = probabilities.shape
    if width != len(classes):
        raise ArtifactError(
            f"the network gives {width} classes, the data has {len(classes)}: "
            f"{', '.join(classes[:5])}, ..."
        )
    all_classes = np.arange(width)
    predicted = probabilities.argmax(axis=1)
    correct = predicted == labels
    exact = scores.normalized(probabilities)
    top5 = 1.0 if width <= 5 else top_k_accuracy_score(labels, exact, k=5, labels=all_classes)
    bins = scores.calibration_bins(exact, labels)
    balanced_accuracy, macro_f1 = _class_means(predicted, labels)
    return Evaluation(
        count=count,
        loss=float(log_loss(labels, exact, labels=all_classes)),
        accuracy=float(correct.mean()),
        accuracy_interval=list(wilson(int(correct.sum()), count)),
        top5_accuracy=float(top5),
        expected_calibration_error=scores.calibration_error(bins),
        calibration=[CalibrationBin(**asdict(one)) for one in bins],
        macro_f1=macro_f1,
        balanced_accuracy=balanced_accuracy,
        per_class=_per_class(predicted, labels, classes),
        classes=list(classes),
        confusion_matrix=confusion_matrix(labels, predicted, labels=all_classes).tolist(),
        mistakes=_mistakes(probabilities, labels, classes),
        expected_calibration_error_interval=confidence.calibration_interval(exact, labels),
        selective=confidence.selective_prediction(exact, labels),
    )


def _class_means(predicted: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Compute balanced accuracy, the mean recall, and macro F1 over the classes that have images.

    A class that is never predicted counts as 0. Images predicted as a class without images lower
    the recall of their own class alone.
    """
    from sklearn.metrics import precision_recall_fscore_support

    _, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=np.unique(labels), average="macro", zero_division=0
    )
    return float(recall), float(f1)


def _per_class(
    predicted: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> list[ClassMetrics]:
    from sklearn.metrics import precision_recall_fscore_support

    scores = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(classes)), zero_division=0
    )
    return [
        ClassMetrics(
            name=name,
            precision=float(precision),
            recall=float(recall),
            f1=float(f1),
            support=int(support),
        )
        for name, precision, recall, f1, support in zip(classes, *scores, strict=True)
    ]


def _mistakes(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> list[Mistake]:
    """Return the most confident mistakes, most confident first."""
    predicted, highest = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-highest[wrong], kind="stable")][:_MAX_MISTAKES]
    return [
        Mistake(
            index=int(i),
            true=classes[labels[i]],
            predicted=classes[predicted[i]],
            confidence=float(highest[i]),
        )
        for i in worst
    ]
