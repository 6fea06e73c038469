"""Quantization-aware training: each step computes with weights and activations as int8 has them.

Jacob et al. 2018, arXiv 1712.05877, section 3: the forward pass quantizes weights and
activations; the gradient ignores the quantization (straight-through estimator).
"""

from __future__ import annotations

import functools
from typing import Any

from cifarnet import config as cfg
from cifarnet.backend import keras, tf
from cifarnet.data import Dataset
from cifarnet.exporters.finetune import fine_tune
from cifarnet.training.networks import Forward
from cifarnet.training.step import BuildOptimizer

_EPOCHS = 2.0


def fine_tune_for_int8(
    trained: keras.Model,
    config: cfg.Config,
    dataset: Dataset,
    weight_bits: int,
    *,
    optimizer: BuildOptimizer | None = None,
) -> keras.Model:
    """Fine-tune a copy of a run's network so that it loses less accuracy in int8.

    Args and errors are those of `fine_tune`; `weight_bits` is as for `quantize_kernel`.
    """
    forward = functools.partial(quantized_forward, weight_bits=weight_bits)
    return fine_tune(trained, config, dataset, _EPOCHS, optimizer=optimizer, forward=forward)


def quantized_forward(model: keras.Model, weight_bits: int) -> Forward:
    """Make the training pass of a model with quantized kernels, and activations of 8 bits.

    Kernels are quantized per output channel and symmetrically, which gives the same result before
    and after batch normalization is folded into them; activations per tensor, by their range in
    the batch.

    Returns:
        A function of images float [B, S, S, 3] to logits [B, K] that updates the model's moving
        statistics.
    """
    quantized = keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=_call_quantized
    )
    depthwise = _depthwise_kernels(model)

    def weight(variable: keras.Variable) -> tf.Tensor:
        if len(variable.shape) < 2:
            return variable.value
        outputs = variable.shape[-1] * (variable.shape[-2] if id(variable) in depthwise else 1)
        return quantize_kernel(variable.value, outputs, weight_bits)

    def forward(images: tf.Tensor) -> tf.Tensor:
        weights = [weight(variable) for variable in quantized.trainable_variables]
        others = quantized.non_trainable_variables
        logits, updated = quantized.stateless_call(
            weights, [v.value for v in others], images, training=True
        )
        for variable, value in zip(others, updated, strict=True):
            variable.assign(value)
        return logits

    return forward


def quantize_kernel(kernel: tf.Tensor, outputs: int, bits: int) -> tf.Tensor:
    """Round a kernel to the steps of `bits` on either side of 0, with a scale per output channel.

    Args:
        kernel: float32; its last dimensions, of `outputs` elements in all, are output channels.
        outputs: number of output channels.
        bits: 8 for 127 steps; 7 for 63, where an ONNX file has 64.
    """
    flat = tf.reshape(kernel, [-1, outputs])
    limit = tf.maximum(tf.reduce_max(tf.abs(tf.stop_gradient(flat)), axis=0), 1e-12)
    quantized = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        flat, -limit, limit, num_bits=bits, narrow_range=True
    )
    return tf.reshape(quantized, kernel.shape)


def _depthwise_kernels(model: keras.Model) -> set[int]:
    """Return ids of kernels [rows, columns, inputs, multiplier] of inputs x multiplier outputs."""
    found = set()
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            found.add(id(layer.kernel))
        elif isinstance(layer, keras.layers.SeparableConv2D):
            found.add(id(layer.depthwise_kernel))
    return found


class _FakeQuantize(keras.layers.Layer):
    """Round to 256 steps from the smallest to the largest value, with 0 at one of them."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        wide = tf.cast(inputs, tf.float32)
        values = tf.stop_gradient(wide)
        low = tf.minimum(tf.reduce_min(values), 0.0)
        high = tf.maximum(tf.reduce_max(values), low + 1e-6)
        outputs = tf.quantization.fake_quant_with_min_max_vars(wide, low, high, num_bits=8)
        return tf.cast(outputs, inputs.dtype)


def _call_quantized(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
    """Call a layer, and quantize its outputs where the exported file stores them in 8 bits."""
    outputs = layer(*args, **kwargs)
    stored = isinstance(layer, keras.layers.ReLU | keras.layers.Activation | keras.layers.Add)
    activation = getattr(layer, "activation", keras.activations.linear)
    if stored or activation is not keras.activations.linear:
        outputs = _FakeQuantize(dtype=layer.dtype_policy)(outputs)
    return outputs
