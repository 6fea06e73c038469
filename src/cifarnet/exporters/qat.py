"""Training a network for 8-bit arithmetic: each step rounds as the exported file will.

Jacob et al. 2018, arXiv 1712.05877, section 3: the forward pass rounds weights and activations,
the gradient passes through as if it had not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cifarnet import config as cfg
from cifarnet.backend import keras, tf
from cifarnet.data import Dataset
from cifarnet.exporters.finetune import fine_tune

# Enough to win back what rounding loses; the weights hardly move.
_EPOCHS = 2.0


def fine_tune_for_int8(trained: keras.Model, config: cfg.Config, dataset: Dataset) -> keras.Model:
    """A copy of a run's network that loses less when it is rounded to int8.

    Args and errors are those of `fine_tune`.
    """
    return fine_tune(trained, config, dataset, _EPOCHS, forward=quantized_forward)


def quantized_forward(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The training pass of a model with its kernels and activations rounded to 8 bits.

    Kernels: each output channel on its own, symmetric, which is the same before and after batch
    normalisation is folded into it. Activations: each tensor as a whole, by its range in the batch.

    Returns:
        A function of images float [B, S, S, 3] to logits [B, K] that updates the model's moving
        statistics.
    """
    watched = keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=_call
    )

    depthwise = _depthwise(model)

    def weight(variable: keras.Variable) -> tf.Tensor:
        if len(variable.shape) < 2:
            return variable.value
        outputs = variable.shape[-1] * (variable.shape[-2] if id(variable) in depthwise else 1)
        return quantize_kernel(variable.value, outputs)

    def forward(images: tf.Tensor) -> tf.Tensor:
        weights = [weight(variable) for variable in watched.trainable_variables]
        others = watched.non_trainable_variables
        logits, updated = watched.stateless_call(
            weights, [v.value for v in others], images, training=True
        )
        for variable, value in zip(others, updated, strict=True):
            variable.assign(value)
        return logits

    return forward


def quantize_kernel(kernel: tf.Tensor, outputs: int) -> tf.Tensor:
    """A kernel rounded to 127 steps either side of 0, each output on its own.

    Args:
        kernel: float32; its last numbers, `outputs` of them, belong to one output each.
    """
    flat = tf.reshape(kernel, [-1, outputs])
    most = tf.maximum(tf.reduce_max(tf.abs(tf.stop_gradient(flat)), axis=0), 1e-12)
    quantized = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        flat, -most, most, num_bits=8, narrow_range=True
    )
    return tf.reshape(quantized, kernel.shape)


def _depthwise(model: keras.Model) -> set[int]:
    """The kernels [rows, columns, inputs, multiplier] that have inputs x multiplier outputs."""
    found = set()
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            found.add(id(layer.kernel))
        elif isinstance(layer, keras.layers.SeparableConv2D):
            found.add(id(layer.depthwise_kernel))
    return found


class _FakeQuantize(keras.layers.Layer):
    """Rounds to 256 steps from the smallest to the largest value; 0 is one of them."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        wide = tf.cast(inputs, tf.float32)
        given = tf.stop_gradient(wide)
        low = tf.minimum(tf.reduce_min(given), 0.0)
        high = tf.maximum(tf.reduce_max(given), low + 1e-6)
        outputs = tf.quantization.fake_quant_with_min_max_vars(wide, low, high, num_bits=8)
        return tf.cast(outputs, inputs.dtype)


def _call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
    """A layer's outputs, rounded where the exported file keeps them as bytes."""
    outputs = layer(*args, **kwargs)
    kept = isinstance(layer, keras.layers.ReLU | keras.layers.Activation | keras.layers.Add)
    activation = getattr(layer, "activation", keras.activations.linear)
    if kept or activation is not keras.activations.linear:
        outputs = _FakeQuantize(dtype=layer.dtype_policy)(outputs)
    return outputs
