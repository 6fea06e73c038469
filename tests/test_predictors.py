"""Model files become one function from pixels to probabilities."""

from pathlib import Path

import keras
import numpy as np
import pytest

from cifarnet import config, models, predictors
from cifarnet.errors import ArtifactError

LAYERS = [{"Conv2D": {"filters": 4, "kernel_size": 3, "activation": "relu"}}, "BatchNormalization"]
HEAD = ["GlobalAveragePooling2D", {"Dense": {"units": 10}}]


def network(**options) -> keras.Model:
    grey = ((120.0,) * 3, (60.0,) * 3)
    layers = config.ModelConfig(layers=[*LAYERS, *HEAD])
    return models.build(layers, 32, 10, *grey, **options)


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("count", [0, 1, 7, 10])
def test_a_saved_model_predicts_softmax_of_its_logits(count, tmp_path):
    model = network(plain=True)
    models.save(model, tmp_path / "model.keras")
    predict = predictors.load(tmp_path / "model.keras", batch_size=5)
    given = predict(pixels(count))
    assert given.shape == (count, 10)
    assert given.dtype == np.float32
    if count:
        expected = keras.ops.softmax(model(pixels(count).astype(np.float32)))
        np.testing.assert_allclose(given, expected, atol=1e-6)


def test_a_bfloat16_model_gives_float32_probabilities():
    given = predictors.from_model(network(precision="bfloat16"))(pixels(3))
    assert given.dtype == np.float32
    np.testing.assert_allclose(given.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (pixels(2).astype(np.float32), "received float32"),
        (pixels(2)[:, :16], r"received uint8 \[2, 16, 32, 3\]"),
        (pixels(2)[0], r"received uint8 \[32, 32, 3\]"),
    ],
)
def test_wrong_images_are_refused(wrong, says):
    with pytest.raises(ArtifactError, match=says):
        predictors.from_model(network())(wrong)


def test_files_that_are_no_model_are_refused(tmp_path):
    (tmp_path / "bad.keras").write_bytes(b"not a model")
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"bad\.keras cannot be loaded"):
        predictors.load(tmp_path / "bad.keras")
    with pytest.raises(ArtifactError, match=r"expected a \.keras file, received \.bin"):
        predictors.load(tmp_path / "model.bin")
    with pytest.raises(ArtifactError, match="there is no model file"):
        predictors.load(tmp_path / "absent.keras")


def test_a_file_with_code_inside_is_refused_and_nothing_runs(tmp_path):
    marker = tmp_path / "ran"
    inputs = keras.Input((32, 32, 3))
    code = keras.layers.Lambda(lambda x, name=str(marker): (Path(name).touch(), x)[1])
    model = keras.Model(inputs, code(inputs))
    model.save(tmp_path / "code.keras")
    marker.unlink(missing_ok=True)
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        predictors.load(tmp_path / "code.keras")
    assert not marker.exists()


def test_a_model_of_something_else_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(10)])
    with pytest.raises(ArtifactError, match=r"expected a model of images"):
        predictors.from_model(model)
