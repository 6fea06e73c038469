"""Compare runs statistically, from their stored predictions."""
