"""Keras files of other versions, with several outputs, or of an open size."""

import json
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from cifarnet import predictors
from cifarnet.errors import ArtifactError, ConfigError
from cifarnet.predictors import Preprocessing, keras_config

# Written by tf-keras 2.21: RandomFlip, DepthwiseConv2D, BatchNormalization, SeparableConv2D,
# SpatialDropout2D, Conv2DTranspose, LSTM; what it predicted for `pixels(8)` is in `expected.npy`.
KERAS_2 = Path(__file__).parents[1] / "fixtures" / "keras-2.21"


def pixels(size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_file_of_keras_2_predicts_what_keras_2_predicted(name):
    predictor = predictors.load(KERAS_2 / name)
    expected = np.load(KERAS_2 / "expected.npy")
    np.testing.assert_allclose(predictor(pixels(8)), expected, atol=1e-5)


def test_an_activation_that_changed_its_meaning_is_refused():
    with pytest.raises(ArtifactError, match=r"by Keras 2\.21\.0, .* hard_sigmoid is another funct"):
        predictors.load(KERAS_2 / "hard_sigmoid.h5")


@pytest.mark.parametrize(
    ("layer", "keyword", "value"),
    [
        ("DepthwiseConv2D", "groups", 2),
        ("DepthwiseConv2D", "groups", True),
        ("LSTM", "time_major", True),
        ("SpatialDropout2D", "noise_shape", [1]),
        ("Conv2D", "batch_input_shape", [1, 8, 8, 3]),
        ("BatchNormalization", "axis", [1, 2]),
        ("SeparableConv2D", "kernel_constraint", {"class_name": "NonNeg", "config": {}}),
    ],
)
def test_a_keyword_that_says_something_stays(layer, keyword, value):
    config = {"layers": [{"class_name": layer, "config": {keyword: value}}]}
    assert keras_config.simplify(config) == config


def test_an_input_of_a_fixed_batch_stays():
    config = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 8, 8, 3]}}
    assert keras_config.simplify(config) == config


def changed(folder: Path, **keywords: object) -> Path:
    """Write a file whose convolution has further keywords."""
    path = folder / "model.keras"
    keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3), keras.layers.GlobalMaxPooling2D()]
    ).save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["layers"][1]["config"].update(keywords)
    members["config.json"] = json.dumps(config).encode()
    members["metadata.json"] = b'{"keras_version": "3.1.4"}'
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_refused_file_says_the_last_reason_and_who_wrote_it(tmp_path):
    path = changed(tmp_path, nonsense=3)
    says = (
        rf"written by Keras 3\.1\.4, read by {keras.__version__}\): Unrecognized keyword arguments "
        r"passed to Conv2D: {'nonsense': 3}$"
    )
    with pytest.raises(ArtifactError, match=says):
        predictors.load(path)


def test_a_file_of_an_older_keras_3_loads_beside_a_keyword_that_says_nothing(tmp_path):
    path = changed(tmp_path, time_major=False, batch_input_shape=[None, 8, 8, 3])
    assert predictors.load(path)(pixels(8)).shape == (2, 2)
    assert list(tmp_path.iterdir()) == [path]


def two_heads(folder: Path) -> tuple[Path, keras.Model]:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    flat = keras.layers.Flatten()(keras.layers.Conv2D(2, 3, strides=4)(inputs))
    heads = [keras.layers.Dense(units, name=name)(flat) for units, name in ((10, "a"), (2, "b"))]
    model = keras.Model(inputs, heads)
    path = folder / "two.keras"
    model.save(path)
    return path, model


def test_one_of_several_outputs_is_named(tmp_path):
    path, model = two_heads(tmp_path)
    says = r"it has 2 outputs: a \[None, 10\], b \[None, 2\]\. State .* --output-name a"
    with pytest.raises(ArtifactError, match=says):
        predictors.load(path)
    with pytest.raises(ArtifactError, match="it has no output 'c'"):
        predictors.load(path, preprocessing=Preprocessing(output_name="c"))
    predictor = predictors.load(path, preprocessing=Preprocessing(output_name="b"))
    expected = keras.ops.softmax(model(pixels().astype(np.float32))[1])
    np.testing.assert_allclose(predictor(pixels()), np.asarray(expected), atol=1e-5)


def open_size(folder: Path) -> Path:
    path = folder / "open.keras"
    keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5, activation="softmax"),
        ]
    ).save(path)
    return path


def test_an_open_image_size_is_stated(tmp_path):
    path = open_size(tmp_path)
    with pytest.raises(ArtifactError, match=r"leaves the size of the images open; .*--image-size"):
        predictors.load(path)
    predictor = predictors.load(path, preprocessing=Preprocessing(image_size=24))
    assert (predictor.size, predictor(pixels(24)).shape) == (24, (2, 5))


def test_a_stated_image_size_must_be_the_networks(tmp_path):
    path = changed(tmp_path)
    with pytest.raises(ArtifactError, match="takes images of 8 pixels, received --image-size 32"):
        predictors.load(path, preprocessing=Preprocessing(image_size=32))
    with pytest.raises(ConfigError, match="image_size: expected 1 to"):
        Preprocessing(image_size=0)


def head(folder: Path, units: int, activation: str) -> tuple[Path, np.ndarray]:
    """Write a network, and return what its last layer gives for `pixels()`."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Rescaling(1 / 50, offset=-2.5),
            keras.layers.Conv2D(3, 3, strides=4),
            keras.layers.Flatten(),
            keras.layers.Dense(units, activation=activation),
        ]
    )
    path = Path(shutil.copy(save(model, folder), folder / f"{activation}{units}.keras"))
    return path, np.asarray(model(pixels().astype(np.float32)))


def save(model: keras.Model, folder: Path) -> Path:
    model.save(folder / "saved.keras")
    return folder / "saved.keras"


def test_one_column_is_the_second_of_two_classes(tmp_path):
    path, second = head(tmp_path, 1, "sigmoid")
    predictor = predictors.load(path)
    assert predictor.classes == 2
    np.testing.assert_allclose(predictor(pixels()), np.hstack([1 - second, second]), atol=1e-6)
    said = "one column of probabilities out, of the second class (--output-kind)"
    assert said in predictor.assumed


def test_one_column_of_logits_goes_through_a_sigmoid(tmp_path):
    path, logit = head(tmp_path, 1, "linear")
    predictor = predictors.load(path, preprocessing=Preprocessing(output_kind="logits"))
    second = 1 / (1 + np.exp(-logit))
    np.testing.assert_allclose(predictor(pixels()), np.hstack([1 - second, second]), atol=1e-6)
    assert not any("--output-kind" in text for text in predictor.assumed)


@pytest.mark.parametrize("kind", [None, "probabilities"])
def test_independent_sigmoids_are_probabilities(kind, tmp_path):
    path, scores = head(tmp_path, 10, "sigmoid")
    assert np.abs(scores.sum(axis=1) - 1).min() > 0.5
    predictor = predictors.load(path, preprocessing=Preprocessing(output_kind=kind))
    np.testing.assert_allclose(predictor(pixels()), scores, atol=1e-6)
    said = [text for text in predictor.assumed if "independent probabilities out" in text]
    assert len(said) == (kind is None)
