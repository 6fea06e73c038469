"""The optimizer of a config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cifarnet.backend import keras, tf
from cifarnet.config import MuonConfig, TrainConfig
from cifarnet.errors import ConfigError

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
# Of the quintic a x + b x^3 + c x^5 that Jordan 2024 iterates.
_QUINTIC = (3.4445, -4.7750, 2.0315)


def build(config: TrainConfig, model: keras.Model) -> keras.optimizers.Optimizer:
    """Build SGD for a model's trainable variables, with Muon for the kernels that it is for.

    float16 gets loss scaling.

    Raises:
        ConfigError: `train.muon` for a network without a convolution that it can train.
    """
    options = {
        "learning_rate": config.learning_rate,
        "momentum": config.momentum,
        "nesterov": config.nesterov,
        "weight_decay": config.weight_decay or None,
        "global_clipnorm": config.clip_norm,
    }
    if config.muon is None:
        sgd = _SGD(**options)
    else:
        # In float16 the iterations would overflow.
        dtype = "bfloat16" if config.precision == "bfloat16" else "float32"
        rate = config.muon.learning_rate / config.learning_rate
        sgd = _Muon(muon_kernels(model), config.muon, rate, dtype, **options)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization) and x.center]
    sgd.factors = {sgd._var_key(layer.beta): config.norm_bias_factor for layer in norms}
    # float16 overflows where float32 and bfloat16 do not; the scale keeps gradients in range.
    return keras.optimizers.LossScaleOptimizer(sgd) if config.precision == "float16" else sgd


def muon_kernels(model: keras.Model) -> list[keras.Variable]:
    """Return the trained kernels of whole convolutions; of grouped ones each group is a matrix.

    Raises:
        ConfigError: there are none.
    """
    layers = (layer for layer in model.layers if isinstance(layer, _CONVOLUTIONS))
    kernels = [layer.kernel for layer in layers if layer.groups == 1 and layer.kernel.trainable]
    if not kernels:
        raise ConfigError(
            "train.muon: it trains the kernels of convolutions (Conv2D, not depthwise, separable, "
            "transposed or grouped), and this network trains none. Remove train.muon"
        )
    return kernels


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


class _Muon(_SGD):
    """SGD that trains some kernels by orthogonalized momentum.

    Jordan 2024, https://kellerjordan.github.io/posts/muon, as in his airbench94_muon: the kernel is
    scaled to the norm sqrt(filters), then moved against the orthogonalized Nesterov momentum of its
    gradients. Keras' Muon takes matrices alone.
    """

    def __init__(
        self,
        kernels: Sequence[keras.Variable],
        muon: MuonConfig,
        rate: float,
        dtype: str,
        **kwargs: Any,
    ) -> None:
        """Make the optimizer.

        Args:
            kernels: [..., filters], to train by orthogonalized momentum.
            muon: momentum and Newton-Schulz iterations.
            rate: their learning rate as a multiple of the other weights'.
            dtype: of the Newton-Schulz iterations.
            kwargs: of Keras' SGD.
        """
        super().__init__(**kwargs)
        self._muon, self._rate, self._dtype = muon, rate, dtype
        self._keys = {self._var_key(kernel) for kernel in kernels}
        # A decay before the scaling to a fixed norm would have no effect.
        self.exclude_from_weight_decay(list(kernels))

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if not self.built:
            keras.optimizers.Optimizer.build(self, variables)
            self.momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient: Any, variable: tf.Variable, learning_rate: Any) -> None:
        if self._var_key(variable) not in self._keys:
            super().update_step(gradient, variable, learning_rate)
            return
        momentum, shape = self._muon.momentum, gradient.shape
        buffer = self.momentums[self._get_variable_index(variable)]
        moved = momentum * buffer.value + gradient
        self.assign(buffer, moved)
        direction = tf.reshape(gradient + momentum * moved, [-1, shape[-1]])
        update = orthogonalize(direction, self._muon.steps, self._dtype)
        scale = tf.math.divide_no_nan(float(shape[-1]) ** 0.5, tf.norm(variable))
        step = learning_rate * self._rate * tf.reshape(update, shape)
        self.assign(variable, variable * scale - step)


def orthogonalize(matrix: tf.Tensor, steps: int, dtype: str = "float32") -> tf.Tensor:
    """Bring all singular values of a matrix near 1 by Newton-Schulz iterations.

    Of U S V^T it returns U f(S) V^T, where f divides by the Frobenius norm and then takes x to
    3.4445 x - 4.7750 x^3 + 2.0315 x^5, `steps` times. Five steps bring values above 1 % of the norm
    to 0.68 to 1.14 (Jordan 2024, https://kellerjordan.github.io/posts/muon); values of 0 stay.

    Args:
        matrix: float32 [m, n].
        steps: number of iterations.
        dtype: of the iterations.

    Returns:
        float32 [m, n].
    """
    a, b, c = _QUINTIC
    x = tf.cast(matrix / (tf.norm(matrix) + 1e-7), dtype)
    tall = matrix.shape[0] > matrix.shape[1]
    for _ in range(steps):
        gram = tf.matmul(x, x, transpose_a=True) if tall else tf.matmul(x, x, transpose_b=True)
        factor = b * gram + c * tf.matmul(gram, gram)
        x = a * x + (tf.matmul(x, factor) if tall else tf.matmul(factor, x))
    return tf.cast(x, tf.float32)
