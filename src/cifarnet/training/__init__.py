"""Training: from a config to a finished run directory, and resuming one that stopped."""

from cifarnet.training.follow import join_training
from cifarnet.training.run import resume, train
from cifarnet.training.workers import Workers

__all__ = ["Workers", "join_training", "resume", "train"]
