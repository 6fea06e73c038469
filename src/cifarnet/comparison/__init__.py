"""Compare runs statistically, from their stored predictions."""

from cifarnet.comparison.run import compare, unused_seed

__all__ = ["compare", "unused_seed"]
