"""Layer lists become Keras models; what does not fit is refused by place and reason."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from cifarnet import config, models
from cifarnet.errors import ModelError

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
GRAY = ((120.0, 121.0, 122.0), (60.0, 61.0, 62.0))
HEAD = ["GlobalAveragePooling2D", {"Dense": {"units": 10}}]


def build(layers: list, normalize: str = "standard", **options) -> keras.Model:
    network = config.ModelConfig(layers=layers, normalize=normalize)
    return models.build(network, 32, 10, *GRAY, **options)


def pixels(count: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3)).astype(np.float32)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_builds_and_gives_logits(path):
    settings = config.load(path)
    model = models.build(settings.model, settings.data.image_size, 10, *GRAY)
    logits = np.asarray(model(pixels()))
    assert logits.shape == (4, 10)
    assert np.isfinite(logits).all()
    assert not np.allclose(logits.sum(axis=1), 1)  # probabilities would sum to 1


def test_the_articles_network_has_the_known_size():
    settings = config.load(next(p for p in CONFIGS if p.stem == "article"))
    layers = models.summary(models.build(settings.model, 32, 10, *GRAY))
    # By hand: 3x3x3x32+32, 3x3x32x64+64, 6x6x64x64+64, 64x10+10.
    assert sum(layer.parameters for layer in layers) == 896 + 18_496 + 147_520 + 650
    # 30x30 and 13x13 positions, then the two dense layers.
    expected = 900 * 864 + 169 * 18_432 + 147_456 + 640
    assert sum(layer.macs for layer in layers) == expected


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [
        ("unit", lambda x: x / 255),
        ("none", lambda x: x),
        ("standard", lambda x: (x - np.array(GRAY[0])) / np.array(GRAY[1])),
    ],
)
def test_normalization_is_inside_the_model(normalize, expected):
    model = build(HEAD, normalize)
    inside = keras.Model(model.input, model.get_layer("normalize").output)
    np.testing.assert_allclose(inside(pixels()), expected(pixels()), rtol=1e-5, atol=1e-5)


def test_residual_adds_its_branches():
    same = {"Conv2D": {"filters": 3, "kernel_size": 1, "kernel_initializer": "ones"}}
    model = build([{"Residual": {"layers": [same], "shortcut": [same]}}, *HEAD], "none")
    added = keras.Model(model.input, model.layers[-3].output)
    total = pixels().sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(added(pixels()), np.repeat(2 * total, 3, axis=-1), rtol=1e-5)


def test_residual_without_a_shortcut_adds_the_input_and_nests():
    zero = {"Conv2D": {"filters": 3, "kernel_size": 1, "kernel_initializer": "zeros"}}
    inner = {"Residual": {"layers": [zero]}}
    model = build([{"Residual": {"layers": [inner]}}, *HEAD], "none")
    added = keras.Model(model.input, model.layers[-3].output)
    np.testing.assert_allclose(added(pixels()), 2 * pixels(), rtol=1e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_keeps_weights_in_float32(precision):
    model = build([{"Conv2D": {"filters": 4, "kernel_size": 3}}, *HEAD], precision=precision)
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert model.layers[2].compute_dtype == precision


def test_depthwise_and_separable_macs():
    layers = [
        {"DepthwiseConv2D": {"kernel_size": 3, "padding": "same"}},
        {"SeparableConv2D": {"filters": 8, "kernel_size": 3, "padding": "same"}},
    ]
    table = models.summary(build([*layers, *HEAD]))
    assert [row.macs for row in table[2:4]] == [1024 * 27, 1024 * (27 + 24)]


CONV = {"Conv2D": {"filters": 8, "kernel_size": 3}}


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([{"Conv2D": {"filters": 8}}], ["model.layers[0] (Conv2D)", "kernel_size"]),
        ([CONV, {"Conv2D": {"filters": 8, "kernel_size": 40}}], ["model.layers[1]", "negative"]),
        ([{"Conv2D": {"filters": 8, "kernel_size": 3, "strids": 2}}], ["[0]", "strids"]),
        ([{"Conv2D": {"filters": 8, "kernel_size": 3, "pooling": None}}], ["[0]", "pooling"]),
        (["Conv2"], ["model.layers[0] (Conv2)", "did you mean", "Conv2D"]),
        (["keras"], ["model.layers[0] (keras)", "expected the name of a Keras layer"]),
        (["Lambda"], ["not allowed"]),
        (["TFSMLayer"], ["not allowed"]),
        (["RandomFlip"], ["data.augment"]),
        (["Flatten", {"Dense": {"units": 11}}], ["(None, 11)", "(None, 10)", "Dense: {units: 10}"]),
        ([{"Dense": {"units": 10}}], ["(None, 32, 32, 10)", "Flatten"]),
        ([{"Residual": {"layers": [CONV]}}], ["(None, 30, 30, 8)", "(None, 32, 32, 3)"]),
        ([{"Residual": {"layer": [CONV]}}], ["Residual", "layers: [...]", "'layer'"]),
        ([{"Residual": {"layers": [{"Dense": {}}]}}], ["(Residual).layers[0] (Dense)", "units"]),
        ([{"Residual": {"layers": 3}}], ["(Residual).layers", "expected a list"]),
    ],
)
def test_what_does_not_fit_is_refused_by_place_and_reason(layers, says):
    with pytest.raises(ModelError) as caught:
        build(layers)
    for text in says:
        assert text in str(caught.value)


WHITENING = {
    "Conv2D": {
        "filters": 24,
        "kernel_size": 2,
        "use_bias": False,
        "kernel_initializer": "whitening",
        "trainable": False,
    }
}


def test_whitening_kernels_are_computed_from_the_images():
    images = np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3), np.uint8)
    keras.utils.set_random_seed(0)
    others = build([WHITENING, CONV, *HEAD]).weights[1:]
    keras.utils.set_random_seed(0)
    model = build([WHITENING, CONV, *HEAD], images=images)
    inside = keras.Model(model.input, model.layers[2].output)
    outputs = np.asarray(inside(images.astype(np.float32)))[..., :12].reshape(-1, 12)
    # Random pixels have a variance near 1.5 after normalization: epsilon hardly matters.
    np.testing.assert_allclose(outputs.T @ outputs / len(outputs), np.eye(12), atol=5e-3)
    for before, after in zip(others, model.weights[1:], strict=True):
        np.testing.assert_array_equal(before, after)
    assert len(model.trainable_weights) == len(model.weights) - 1


def test_the_whitening_kernel_is_fixed_but_its_bias_is_trained():
    layer = {"filters": 24, "kernel_size": 2, "kernel_initializer": "whitening"}
    model = build([{"Conv2D": layer}, *HEAD], images=pixels(8).astype(np.uint8))
    kernel, bias, *_ = model.weights
    assert all(weight is not kernel for weight in model.trainable_weights)
    assert any(weight is bias for weight in model.trainable_weights)


def test_whitening_refuses_another_number_of_filters():
    layer = {"Conv2D": {**WHITENING["Conv2D"], "filters": 20}}
    with pytest.raises(ModelError, match="2 x 2 kernel gives 24 filters, received filters: 20"):
        build([layer, *HEAD], images=np.zeros((2, 32, 32, 3), np.uint8))


def test_saving_is_loadable_without_cifarnet(tmp_path):
    dirac = {"filters": 24, "kernel_size": 3, "padding": "same", "kernel_initializer": "dirac"}
    body = [WHITENING, {"Residual": {"layers": [{"Conv2D": dirac}, "BatchNormalization"]}}]
    model = build([*body, *HEAD])
    models.save(model, tmp_path / "model.keras")
    assert "cifarnet" not in model.to_json()
    np.save(tmp_path / "pixels.npy", pixels())
    code = (
        "import sys, keras, numpy as np\n"
        "model = keras.models.load_model('model.keras')\n"
        "np.save('logits.npy', model(np.load('pixels.npy')))\n"
        "assert 'cifarnet' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), model(pixels()), atol=1e-6)


# --- activations at the end, and real images ------------------------------------------

DENSE = {"Dense": {"units": 10}}


def refusal(layers: list, **options) -> str:
    with pytest.raises(ModelError) as caught:
        build(layers, **options)
    return str(caught.value)


def test_the_activation_layers_are_all_that_keras_has():
    found = {
        name
        for name in dir(keras.layers)
        if ".layers.activations." in getattr(getattr(keras.layers, name), "__module__", "")
    }
    assert found == {"Activation", "ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax"}
    for name in found:
        kwargs = {"activation": "sigmoid"} if name == "Activation" else {}
        message = refusal(["Flatten", DENSE, {name: kwargs}])
        assert message.startswith(f"model.layers[2] ({name}): the network ends in this activation")
        assert "Remove the layer" in message


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "relu", "tanh", "gelu", "log_softmax"])
def test_an_activation_of_the_last_layer_is_refused_with_the_remedy(name):
    message = refusal(["Flatten", {"Dense": {"units": 10, "activation": name}}])
    assert message.startswith("model.layers[1] (Dense): ")
    assert f"Remove `activation: {name}`. The network must end in logits" in message


@pytest.mark.parametrize(
    "after",
    [
        "Flatten",
        "Identity",
        {"Reshape": {"target_shape": [10]}},
        {"Dropout": {"rate": 0.5}},
        {"Activation": {"activation": "linear"}},
        {"Rescaling": {"scale": 1.0}},
        "ActivityRegularization",
    ],
    ids=str,
)
def test_a_layer_that_changes_nothing_does_not_hide_an_activation(after):
    last = {"Dense": {"units": 10, "activation": "softmax"}}
    for precision in ("float32", "bfloat16"):
        message = refusal(["Flatten", last, after], precision=precision)
        assert "[1] (Dense): the network ends in an activation" in message


def test_a_pooling_of_one_position_does_not_hide_an_activation_and_one_of_many_is_none():
    last = {"filters": 10, "kernel_size": 32, "activation": "relu"}
    assert "model.layers[0] (Conv2D)" in refusal([{"Conv2D": last}, "GlobalAveragePooling2D"])
    build([{"Conv2D": {**last, "kernel_size": 31}}, "GlobalAveragePooling2D"])
    build(
        ["Flatten", {"Dense": {"units": 10, "activation": "tanh"}}, {"Rescaling": {"scale": 9.0}}]
    )


def test_recurrent_layers_end_in_their_activation_unless_it_is_linear():
    steps = {"Reshape": {"target_shape": [64, 48]}}
    for name in ("LSTM", "GRU", "SimpleRNN"):
        assert "Add a Dense layer" in refusal([steps, {name: {"units": 10}}])
        build([steps, {name: {"units": 10, "activation": "linear"}}])
        build([steps, {name: {"units": 10}}, DENSE])


def test_a_residual_ends_in_an_activation_where_both_branches_do():
    relu = {"Dense": {"units": 10, "activation": "relu"}}
    build(["Flatten", DENSE, {"Residual": {"layers": [relu]}}])
    both = {"Residual": {"layers": [relu], "shortcut": ["ReLU"]}}
    assert "(Residual).layers[0] (Dense): the network ends" in refusal(["Flatten", DENSE, both])
    message = refusal(["Flatten", DENSE, "Softmax", {"Residual": {"layers": ["Identity"]}}])
    assert "model.layers[2] (Softmax)" in message


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        (
            [{"Conv2D": {"filters": 8, "kernel_size": 3, "activation": "glu"}}],
            "[0] (Conv2D): it gives shape (30, 30, 4) for each image, where Keras infers (30, 30,",
        ),
        (["Flatten", {"Dense": {"units": 20, "activation": "glu"}}], "[1] (Dense): it gives shape"),
        ([{"Activation": {"activation": "glu"}}], "[0] (Activation): it fails on real images"),
        (
            ["Flatten", {"AdaptiveAveragePooling1D": {"output_size": 4}}],
            "[1] (AdaptiveAveragePooling1D): it fails on real images",
        ),
        (["Equalization"], "[0] (Equalization): Keras cannot have this layer inside a model"),
        (
            [{"Reshape": {"target_shape": [64, 48]}}, {"LSTM": {"units": 4, "return_state": True}}],
            "[1] (LSTM): expected a layer of one output",
        ),
    ],
)
def test_what_fails_on_real_images_is_the_layers_fault(layers, says):
    message = refusal([*layers, "Flatten", DENSE])
    assert says in message
    assert "\x1b" not in message


def test_values_that_are_not_finite_are_the_layers_fault():
    layers = ["Flatten", {"Activation": {"activation": "exponential"}}, DENSE]
    build(layers)
    message = refusal(layers, normalize="none")
    assert "[1] (Activation): it gives values that are not finite in float32" in message


def test_channels_first_which_a_processor_has_in_graphs_only_builds():
    conv = {"filters": 8, "kernel_size": 3, "data_format": "channels_first"}
    model = build([{"Permute": {"dims": [3, 1, 2]}}, {"Conv2D": conv}, "Flatten", DENSE])
    kernel, outputs = 3 * 3 * 3 * 8, 30 * 30
    assert models.total_macs(model) == kernel * outputs + 8 * outputs * 10


def test_real_images_change_neither_weights_nor_the_random_state(monkeypatch):
    drop = {"SpatialDropout2D": {"rate": 0.5}}
    layers = [CONV, "BatchNormalization", drop, {"GaussianNoise": {"stddev": 1.0}}, *HEAD]

    def state() -> list[np.ndarray]:
        keras.utils.set_random_seed(0)
        model = build(layers)
        return [np.asarray(x) for x in (*model.variables, keras.random.normal((3,)))]

    built = state()
    monkeypatch.setattr("cifarnet.models.builder._computed", lambda _, inputs, *__: inputs)
    for one, other in zip(built, state(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "kwargs", "says"),
    [
        ("Conv2D", {"filter": 8}, "unknown argument `filter`; did you mean `filters`?"),
        ("Conv2D", {"filter": 8}, "it needs `kernel_size:`"),
        ("Conv2D", {"filters": 8, "kernel_size": 3, "strids": 2}, "did you mean `strides`?"),
        ("Dense", {"units": 8, "zz": 1}, "unknown argument `zz`; known here: units, activation"),
        ("Dropout", {"rat": 0.5}, "did you mean `rate`?"),
        ("Dense", {"units": 8, "nam": "a"}, "did you mean `name`?"),
        ("Dense", {}, "it needs `units:`"),
    ],
)
def test_an_unknown_argument_is_told_with_the_nearest_known_one(name, kwargs, says):
    message = refusal([{name: kwargs}, *HEAD])
    assert message.startswith(f"model.layers[0] ({name}): ")
    assert says in message
