"""Learning rate as a pure function of the step.

A schedule maps steps 0, 1, ... of `total` to a learning rate. It works on numbers and on
whole arrays of steps, so one call gives a whole run's table.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cifarnet import config as cfg
from cifarnet.errors import ConfigError

Rate = Callable[[np.ndarray], np.ndarray]


def steps_per_epoch(batch_size: int, images: int) -> int:
    """Return the number of whole batches of the training images.

    Raises:
        ConfigError: there is none.
    """
    if batch_size > images:
        raise ConfigError(
            f"train.batch_size: {batch_size} is more than the {images} training images; "
            f"give at most {images}"
        )
    return images // batch_size


def build(config: cfg.TrainConfig, steps_per_epoch: int, total: int) -> Rate:
    """Build the schedule that a config asks for.

    Args:
        config: its `schedule` and `learning_rate`, the peak.
        steps_per_epoch: optimizer steps in one pass.
        total: optimizer steps in the whole run.

    Returns:
        A function of int steps [n], each 0 <= step < total, to float64 rates [n]. With
        warm-up of w steps, step s < w has (s + 1) / w times the rate the schedule gives.
    """
    shape = _shape(config.schedule, steps_per_epoch, total)
    warmup = round(config.schedule.warmup_epochs * steps_per_epoch)

    def rate(step: np.ndarray) -> np.ndarray:
        step = np.asarray(step)
        ramp = np.minimum(1.0, (step + 1) / warmup) if warmup else 1.0
        return config.learning_rate * ramp * shape(step)

    return rate


def _shape(schedule: cfg.Schedule, steps_per_epoch: int, total: int) -> Rate:
    """Return the rate as a share of the peak, before warm-up."""
    if isinstance(schedule, cfg.StepSchedule):
        bounds = np.asarray(schedule.at) * steps_per_epoch
        # NumPy's powers of arrays and of single numbers may differ in the last bit.
        shares = np.array([schedule.factor**n for n in range(len(bounds) + 1)])
        return lambda s: shares[np.sum(np.asarray(s)[..., None] >= bounds, axis=-1)]
    if isinstance(schedule, cfg.CosineSchedule):
        # Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5, one cycle.
        return lambda s: (
            schedule.end + (1 - schedule.end) * (1 + np.cos(np.pi * np.asarray(s) / total)) / 2
        )
    if isinstance(schedule, cfg.TriangleSchedule):
        corners = [0.0, schedule.peak_at * total, float(total)]
        heights = [schedule.start, 1.0, schedule.end]
        return lambda s: np.interp(s, corners, heights)
    return lambda s: np.ones_like(s, dtype=np.float64)
