"""Files of cifarnet say what they give: they are not guessed, and no option is taken for them."""

import json
import shutil
import zipfile

import keras
import numpy as np
import pytest
from helpers.commands import cifarnet
from helpers.networks import pixels, small

import cifarnet as library
from cifarnet import artifacts, config, models, predictors, runs
from cifarnet.errors import ArtifactError, ConfigError
from cifarnet.exporters import formats
from cifarnet.predictors import RUN_PREPROCESSING, Preprocessing

CIFAR = config.DataConfig()
CLASSES = [f"class {i}" for i in range(120)]


def many_classes() -> keras.Model:
    """A network of 120 classes, several of which are probable."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3), name="pixels")
    hidden = keras.layers.Rescaling(1 / 64, offset=-2)(inputs)
    hidden = keras.layers.Conv2D(16, 3, strides=2, activation="relu")(hidden)
    hidden = keras.layers.GlobalAveragePooling2D()(hidden)
    spread = keras.initializers.RandomNormal(stddev=0.5)
    return keras.Model(inputs, keras.layers.Dense(len(CLASSES), kernel_initializer=spread)(hidden))


@pytest.mark.parametrize(("name", "quantization"), [("litert", "int8"), ("onnx", "int8")])
def test_an_export_of_many_classes_gives_its_probabilities(name, quantization, tmp_path):
    model = many_classes()
    images = (pixels(40) * np.linspace(0, 1, 40)[:, None, None, None]).astype(np.uint8)
    metadata = models.describe("many", CIFAR, 32, CLASSES, "probabilities")
    path = formats.write(name, quantization, model, images, metadata, tmp_path)
    predictor = predictors.load(path)
    expected = np.asarray(keras.ops.softmax(model(images.astype(np.float32))))
    given = predictor(images)
    assert expected.max() > 0.15
    assert np.abs(given.sum(axis=1) - 1).max() > 0.03  # rounded in 8 bits
    np.testing.assert_allclose(given, expected, atol=0.1)
    assert (predictor.assumed, predictor.class_names) == ([], CLASSES)


@pytest.mark.parametrize("gives", ["logits", "probabilities"])
def test_a_file_with_metadata_is_not_guessed(gives, tmp_path):
    """This network's outputs look like probabilities; the file's word counts."""
    inputs = keras.Input((32, 32, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(pooled))
    names = [*"abcdefghij"]
    models.save(model, tmp_path / "model.keras", models.describe("r", CIFAR, 32, names, gives))
    predictor = predictors.load(tmp_path / "model.keras")
    outputs = model(pixels(4).astype(np.float32))
    expected = keras.ops.softmax(outputs) if gives == "logits" else outputs
    np.testing.assert_allclose(predictor(pixels(4)), np.asarray(expected), atol=1e-6)
    assert predictor.assumed == []


@pytest.mark.parametrize(
    "stated",
    [
        Preprocessing("0-1"),
        Preprocessing(output_kind="probabilities"),
        Preprocessing(image_size=32),
    ],
    ids=str,
)
def test_nothing_is_stated_about_a_file_with_metadata(stated, tmp_path):
    path = tmp_path / "model.keras"
    models.save(small(), path, models.describe("r", CIFAR, 32, [*"abcdefghij"], "logits"))
    (name,) = stated.stated()
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(
        ConfigError, match=f"states its input and output itself; leave out {option}"
    ):
        predictors.load(path, preprocessing=stated)
    predictors.load(path, preprocessing=RUN_PREPROCESSING)


def test_metadata_of_another_network_is_refused(tmp_path):
    models.save(
        small(), tmp_path / "a.keras", models.describe("r", CIFAR, 32, ["a", "b"], "logits")
    )
    with pytest.raises(ArtifactError, match="metadata has 2 classes, but the network gives 10"):
        predictors.load(tmp_path / "a.keras")
    models.save(small(), tmp_path / "b.keras", {"output": {"what": "embeddings"}})
    with pytest.raises(ArtifactError, match="its `output` is unknown: embeddings"):
        predictors.load(tmp_path / "b.keras")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    images = ["data.source=synthetic", "data.limit=200", "train.epochs=1"]
    return library.train(library.load_config("smoke", images), folder / "runs")


def test_a_copy_of_a_runs_model_says_what_it_is(run, tmp_path):
    copy = shutil.copy(run.model_file, tmp_path / "copy.keras")
    predictor = predictors.load(copy)
    inside = library.load_predictor(run)
    np.testing.assert_array_equal(predictor(pixels(5)), inside(pixels(5)))
    assert predictor.assumed == []
    assert predictor.class_names == run.read_record().data.classes
    with zipfile.ZipFile(copy) as archive:
        about = json.loads(archive.read(models.METADATA))
    assert about["output"]["what"] == "logits, in the order of `classes`"
    assert about["input"] == {"name": "pixels", "shape": ["N", 32, 32, 3], "what": "RGB, 0-255"}


def test_a_run_before_metadata_still_gives_logits(run, tmp_path):
    """`model.keras` of the first versions has no metadata."""
    model = keras.models.load_model(run.model_file, compile=False)
    models.save(model, tmp_path / "old.keras")
    old = predictors.load(tmp_path / "old.keras", preprocessing=RUN_PREPROCESSING)
    np.testing.assert_array_equal(old(pixels(5)), library.load_predictor(run)(pixels(5)))
    assert old.assumed == []


@pytest.mark.parametrize("command", ["evaluate", "benchmark"])
def test_options_of_foreign_files_are_refused_for_a_run(command, run, tmp_path):
    done = cifarnet(command, run.path, "--output-kind", "logits", cwd=tmp_path, code=1)
    assert "states its input and output itself; leave out --output-kind" in done.stderr


def test_a_link_to_a_file_of_a_run_is_of_that_run(tmp_path):
    run = runs.create("a", tmp_path, {"config.yaml": config.dump(config.load("smoke"))})
    run.model_file.touch()
    (tmp_path / "link.keras").symlink_to(run.model_file)
    assert artifacts.resolve(tmp_path / "link.keras").run.path.samefile(run.path)
