"""Training: from a config to a finished run directory, and resuming one that stopped."""

from cifarnet.training.checking import check
from cifarnet.training.follow import join_training
from cifarnet.training.run import resume, train
from cifarnet.training.workers import Workers

__all__ = ["Workers", "check", "join_training", "resume", "train"]
