"""Measure accuracy on corrupted, attacked and foreign images."""

from cifarnet.robustness.run import evaluate_robustness, pictures

__all__ = ["evaluate_robustness", "pictures"]
