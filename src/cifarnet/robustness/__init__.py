"""Measure accuracy on corrupted, attacked and foreign images."""

from cifarnet.robustness.run import check, evaluate_robustness, pictures

__all__ = ["check", "evaluate_robustness", "pictures"]
