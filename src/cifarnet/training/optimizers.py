"""The optimizer of a config."""

from __future__ import annotations

from typing import Any

from cifarnet.backend import keras, tf
from cifarnet.config import TrainConfig


def build(config: TrainConfig, model: keras.Model) -> keras.optimizers.Optimizer:
    """Build SGD for a model's trainable variables; float16 gets loss scaling."""
    sgd = _SGD(
        learning_rate=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay or None,
        global_clipnorm=config.clip_norm,
    )
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization) and x.center]
    sgd.factors = {sgd._var_key(layer.beta): config.norm_bias_factor for layer in norms}
    # float16 overflows where float32 and bfloat16 do not; the scale keeps gradients in range.
    return keras.optimizers.LossScaleOptimizer(sgd) if config.precision == "float16" else sgd


class _SGD(keras.optimizers.SGD):
    """Keras' SGD with a learning rate factor per variable, for gradients summed over the replicas.

    Attributes:
        factors: by the key that the optimizer has for a variable; 1 for others.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factors: dict[Any, float] = {}

    def update_step(self, gradient: Any, variable: tf.Variable, learning_rate: Any) -> None:
        factor = self.factors.get(self._var_key(variable), 1.0)
        super().update_step(gradient, variable, learning_rate * factor)

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        # Keras would clip before this sum. The step sums before it hands over the gradients.
        return grads_and_vars
