"""The command and the function, on a run of a few seconds."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.commands import cifarnet as command
from helpers.configs import SMALL
from PIL import Image

import cifarnet
from cifarnet import config, data, requirements, runs, training
from cifarnet.artifacts import Artifact
from cifarnet.errors import ArtifactError, ConfigError, DataError, GateError
from cifarnet.explanations import selection
from cifarnet.predictors import load
from cifarnet.runs import documents
from cifarnet.runs.explanations import Explanation


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> runs.Run:
    return training.train(config.parse(SMALL), tmp_path_factory.mktemp("runs"), callbacks=[])


@pytest.fixture
def own(run, tmp_path) -> runs.Run:
    """A copy that a test may write into."""
    shutil.copytree(run.path, tmp_path / run.path.name)
    return runs.Run(tmp_path / run.path.name)


def test_mistakes_are_the_most_confident_ones_and_all_files_agree(own, tmp_path):
    done = command("explain", own.path, "--mistakes", 3, "--json", cwd=tmp_path)
    document = json.loads(done.stdout)
    folder = own.evaluation_folder / "explanations" / "occlusion"
    assert document["folder"] == str(folder)
    found = documents.read(folder / "explain.json", Explanation)
    stored = found.to_json()
    assert {key: document[key] for key in stored} == stored
    assert f"Next: cifarnet explain {own.path}" in done.stderr
    assert f"occlusion is {found.verdict}" in " ".join(done.stderr.split())
    # By a computation of its own.
    dataset = data.load_recorded(own, config.load(own.config_file))
    predicted = load(own.model_file)(dataset.test.pixels)
    wrong = np.flatnonzero(predicted.argmax(axis=1) != dataset.test.labels)
    rows = sorted(wrong, key=lambda row: -predicted[row].max())[:3]
    assert [one.image for one in found.images] == [f"test[{row}]" for row in rows]
    for row, one in zip(rows, found.images, strict=True):
        assert one.true == dataset.classes[dataset.test.labels[row]]
        assert one.confidence == pytest.approx(predicted[row].max(), abs=1e-5)
        assert one.true_probability == pytest.approx(
            predicted[row, dataset.test.labels[row]], abs=1e-5
        )
    arrays = runs.read_arrays(folder / "explanations.npz")
    np.testing.assert_array_equal(arrays["pixels"], dataset.test.pixels[rows])
    assert arrays["predicted"].shape == arrays["true"].shape == (3, 32, 32)
    with Image.open(folder / "explanations.png") as picture:
        assert picture.width > 800
    # Judged on validation images, with the weights as they were.
    assert (found.about.split, found.checks.images) == ("validation", 40)
    assert [one.over for one in found.checks.gains] == ["random maps", "a centered blob", "edges"]
    assert len(found.checks.randomized) == 2  # kernels
    assert found.cost.wall_seconds > 0
    assert all(verdict.right in (True, None) for verdict in runs.verify(own))


def test_stored_predictions_are_used_if_they_are_of_these_weights_and_images(own):
    evaluation = cifarnet.evaluate(own, callbacks=[])
    file = evaluation.path.with_name("test-predictions.npz")
    arrays = runs.read_arrays(file)
    labels = arrays["labels"].astype(int)
    arrays["probabilities"] = np.eye(10, dtype=np.float32)[labels]
    arrays["probabilities"][17] = np.roll(arrays["probabilities"][17], 1)  # the only mistake
    runs.write_arrays(file, arrays)
    found = cifarnet.explain(own, method="gradcam", callbacks=[])
    assert [one.image for one in found.images] == ["test[17]"]
    for name in ("weights_sha256", "digest"):
        other = evaluation.replace(about=evaluation.about.replace(**{name: "0" * 64}))
        documents.write(evaluation.path, other)
        assert len(cifarnet.explain(own, method="gradcam", callbacks=[]).images) == 10


def test_image_files_have_no_true_class_and_unreadable_ones_are_listed(own, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "noise.png")
    (folder / "broken.png").write_bytes(b"nothing")
    done = command("explain", own.path, "photos", "--method", "integrated", cwd=tmp_path)
    folder = own.evaluation_folder / "explanations" / "integrated-images"
    assert f"Next: cifarnet explain {own.path} --mistakes 10" in done.stdout
    found = documents.read(folder / "explain.json", Explanation)
    (image,) = found.images
    assert (image.image, image.true, image.true_probability) == ("photos/noise.png", None, None)
    assert len(found.unreadable) == 1 and "broken.png" in found.unreadable[0]
    assert "not read" in done.stdout
    assert f"integrated gradients is {found.verdict}" in " ".join(done.stdout.split())
    cifarnet.explain(own, mistakes=1, method="integrated", callbacks=[])
    assert documents.read(folder / "explain.json", Explanation) == found  # mistakes lie beside it
    assert set(runs.read_arrays(folder / "explanations.npz")) == {"pixels", "predicted"}


def test_other_formats_are_explained_by_occlusion_alone(run, tmp_path):
    (artifact,) = cifarnet.export(run, formats=["savedmodel"], callbacks=[])
    found = cifarnet.explain(artifact.path, mistakes=2, output=tmp_path / "a", callbacks=[])
    keras = cifarnet.explain(run, mistakes=2, output=tmp_path / "b", callbacks=[])
    assert found.path == tmp_path / "a" / "explain.json"
    assert found.checks.randomized is None
    assert requirements.check("deletion_gain>-1", found) is None
    with pytest.raises(ConfigError, match="no randomized_correlation: it was not measured"):
        requirements.check("randomized_correlation<0.5", found)
    maps = [runs.read_arrays(tmp_path / name / "explanations.npz") for name in "ab"]
    np.testing.assert_allclose(maps[0]["predicted"], maps[1]["predicted"], atol=1e-3)
    with pytest.raises(ArtifactError, match="gradients need a Keras file"):
        cifarnet.explain(artifact.path, method="layercam", output=tmp_path / "c", callbacks=[])
    assert not (tmp_path / "c").exists()
    assert keras.checks.randomized


def test_a_file_outside_any_run_is_checked_on_test_images(run, tmp_path):
    shutil.copy(run.model_file, tmp_path / "model.keras")
    found = cifarnet.explain(
        tmp_path / "model.keras",
        mistakes=2,
        method="layercam",
        overrides=["data.source=synthetic", "data.limit=400"],
        callbacks=[],
    )
    assert found.about.split == "test"
    assert found.path.parent == tmp_path / "model.keras.evaluation" / "explanations" / "layercam"


def test_a_run_without_validation_images_is_checked_on_training_images(tmp_path):
    settings = {**SMALL, "data": {**SMALL["data"], "validation_fraction": 0.0}}
    run = training.train(config.parse(settings), tmp_path, callbacks=[])
    assert cifarnet.explain(run, method="gradcam", callbacks=[]).about.split == "train"


def test_requirements_name_gains_and_their_least_end(own, tmp_path):
    found = cifarnet.explain(own, mistakes=1, method="gradcam", callbacks=[])
    gains = found.checks.gains
    scalars = found.scalars()
    assert scalars["deletion_gain"] == gains[0].deletion
    assert scalars["insertion_gain_over_blob"] == gains[1].insertion
    assert scalars["deletion_gain_over_edges"] == gains[2].deletion
    intervals = [x for one in gains for x in (one.deletion_interval, one.insertion_interval)]
    assert scalars["least_gain"] == min(low for low, _ in intervals)
    assert scalars["randomized_correlation"] == found.checks.randomized[-1].correlation
    with pytest.raises(GateError, match=r"required least_gain > 0[.]9, measured"):
        requirements.check("least_gain>0.9", found)
    arguments = ("--mistakes", 1, "--method", "gradcam", "--require", "least_gain>0.9")
    command("explain", own.path, *arguments, cwd=tmp_path, code=3)
    done = command("explain", own.path, "--require", "accuracy>0.9", cwd=tmp_path, code=1)
    assert "expected one of deletion_gain, insertion_gain" in done.stderr


@pytest.mark.parametrize("number", [0, 1])
def test_too_few_images_to_check_on_are_counted(number):
    artifact = Artifact(Path("model.keras"), None, config.load("article"))
    images = SimpleNamespace(labels=np.zeros(number, int))
    with pytest.raises(DataError, match=f"at least 2 test images .*, received {number}"):
        selection.checked(artifact, SimpleNamespace(split=lambda name: images))


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"method": "lime"}, ConfigError, "method: expected one of occlusion, layercam, .* 'lime'"),
        ({"images": "cat.png"}, ConfigError, "expected a list of paths, received 'cat.png'"),
        ({"images": ["cat.png"], "mistakes": 3}, ConfigError, "received both; leave one out"),
        ({"mistakes": 0}, ConfigError, "mistakes: expected 1 to 200, received 0"),
        ({"images": ["no.png"]}, DataError, "received none that can be read: there is no image"),
    ],
)
def test_wrong_arguments_are_stated_and_nothing_is_written(run, arguments, error, text, tmp_path):
    with pytest.raises(error, match=text):
        cifarnet.explain(run, **arguments, output=tmp_path / "out", callbacks=[])
    assert not (tmp_path / "out").exists()
