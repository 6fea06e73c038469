"""LiteRT files of others: quantization that says the input, standard metadata, several outputs."""

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import flatbuffers
import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from cifarnet import predictors
from cifarnet.errors import ArtifactError
from cifarnet.predictors import Preprocessing, inputs, litert_metadata, outputs

SIZE = 8


def pixels(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def network(classes: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(classes, activation="softmax"),
        ]
    )


def converted(model: keras.Model, low: float = 0, high: float = 0, dtype: type = np.uint8) -> bytes:
    """Return a LiteRT file; int8 for inputs of `low` to `high` if they differ."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if high > low:

        def images():
            for image in pixels(64):
                image[0, 0], image[0, 1] = 0, 255
                yield [(low + image[None] / 255 * (high - low)).astype(np.float32)]

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = images
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(dtype)
    return converter.convert()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0, 255)])
def test_a_quantized_input_says_its_range(low, high, dtype, tmp_path):
    model = network(5)
    path = tmp_path / "model.tflite"
    path.write_bytes(converted(model, low, high, dtype))
    predictor = predictors.load(path)
    assert not any("0-255 (" in text or "--mean" in text for text in predictor.assumed)
    if high != 255:
        said = f"pixels {low}-{high}, from the input's quantization (--input-range)"
        assert said in predictor.assumed
    values = (low + pixels() / 255 * (high - low)).astype(np.float32)
    np.testing.assert_allclose(predictor(pixels()), model(values), atol=0.06)


def test_other_quantization_is_told_not_believed(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(converted(network(5), -2.5, 2.5))
    said = predictors.load(path).assumed[0]
    assert re.fullmatch(
        r"pixels 0-255, but its input is for -2\.[45]\d* to 2\.[45]\d* \(--input-range\)", said
    )


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point", "found"),
    [
        (np.int8, 1 / 127.5, 0, "-1-1"),
        (np.uint8, 1 / 128, 128, "-1-1"),
        (np.uint8, 1 / 255, 0, "0-1"),
        (np.int8, 1 / 256, -128, "0-1"),
        (np.uint8, 1.0, 0, "0-255"),
        (np.int8, 1.0, -128, "0-255"),
        (np.int8, 1.0, 0, None),
        (np.int8, 0.0186, -14, None),
        (np.uint8, 0.9, 0, None),
        (np.int16, 1 / 32767, 0, None),  # symmetric, whatever the pixels are
        (np.float32, 1.0, 0, None),
    ],
)
def test_ranges_of_quantized_inputs(dtype, scale, zero_point, found):
    assert inputs.range_of(inputs.represented(dtype, scale, zero_point)) == found


def test_a_stated_range_goes_before_the_quantization(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(converted(network(5), 0, 1))
    stated = Preprocessing("0-255", (0, 0, 0), (255, 255, 255))
    predictor, believed = predictors.load(path, preprocessing=stated), predictors.load(path)
    np.testing.assert_array_equal(predictor(pixels()), believed(pixels()))
    assert not any("pixels" in text for text in predictor.assumed)


def test_rounded_probabilities_of_many_classes_are_no_logits(tmp_path):
    """What the runtime itself says is returned, though rows sum to less than 1."""
    model = network(300)
    path = tmp_path / "model.tflite"
    path.write_bytes(converted(model, 0, 1))
    predictor = predictors.load(path)
    given = predictor(pixels(50))
    exact = np.asarray(model((pixels(50) / 255).astype(np.float32)))
    np.testing.assert_allclose(given, exact, atol=0.02)
    assert np.abs(given.sum(axis=1) - 1).max() > 0.05
    assert "probabilities out, from its outputs (--output-kind)" in predictor.assumed


@pytest.mark.parametrize(
    ("rows", "step", "kind", "says"),
    [
        (np.full((2, 1000), 0.0), 1 / 256, "probabilities", "from its outputs"),
        (np.full((2, 1000), 1 / 256), 1 / 256, "probabilities", "independent"),
        (np.full((2, 10), 0.0975), 0.0, "probabilities", "from its outputs"),
        (np.full((2, 10), 0.095), 0.0, "probabilities", "independent"),
        (np.array([[1 + 1 / 300, 0.0]]), 1 / 256, "probabilities", "from its outputs"),
        (np.array([[1 + 1 / 100, 0.0]]), 1 / 256, "logits", "from its outputs"),
        (np.array([[1.1, -0.1]]), 0.0, "logits", "from its outputs"),
        (np.array([[-0.1]]), 0.0, "logits", "one column of logits"),
        (np.array([[0.9]]), 0.0, "probabilities", "one column of probabilities"),
        (np.array([[np.nan, 1.0]]), 0.0, "logits", "from its outputs"),
    ],
)
def test_outputs_are_told_by_range_and_rounding(rows, step, kind, says):
    found, text = outputs.kind_of(rows, step)
    assert found == kind
    assert says in text


def test_several_outputs_are_named(tmp_path):
    layers = keras.layers
    image = keras.Input((SIZE, SIZE, 3))
    flat = layers.Flatten()(image)
    model = keras.Model(image, [layers.Dense(4)(flat), layers.Dense(2)(flat)])
    path = tmp_path / "model.tflite"
    path.write_bytes(converted(model))
    with pytest.raises(ArtifactError, match=r"2 outputs: .*\(None, 2\).* --output-name") as caught:
        predictors.load(path)
    name = next(word for word in str(caught.value).split() if word.endswith(":0"))
    predictor = predictors.load(path, preprocessing=Preprocessing(output_name=name))
    assert predictor.classes in (2, 4)


# --- standard metadata ------------------------------------------------------------------


def with_standard_metadata(content: bytes, labels: str, mean=(10.0,), std=(20.0,)) -> bytes:
    """Add what TensorFlow Lite Support's metadata writer adds for an image classifier."""
    builder = flatbuffers.Builder()

    def table(count: int, fields: dict[int, Callable[[int], None]]) -> int:
        builder.StartObject(count)
        for slot, write in fields.items():
            write(slot)
        return builder.EndObject()

    def offset(value: int) -> Callable[[int], None]:
        return lambda slot: builder.PrependUOffsetTRelativeSlot(slot, value, 0)

    def byte(value: int) -> Callable[[int], None]:
        return lambda slot: builder.PrependInt8Slot(slot, value, 0)

    def vector(values: list[int]) -> int:
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependUOffsetTRelative(value)
        return builder.EndVector()

    means, stds = (builder.CreateNumpyVector(np.float32(values)) for values in (mean, std))
    normalization = table(2, {0: offset(means), 1: offset(stds)})
    unit = table(2, {0: byte(1), 1: offset(normalization)})
    name = builder.CreateString("labels.txt")
    file = table(4, {0: offset(name), 2: byte(2)})
    given = table(7, {0: offset(builder.CreateString("image")), 4: offset(vector([unit]))})
    gives = table(7, {6: offset(vector([file]))})
    subgraph = table(7, {2: offset(vector([given])), 3: offset(vector([gives]))})
    builder.Finish(table(8, {3: offset(vector([subgraph]))}), b"M001")

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(builder.Output())
    entry.name, entry.buffer = b"TFLITE_METADATA", len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    packed = io.BytesIO(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("labels.txt", labels)
    return packed.getvalue()


def standard(folder: Path, labels: str, **normalization) -> tuple[Path, keras.Model]:
    model = network(3)
    path = folder / "model.tflite"
    path.write_bytes(with_standard_metadata(converted(model), labels, **normalization))
    return path, model


@pytest.mark.parametrize("channels", [1, 3])
def test_standard_metadata_has_normalization_and_classes(channels, tmp_path):
    mean, std = [100.0, 110.0, 120.0][:channels], [50.0, 60.0, 70.0][:channels]
    path, model = standard(tmp_path, "one\ntwo words\r\nthrée\n", mean=mean, std=std)
    predictor = predictors.load(path)
    assert predictor.class_names == ["one", "two words", "thrée"]
    values = (pixels() - np.float32(mean)) / np.float32(std)
    np.testing.assert_allclose(predictor(pixels()), model(values.astype(np.float32)), atol=1e-5)
    assert not any("pixels" in text or "mean" in text for text in predictor.assumed)


def test_stated_values_go_before_the_metadata(tmp_path):
    path, model = standard(tmp_path, "a\nb\nc")
    predictor = predictors.load(path, preprocessing=Preprocessing("0-1"))
    expected = model((pixels() / 255).astype(np.float32))
    np.testing.assert_allclose(predictor(pixels()), expected, atol=1e-5)
    assert "no mean and std (--mean, --std)" in predictor.assumed


def test_labels_of_another_number_of_classes_are_not_used(tmp_path):
    path, _ = standard(tmp_path, "background\na\nb\nc\n")
    predictor = predictors.load(path)
    assert predictor.class_names is None
    assert "its 4 labels are not of its 3 classes" in predictor.assumed


def test_damaged_standard_metadata_is_as_none(tmp_path):
    whole = standard(tmp_path, "a\nb\nc")[0].read_bytes()
    model = schema.Model.GetRootAs(whole, 0)
    buffer = model.Buffers(model.Metadata(model.MetadataLength() - 1).Buffer()).DataAsNumpy()
    random = np.random.default_rng(0)
    for at in random.integers(0, len(buffer), 200):
        harmed = bytearray(buffer.tobytes())
        harmed[at] ^= 1 << int(random.integers(8))
        litert_metadata.read(whole, {b"TFLITE_METADATA": bytes(harmed)}, 0)
    assert litert_metadata.read(whole[:-30], {b"TFLITE_METADATA": b"x"}, 0).classes == ()
