"""Show which pixels a decision depends on, and check the method that says so."""

from cifarnet.explanations.run import FILES, PICTURE, explain

__all__ = ["FILES", "PICTURE", "explain"]
