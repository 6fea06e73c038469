"""Evaluation: predictions of a split, their metrics, and requirements on them."""

from cifarnet.evaluation.classify import Prediction, Predictions, predict
from cifarnet.evaluation.metrics import compute_metrics
from cifarnet.evaluation.requirements import check, parse_requirement
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
    "check",
    "compute_metrics",
    "evaluate",
    "measure",
    "parse_requirement",
    "pictures",
    "predict",
    "predictions",
    "with_tta",
    "write",
]
