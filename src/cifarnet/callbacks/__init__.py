"""What a long job reports while it runs, how it is asked to stop, and a display of it."""

from cifarnet.callbacks.base import Callback, Callbacks, EpochResult, StepProgress

__all__ = ["Callback", "Callbacks", "EpochResult", "StepProgress"]
