"""Compare runs statistically, from their stored predictions."""

from cifarnet.comparison.run import compare

__all__ = ["compare"]
