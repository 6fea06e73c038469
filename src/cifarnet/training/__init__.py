"""Training: from a config to a finished run directory, and on from where one stopped."""

from cifarnet.callbacks import Observer
from cifarnet.training.run import resume, run

__all__ = ["Observer", "resume", "run"]
