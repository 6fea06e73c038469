"""Gradients of Keras files, against gradients by hand, with what `Predictor` gives beside them."""

import keras
import numpy as np
import pytest
from helpers.networks import trained

from cifarnet import predictors
from cifarnet.errors import ArtifactError
from cifarnet.predictors import Preprocessing, gradients, keras_file

SIDE = 4


def pixels(count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def linear(units: int, activation: str = "linear", **shape) -> tuple[keras.Model, np.ndarray]:
    """A network that is one matrix product, and its weights [S, S, 3, units]."""
    dense = keras.layers.Dense(units, activation=activation)
    model = keras.Sequential(
        [keras.Input(**(shape or {"shape": (SIDE, SIDE, 3)})), keras.layers.Flatten(), dense]
    )
    weights = np.random.default_rng(1).normal(0, 0.1, (SIDE * SIDE * 3, units)).astype("f")
    dense.set_weights([weights, np.linspace(-1, 1, units).astype("f")])
    return model, weights.reshape(SIDE, SIDE, 3, units)


def loaded(model: keras.Model, folder, order=None, **said):
    model.save(folder / "model.keras")
    predictor = predictors.load(folder / "model.keras", preprocessing=Preprocessing(**said))
    return predictor, gradients.Differentiable(predictor, order)


@pytest.mark.parametrize(
    ("said", "factor"),
    [
        ({"input_range": "0-255"}, 1.0),
        ({"input_range": "0-1", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.5)}, 1 / 255),
        ({"input_range": "-1-1", "std": (0.2, 0.25, 0.5)}, 2 / 255),
    ],
)
@pytest.mark.parametrize("batch", [None, 2])
def test_the_preprocessing_of_a_foreign_file_is_in_logits_and_gradients(
    said, factor, batch, tmp_path
):
    model, weights = linear(3, batch_shape=(batch, SIDE, SIDE, 3))
    predictor, found = loaded(model, tmp_path, output_kind="logits", **said)
    logits = np.asarray(found.logits(pixels().astype(np.float32)))
    np.testing.assert_allclose(softmax(logits), predictor(pixels()), atol=1e-5)
    labels = np.array([0, 1, 2, 0, 1])
    expected = weights[..., labels].transpose(3, 0, 1, 2) * factor / np.array(said.get("std", 1.0))
    np.testing.assert_allclose(found.pixel_gradients(pixels(), labels), expected, rtol=1e-4)


def test_channels_first_is_transposed(tmp_path):
    dense = keras.layers.Dense(2)
    model = keras.Sequential([keras.Input((3, SIDE, SIDE)), keras.layers.Flatten(), dense])
    predictor, found = loaded(model, tmp_path, output_kind="logits", input_range="0-1")
    logits = np.asarray(found.logits(pixels().astype(np.float32)))
    np.testing.assert_allclose(softmax(logits), predictor(pixels()), atol=1e-6)
    first = dense.get_weights()[0][:, 0].reshape(3, SIDE, SIDE).transpose(1, 2, 0) / 255
    gradient = found.pixel_gradients(pixels(1), np.array([0]))
    np.testing.assert_allclose(gradient[0], first, rtol=1e-5)


def test_classes_come_in_the_order_asked_for(tmp_path):
    model, weights = linear(3)
    _, found = loaded(model, tmp_path, order=[2, 0, 1], output_kind="logits")
    logits = np.asarray(found.logits(pixels().astype(np.float32) / 255))
    expected = np.asarray(model(pixels().astype(np.float32) / 255))[:, [2, 0, 1]]
    np.testing.assert_allclose(logits, expected, rtol=1e-5)
    gradient = found.pixel_gradients(pixels(1), np.array([0]))
    np.testing.assert_allclose(gradient[0], weights[..., 2], rtol=1e-5)


@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize("activation", ["linear", "sigmoid", "softmax"])
def test_logits_stand_for_the_probabilities_that_the_file_gives(units, activation, tmp_path):
    if (units, activation) == (1, "softmax"):
        pytest.skip("a softmax of one column is always 1")
    model, _ = linear(units, activation)
    kind = "logits" if activation == "linear" else "probabilities"
    predictor, found = loaded(model, tmp_path, output_kind=kind, input_range="0-1")
    given = predictor(pixels())
    logits = np.asarray(found.logits(pixels().astype(np.float32)))
    assert logits.shape == (5, max(units, 2))
    expected = given / given.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax(logits), expected, atol=1e-6)


