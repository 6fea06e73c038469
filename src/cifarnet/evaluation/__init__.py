"""What a network is worth: metrics of its predictions, and requirements on them."""

from cifarnet.evaluation.metrics import metrics
from cifarnet.evaluation.requirements import check, parse_requirement
from cifarnet.evaluation.run import (
    Prediction,
    Predictions,
    evaluate,
    measure,
    pictures,
    predict,
    predictions,
    write,
)
from cifarnet.evaluation.tta import tta

__all__ = [
    "Prediction",
    "Predictions",
    "check",
    "evaluate",
    "measure",
    "metrics",
    "parse_requirement",
    "pictures",
    "predict",
    "predictions",
    "tta",
    "write",
]
