"""What a network is worth: metrics of its predictions, and requirements on them."""

from cifarnet.evaluation.metrics import metrics
from cifarnet.evaluation.requirements import check, parse_requirement
from cifarnet.evaluation.run import measure, write
from cifarnet.evaluation.tta import tta

__all__ = ["check", "measure", "metrics", "parse_requirement", "tta", "write"]