def test_a_probability_of_zero_has_a_finite_logit(tmp_path):
    model, _ = linear(3, "softmax")
    _, found = loaded(model, tmp_path, input_range="0-255", output_kind="probabilities")
    model.layers[-1].set_weights([np.zeros((48, 3), "f"), np.array([0, 500, 0], "f")])
    found.network.set_weights(model.get_weights())  # later calls use them
    logits = np.asarray(found.logits(pixels().astype(np.float32)))
    np.testing.assert_allclose(logits[0], [np.log(1e-37), 0, np.log(1e-37)], rtol=1e-5)


def convolutional(kind: str) -> keras.Model:
    """Build a network of one convolution, a ReLU, the sum over places, and a matrix product."""
    layers = [
        keras.layers.Conv2D(2, 3, activation="relu", name="inner"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3),
    ]
    inputs = keras.Input((SIDE, SIDE, 3))
    if kind == "sequential":
        return keras.Sequential([inputs, *layers])
    if kind == "nested":
        body = keras.Sequential([keras.Input((SIDE, SIDE, 3)), *layers[:2]])
        return keras.Sequential([inputs, body, layers[2]])
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("kind", ["functional", "sequential", "nested"])
def test_a_layer_has_activations_and_gradients_in_every_kind_of_network(kind, tmp_path):
    keras.utils.set_random_seed(0)
    model = convolutional(kind)
    _, found = loaded(model, tmp_path, output_kind="logits", input_range="0-255")
    [layer] = found.convolutions()
    labels = np.array([0, 1, 2, 0, 1])
    activations, gradient = found.layer_gradients(layer, pixels(), labels)
    kernel, bias, dense, _ = [np.asarray(one) for one in model.get_weights()]
    images, expected = pixels().astype(float), np.empty((5, 2, 2, 2))
    for y in range(2):
        for x in range(2):
            patch = images[:, y : y + 3, x : x + 3]
            expected[:, y, x] = np.tensordot(patch, kernel, ((1, 2, 3), (0, 1, 2))) + bias
    np.testing.assert_allclose(activations, np.maximum(expected, 0), rtol=1e-4, atol=1e-3)
    by_hand = np.broadcast_to(dense[:, labels].T[:, None, None] / 4, expected.shape)
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-5)
    assert "call" not in vars(layer)


def test_a_layer_of_a_network_of_a_fixed_batch(tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(batch_shape=(2, SIDE, SIDE, 3))
    convolution = keras.layers.Conv2D(2, 3)
    model = keras.Sequential(
        [inputs, convolution, keras.layers.Flatten(), keras.layers.Dense(3, use_bias=False)]
    )
    _, found = loaded(model, tmp_path, output_kind="logits", input_range="0-255")
    labels = np.array([0, 1, 2, 0, 1])
    activations, gradient = found.layer_gradients(found.convolutions()[0], pixels(), labels)
    every = np.asarray(convolution(pixels().astype(np.float32)))
    np.testing.assert_allclose(activations, every, rtol=1e-4, atol=1e-3)
    weights = model.layers[-1].get_weights()[0][:, labels].T.reshape(5, 2, 2, 2)
    np.testing.assert_allclose(gradient, weights, rtol=1e-5)


def test_convolutions_of_a_runs_network_are_in_order_without_inner_networks():
    model = trained(
        [
            {"Conv2D": {"filters": 2, "kernel_size": 3}},
            {"SeparableConv2D": {"filters": 4, "kernel_size": 3}},
            {
                "Residual": {
                    "layers": [{"Conv2D": {"filters": 4, "kernel_size": 3, "padding": "same"}}]
                }
            },
        ]
    )
    found = gradients.Differentiable(keras_file.from_model(model))
    kinds = [type(layer).__name__ for layer in found.convolutions()]
    assert kinds == ["Conv2D", "SeparableConv2D", "Conv2D"]


def test_a_layer_that_is_not_called_is_an_error(tmp_path):
    _, found = loaded(linear(3)[0], tmp_path)
    stranger = keras.layers.Dense(3, name="stranger")
    with pytest.raises(ArtifactError, match="do not depend on its layer stranger"):
        found.layer_gradients(stranger, pixels(), np.zeros(5, int))


def test_other_files_have_no_gradients():
    model = predictors.RuntimeModel(
        "ONNX Runtime 1",
        lambda images: np.zeros((len(images), 3), "f"),
        (None, 4, 4, 3),
        np.float32,
    )
    with pytest.raises(ArtifactError, match="need a Keras file, received one that ONNX Runtime 1"):
        gradients.Differentiable(predictors.Predictor(model))
