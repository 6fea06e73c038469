"""Training: from a config to a finished run directory, and on from where one stopped."""

from cifarnet.train.session import Observer, resume, run

__all__ = ["Observer", "resume", "run"]
