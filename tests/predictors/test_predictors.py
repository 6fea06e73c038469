"""Model files become one function from pixels to probabilities."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.networks import small

from cifarnet import models, predictors
from cifarnet.errors import ArtifactError, ConfigError
from cifarnet.predictors import keras_file


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("count", [0, 1, 7, 10])
def test_a_saved_model_predicts_softmax_of_its_logits(count, tmp_path):
    model = small()
    models.save(model, tmp_path / "model.keras")
    predict = predictors.load(tmp_path / "model.keras", batch_size=5)
    given = predict(pixels(count))
    assert given.shape == (count, 10)
    assert given.dtype == np.float32
    if count:
        expected = keras.ops.softmax(model(pixels(count).astype(np.float32)))
        np.testing.assert_allclose(given, expected, atol=1e-6)


def test_a_bfloat16_model_gives_float32_probabilities():
    given = keras_file.from_model(small(precision="bfloat16"))(pixels(3))
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
        keras_file.from_model(small())(wrong)


def test_files_that_are_no_model_are_refused(tmp_path):
    (tmp_path / "bad.keras").write_bytes(b"not a model")
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"bad\.keras cannot be loaded"):
        predictors.load(tmp_path / "bad.keras")
    with pytest.raises(ArtifactError, match=r"expected a \.keras, .* received 'model\.bin'"):
        predictors.load(tmp_path / "model.bin")
    with pytest.raises(ArtifactError, match="there is no model file"):
        predictors.load(tmp_path / "absent.keras")


@pytest.mark.parametrize(
    ("suffix", "cause"),
    [
        (".keras", "file signature not found"),
        (".h5", "file signature not found"),
        (".onnx", "protobuf parsing failed"),
        (".tflite", "expected TFL3 at byte 4"),
    ],
)
def test_a_broken_file_keeps_the_runtimes_own_error(suffix, cause, tmp_path):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(b"not a model")
    with pytest.raises(
        ArtifactError, match=f"broken{suffix} cannot be loaded: .*{cause}"
    ) as caught:
        predictors.load(path)
    assert cause in str(caught.value.__cause__)


@pytest.mark.parametrize("name", ["code.keras", "code.h5"])
def test_a_file_with_code_inside_is_refused_and_nothing_runs(name, tmp_path):
    marker = tmp_path / "ran"
    inputs = keras.Input((32, 32, 3))
    code = keras.layers.Lambda(lambda x, name=str(marker): (Path(name).touch(), x)[1])
    model = keras.Model(inputs, code(inputs))
    model.save(tmp_path / name)
    marker.unlink(missing_ok=True)
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        predictors.load(tmp_path / name)
    assert not marker.exists()


def test_a_model_of_something_else_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(10)])
    with pytest.raises(ArtifactError, match="expected a model of square RGB images"):
        keras_file.from_model(model)


# --- foreign files ----------------------------------------------------------------------


def foreign(last: str, suffix: str, folder):
    """A file that cifarnet did not write, and its model."""
    keras.utils.set_random_seed(3)
    layers = [
        keras.Input((32, 32, 3)),
        keras.layers.Conv2D(4, 3, strides=4, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(10, activation=last),
    ]
    model = keras.Sequential(layers)
    path = folder / f"foreign{suffix}"
    model.save(path)
    return path, model


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_foreign_file_lists_its_assumptions(suffix, tmp_path):
    path, model = foreign("softmax", suffix, tmp_path)
    predictor = predictors.load(path)
    expected = np.asarray(model(pixels(4).astype(np.float32)))
    np.testing.assert_allclose(predictor(pixels(4)), expected, atol=1e-6)
    said = " ".join(predictor.assumed)
    assert "pixels 0-255 (--input-range)" in said
    assert "probabilities out, from its outputs (--output-kind)" in said
    assert predictor.classes == 10


def test_a_foreign_file_gets_the_stated_preprocessing(tmp_path):
    path, model = foreign("linear", ".keras", tmp_path)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)
    said = predictors.Preprocessing("0-1", mean, std, "nhwc", "logits")
    predictor = predictors.load(path, preprocessing=said)
    inputs = (pixels(4).astype(np.float32) / 255 - mean) / std
    expected = keras.ops.softmax(model(inputs.astype(np.float32)))
    np.testing.assert_allclose(predictor(pixels(4)), np.asarray(expected), atol=1e-5)
    assert predictor.assumed == []


def test_logits_are_distinguished_from_probabilities(tmp_path):
    path, model = foreign("linear", ".keras", tmp_path)
    predictor = predictors.load(path)
    assert "logits out, from its outputs (--output-kind)" in predictor.assumed
    expected = keras.ops.softmax(model(pixels(4).astype(np.float32)))
    np.testing.assert_allclose(predictor(pixels(4)), np.asarray(expected), atol=1e-5)


def test_integer_inputs_are_quantized_by_the_files_own_constants():
    """Inputs stand for scale x (q - zero); this network returns the mean of its inputs."""
    seen = []

    def run(inputs):
        seen.append(inputs)
        values = 0.01 * (inputs.astype(np.float32) + 100)
        return np.repeat(values.mean(axis=(1, 2, 3))[:, None], 2, axis=1)

    network = predictors.RuntimeModel(
        "none", run, (2, 8, 8, 3), np.int8, scale=0.01, zero_point=-100
    )
    said = predictors.Preprocessing("0-1", output_kind="probabilities")
    predictor = predictors.Predictor(network, preprocessing=said)
    images = np.full((3, 8, 8, 3), 51, np.uint8)  # 0.2 of 255
    np.testing.assert_allclose(predictor(images), 0.2, atol=1e-6)
    assert all(one.dtype == np.int8 and len(one) == 2 for one in seen)  # whole batches
    assert seen[-1].max() == -80


def test_channels_first_is_found_and_fed():
    given = []

    def run(inputs):
        given.append(inputs)
        return np.tile(np.float32([0.25, 0.75]), (len(inputs), 1))

    predictor = predictors.Predictor(
        predictors.RuntimeModel("none", run, (None, 3, 32, 32), np.float32)
    )
    predictor(pixels(4))
    np.testing.assert_array_equal(given[-1], pixels(4).transpose(0, 3, 1, 2))
    assert "layout nchw, from the input's shape (--layout)" in predictor.assumed


def test_a_saved_model_that_touches_files_is_refused(tmp_path):
    class Reads(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 3], tf.float32)])
        def serve(self, images):
            text = tf.io.read_file("/etc/hostname")
            return tf.zeros([tf.shape(images)[0], 10]) + tf.cast(
                tf.strings.length(text), tf.float32
            )

    module = Reads()
    tf.saved_model.save(module, str(tmp_path / "reads"), signatures=module.serve)
    with pytest.raises(ArtifactError, match="operations that are not safe: ReadFile"):
        predictors.load(tmp_path / "reads")


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".onnx", ".tflite"])
def test_a_damaged_file_is_refused_or_still_a_model(suffix, saved, tmp_path):
    whole = saved(suffix).read_bytes()
    path = tmp_path / f"damaged{suffix}"
    random = np.random.default_rng(0)
    harmed = [b"", b"\0" * 100, b"PK\x03\x04", whole[: len(whole) // 2], whole[50:]]
    for at in random.integers(0, len(whole), 25):
        harmed.append(whole[:at] + bytes([whole[at] ^ 1 << random.integers(8)]) + whole[at + 1 :])
    refused = 0
    for content in harmed:
        path.write_bytes(content)
        try:
            assert predictors.load(path)(pixels(2)).shape[0] == 2
        except ArtifactError as error:
            assert "damaged" in str(error) or "failed" in str(error)
            refused += 1
    assert refused >= 5


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".onnx", ".tflite"])
def test_a_gigantic_file_is_refused_without_being_read(suffix, tmp_path):
    path = tmp_path / f"gigantic{suffix}"
    with path.open("wb") as file:
        file.truncate(2_000_000_000)  # no byte of it is on the disk
    with pytest.raises(ArtifactError, match="has 2,000,000,000 bytes, expected at most"):
        predictors.load(path)


def test_weights_that_claim_a_terabyte_or_lie_elsewhere_are_refused(tmp_path):
    huge, other, packed = (tmp_path / name for name in ("huge.h5", "other.h5", "packed.keras"))
    with h5py.File(huge, "w") as file:
        file.create_dataset("kernel", (1 << 38,), "f4", chunks=True, compression="gzip")
    with h5py.File(other, "w") as file:
        file.create_dataset("kernel", (4,), "f4", external=[("/etc/passwd", 0, 16)])
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(1_100_000_000))
    for path, says in ((huge, "claim more"), (other, "in another file"), (packed, "unpacks to")):
        with pytest.raises(ArtifactError, match=says):
            predictors.load(path)


@pytest.mark.parametrize("text", ["[1]", "{", '{"classes": 3}', '{"classes": [1]}', "[" * 100_000])
def test_metadata_of_another_form_is_refused(text, saved, tmp_path):
    path = Path(shutil.copy(saved(".keras"), tmp_path))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(keras_file.METADATA, text)
    with pytest.raises(ArtifactError, match="metadata cannot be read"):
        predictors.load(path)


def test_a_saved_model_that_writes_files_is_refused(tmp_path):
    """Saving is what every SavedModel can do, but not while it predicts."""

    class Writes(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 3], tf.float32)])
        def serve(self, images):
            tf.raw_ops.SaveV2(
                prefix=str(tmp_path / "stolen"),
                tensor_names=["x"],
                shape_and_slices=[""],
                tensors=[tf.zeros(1)],
            )
            return tf.zeros([tf.shape(images)[0], 10])

    module = Writes()
    tf.saved_model.save(module, str(tmp_path / "writes"), signatures=module.serve)
    with pytest.raises(ArtifactError, match="operations that are not safe: SaveV2"):
        predictors.load(tmp_path / "writes")
    assert not list(tmp_path.glob("stolen*"))


def test_a_missing_extra_is_named_with_its_command(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictors.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ArtifactError, match=r"pip install 'cifarnet\[onnx\]'"):
            predictors.load(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"input_range": "0..1"}, "input_range: expected one of 0-255, 0-1, -1-1; received '0..1'"),
        ({"layout": "hwc"}, "layout: expected one of nhwc, nchw; received 'hwc'"),
        ({"std": (0, 1, 1)}, "std: expected three numbers that are not 0, received"),
        ({"mean": (1, 2)}, "mean: expected three numbers, received"),
        ({"mean": (1, 2, float("nan"))}, "mean: expected three numbers, received"),
    ],
    ids=str,
)
def test_preprocessing_is_checked(values, says):
    with pytest.raises(ConfigError, match=says):
        predictors.Preprocessing(**values)


def test_preprocessing_takes_an_array():
    stated = predictors.Preprocessing(mean=np.array([1, 2, 3]), std=[0.5, 0.5, 0.5])
    assert (stated.mean, stated.std) == ((1.0, 2.0, 3.0), (0.5, 0.5, 0.5))


def test_a_saved_model_as_the_first_thing_starts_tensorflow_as_the_rest_does(tmp_path):
    small().export(tmp_path / "saved", verbose=False)
    code = f"import cifarnet; cifarnet.load_predictor({str(tmp_path / 'saved')!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Notices that TensorFlow prints on import, unless `cifarnet.backend` imports it.
    assert "cpu_feature_guard" not in done.stderr and "oneDNN" not in done.stderr
