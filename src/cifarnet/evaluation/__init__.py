"""Evaluation: predictions of a split and their metrics."""

from cifarnet.evaluation.classify import Prediction, Predictions, predict
from cifarnet.evaluation.metrics import compute_metrics
from cifarnet.evaluation.run import (
    evaluate,
    measure,
    pictures,
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
    "with_tta",
    "write",
]
