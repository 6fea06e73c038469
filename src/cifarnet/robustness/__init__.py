"""Measure accuracy on corrupted, attacked and foreign images."""

from cifarnet.robustness.run import evaluate_robustness

__all__ = ["evaluate_robustness"]
