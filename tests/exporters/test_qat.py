"""Quantization-aware training: 8-bit kernels and activations, and what it wins back."""

import keras
import numpy as np
import tensorflow as tf
from helpers.networks import BODIES, CONV, pixels, trained

from cifarnet import config, exporters, models, runs
from cifarnet.exporters import qat


def test_kernels_are_quantized_to_127_steps_of_each_output():
    kernel = tf.constant([[[[1.0, -0.5], [0.013, 0.25]]]])  # [1, 1, 2, 2]: two outputs
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        quantized = qat.quantize_kernel(kernel, 2)
    expected = [[1.0, -0.5], [2 / 127, round(0.25 * 254) / 254]]
    np.testing.assert_allclose(quantized[0, 0], expected, atol=1e-6)
    np.testing.assert_array_equal(tape.gradient(quantized, kernel), np.ones(kernel.shape))
    # With four outputs, each weight is the largest of its output.
    np.testing.assert_allclose(qat.quantize_kernel(kernel, 4), kernel, atol=1e-6)


def test_depthwise_kernels_are_quantized_by_input():
    model = trained(BODIES["depthwise"])
    found = qat._depthwise_kernels(model)
    depthwise = [w.path for w in model.weights if id(w) in found]
    assert [path.split("/")[-1] for path in depthwise] == ["kernel", "depthwise_kernel"]
    assert [path.startswith("depthwise") for path in depthwise] == [True, False]


def test_the_quantized_pass_trains_the_models_own_weights():
    """Its gradients, its moving statistics, and its logits beside those without quantization."""
    model = trained([{"Conv2D": CONV}, "BatchNormalization", "ReLU"])
    images = tf.constant(pixels(16), tf.float32)
    before = [w.numpy() for w in model.weights]
    with tf.GradientTape() as tape:
        logits = qat.quantized_forward(model)(images)
        loss = tf.reduce_mean(logits**2)
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)
    changed = [not np.array_equal(w, b) for w, b in zip(model.weights, before, strict=True)]
    assert [w.path.split("/")[-1] for w, c in zip(model.weights, changed, strict=True) if c] == [
        "moving_mean",
        "moving_variance",
    ]
    model.set_weights(before)
    exact = model(images, training=True).numpy()
    assert 0 < np.abs(exact - logits).max() < 0.05 * np.abs(exact).max()


def test_what_int8_loses_is_trained_back(run, with_options):
    """One channel 60 times the others: in one tensor of 8 bits the others nearly vanish."""
    settings = config.load(run.config_file)
    wide = keras.models.load_model(run.model_file)
    norm = next(x for x in wide.layers if isinstance(x, keras.layers.BatchNormalization))
    dense = wide.layers[-1]
    gamma, beta = norm.gamma.numpy(), norm.beta.numpy()
    kernel = dense.kernel.numpy().reshape(-1, len(gamma), 10)
    # The same function: the dense layer divides by what the normalization multiplies.
    factor = np.where(np.arange(len(gamma)) == 0, 60.0, 1.0)
    norm.gamma.assign(gamma * factor)
    norm.beta.assign(beta * factor)
    dense.kernel.assign((kernel / factor[None, :, None]).reshape(dense.kernel.shape))
    other = with_options("export.max_accuracy_loss=0.5")
    with runs.changing(other, other.model_file):
        models.save(wide, other.model_file)
    (record,) = exporters.export(other, ["litert"], ["int8"], callbacks=[])
    parity = record.parity
    before = record.qat.accuracy_before
    assert parity.reference_accuracy - before > 0.005
    assert parity.accuracy > before
    assert settings.seed == record.calibration.seed
