"""Training: from a config to a finished run directory, and on from where one stopped."""

from cifarnet.train.observer import Observer
from cifarnet.train.start import resume, run

__all__ = ["Observer", "resume", "run"]
