"""Averages of a network's weights over the steps of its training."""

from __future__ import annotations

import numpy as np

from cifarnet.backend import keras, tf
from cifarnet.config import LookaheadConfig, TrainConfig


class MovingAverage:
    """An exponential moving average of the weights, kept in a network of its own.

    The decay starts low, min(decay, (1 + n) / (10 + n)) after n updates, as in
    tf.train.ExponentialMovingAverage, so that early averages are not stuck at the start.
    """

    def __init__(self, average: keras.Model, model: keras.Model, decay: float) -> None:
        """Start `average`, a network built like `model`, at the weights of `model`."""
        average.set_weights(model.get_weights())
        self._pairs = list(zip(average.weights, model.weights, strict=True))
        self._decay = decay

    def update(self, updates: tf.Tensor) -> None:
        """Move the average to decay x average + (1 - decay) x weights, after `updates` updates."""
        decay = tf.minimum(self._decay, (1 + updates) / (10 + updates))
        for average, weight in self._pairs:
            average.assign(weight.value + decay * (average.value - weight.value))


class Lookahead:
    """Slow copies of the weights, moved a part of the way to the weights, which then go there.

    Zhang et al. 2019, arXiv 1907.08610, with a part that shrinks in the course of the training:
    Jordan 2024, arXiv 2404.00498, whose code leaves `decay` x progress^`ramp` of the slow copy.
    Moving statistics of batch normalizations are treated as weights.

    Attributes:
        variables: the slow copies, part of the training's state.
    """

    def __init__(self, model: keras.Model, config: LookaheadConfig, total_steps: int) -> None:
        """Start the slow copies at the weights of `model`."""
        self._weights = model.weights
        self._config = config
        self._total_steps = total_steps
        # Not `weight.value`: Keras would share that variable instead of copying it.
        self.variables = [
            keras.Variable(weight.numpy(), trainable=False) for weight in model.weights
        ]

    def decays(self, steps: np.ndarray) -> np.ndarray:
        """Return the share of the slow copy that is left after each of these steps, counted from 1.

        Returns:
            float [steps]; 1 where a step leaves the weights alone.
        """
        decays = self._config.decay * (steps / self._total_steps) ** self._config.ramp
        return np.where(steps % self._config.every == 0, decays, 1.0)

    def update(self, decay: tf.Tensor) -> None:
        """Move slow to decay x slow + (1 - decay) x weights, and weights to slow, if decay < 1."""

        def move() -> None:
            for slow, weight in zip(self.variables, self._weights, strict=True):
                slow.assign(weight.value + decay * (slow.value - weight.value))
                weight.assign(slow.value)

        tf.cond(decay < 1.0, move, lambda: None)

    def finish(self) -> None:
        """Replace the weights by the slow copies, at the end of the training."""
        for slow, weight in zip(self.variables, self._weights, strict=True):
            weight.assign(slow.value)


def moving(config: TrainConfig, average: keras.Model, model: keras.Model) -> MovingAverage | None:
    """Make the moving average of `train.ema`, if there is one."""
    return None if config.ema is None else MovingAverage(average, model, config.ema)


def lookahead(config: TrainConfig, model: keras.Model, total_steps: int) -> Lookahead | None:
    """Make the slow copies of `train.lookahead`, if there are any."""
    return None if config.lookahead is None else Lookahead(model, config.lookahead, total_steps)
