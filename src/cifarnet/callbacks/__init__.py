"""Callbacks of long jobs: the protocol, and a display of progress."""

from cifarnet.callbacks.base import Callback, Callbacks, EpochResult, StepProgress, optional
from cifarnet.callbacks.jobs import job, warn_unfinished

__all__ = [
    "Callback",
    "Callbacks",
    "EpochResult",
    "StepProgress",
    "job",
    "optional",
    "warn_unfinished",
]
