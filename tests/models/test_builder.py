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
