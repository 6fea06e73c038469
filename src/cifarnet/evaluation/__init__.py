"""Evaluation: predictions of a split and their metrics."""

from cifarnet.evaluation.classify import Prediction, Predictions, predict
from cifarnet.evaluation.metrics import compute_metrics
from cifarnet.evaluation.run import (
    evaluate,
    measure,
    pictures,
    predictions,
    write,
)
from cifarnet.evaluation.tta import with_tta

__all__ = [
    "Prediction",
    "Predictions",
    "compute_metrics",
    "evaluate",
    "measure",
    "pictures",
    "predict",
    "predictions",
    "with_tta",
    "write",
]
