"""Quantization-aware training: 8-bit kernels and activations, and what it wins back."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.networks import BODIES, CONV, METADATA, pixels, trained

from cifarnet import config, data, exporters, models, predictors, runs
from cifarnet.exporters import finetune, formats, pruning, qat


def test_kernels_are_quantized_to_127_steps_of_each_output():
    kernel = tf.constant([[[[1.0, -0.5], [0.013, 0.25]]]])  # [1, 1, 2, 2]: two outputs
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        quantized = qat.quantize_kernel(kernel, 2, bits=8)
    expected = [[1.0, -0.5], [2 / 127, round(0.25 * 254) / 254]]
    np.testing.assert_allclose(quantized[0, 0], expected, atol=1e-6)
    np.testing.assert_array_equal(tape.gradient(quantized, kernel), np.ones(kernel.shape))
    # With four outputs, each weight is the largest of its output.
    np.testing.assert_allclose(qat.quantize_kernel(kernel, 4, bits=8), kernel, atol=1e-6)
    coarse = qat.quantize_kernel(kernel, 2, bits=7)
    np.testing.assert_allclose(coarse[0, 0], [[1.0, -0.5], [1 / 63, 32 / 126]], atol=1e-6)


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
        logits = qat.quantized_forward(model, 8)(images)
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


# Whatever int8 loses.
ALL_ALLOWED = [
    "export.max_accuracy_loss=0.5",
    "export.max_loss_increase=10.0",
    "export.max_calibration_increase=1.0",
]


def damaged(run: runs.Run) -> keras.Model:
    """The run's network with a kernel that 8 bits hold coarsely.

    A feature that is always zero has a weight of 50, so that the scale of its output leaves the
    other weights, mostly below 0.2, at 0 or a step of 0.4.
    """
    model = keras.models.load_model(run.model_file)
    convolution, norm = (
        next(layer for layer in model.layers if isinstance(layer, kind))
        for kind in (keras.layers.Conv2D, keras.layers.BatchNormalization)
    )
    dense = model.layers[-1]
    convolution.kernel.assign(convolution.kernel.numpy() * (np.arange(8) > 0))
    convolution.bias.assign(np.where(np.arange(8) > 0, convolution.bias.numpy(), -1.0))
    for variable in (norm.gamma, norm.beta, norm.moving_mean):
        variable.assign(variable.numpy() * (np.arange(8) > 0))
    kernel = dense.kernel.numpy().reshape(-1, 8, 10)
    kernel[0, 0] = 50.0
    dense.kernel.assign(kernel.reshape(dense.kernel.shape))
    return model


@pytest.mark.parametrize("kind", ["litert", "onnx"])
def test_what_int8_loses_is_trained_back(kind, run, with_options, tmp_path):
    other = with_options(*ALL_ALLOWED)
    with runs.changing(other, other.model_file):
        models.save(damaged(run), other.model_file)
    (record,) = exporters.export(other, [kind], ["int8"], callbacks=[])
    parity, before = record.parity, record.qat.accuracy_before
    assert parity.reference_accuracy - before > 0.1
    assert parity.accuracy > before + 0.05
    # Fine-tuning without quantization wins back less.
    settings = config.load(run.config_file)
    assert settings.seed == record.calibration.seed
    dataset = data.load(settings.data, settings.seed)
    tuned = finetune.fine_tune(damaged(run), settings, dataset, epochs=2)
    file = formats.write(kind, "int8", tuned, dataset.train.pixels[:100], METADATA, tmp_path)
    found = predictors.load(file)(dataset.validation.pixels).argmax(axis=1)
    assert np.mean(found == dataset.validation.labels) < parity.accuracy


def test_a_pruned_network_keeps_its_zeros(run):
    settings = config.load(run.config_file)
    dataset = data.load(settings.data, settings.seed)
    options = config.PruneConfig(sparsity=0.5, epochs=0.1)
    pruned = pruning.prune(keras.models.load_model(run.model_file), settings, options, dataset)
    before = pruning.sparsity(pruned)
    assert before == pytest.approx(0.5, abs=0.01)
    tuned = qat.fine_tune_for_int8(pruned, settings, dataset, 8, optimizer=pruning.keep_zeros)
    assert pruning.sparsity(tuned) == before
    assert not np.array_equal(tuned.weights[-2], pruned.weights[-2])


def test_a_worse_network_is_not_taken_nor_recorded(run, with_options, monkeypatch):
    """The training for int8 gives a network of zeros; it is of the bits that each format has."""
    widths = []

    def zeros(trained, _config, _dataset, weight_bits, **_):
        widths.append(weight_bits)
        other = keras.models.clone_model(trained)
        other.set_weights([np.zeros(w.shape) for w in trained.weights])
        return other

    monkeypatch.setattr(qat, "fine_tune_for_int8", zeros)
    other = with_options(*ALL_ALLOWED)
    with runs.changing(other, other.model_file):
        models.save(damaged(run), other.model_file)
    record, *_ = exporters.export(other, ["litert", "onnx", "triton"], ["int8"], callbacks=[])
    assert record.qat is None
    assert record.parity.accuracy > 0.2
    assert widths == [8, 7]
