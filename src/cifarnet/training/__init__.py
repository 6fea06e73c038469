"""Training: from a config to a finished run directory, and resuming one that stopped."""

from cifarnet.training.run import resume, train

__all__ = ["resume", "train"]
