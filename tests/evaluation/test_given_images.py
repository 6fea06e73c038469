"""A model file outside any run, on images given with it."""

import json
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers.commands import cifarnet
from PIL import Image

from cifarnet import config, evaluation, exporters, training
from cifarnet.errors import ArtifactError, ConfigError
from cifarnet.runs import Run

SIZE = 24


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Dark, gray and light images, of which the test split has half."""
    folder = tmp_path_factory.mktemp("photos")
    for level, name in ((20, "dark"), (128, "gray"), (235, "light")):
        for split in ("train", "test"):
            (folder / split / name).mkdir(parents=True)
            for i in range(4):
                pixels = np.full((SIZE, SIZE, 3), level + i, np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    return folder


def network(path: Path, names: tuple[str, ...] = (), outputs: int = 3) -> Path:
    """Save a network that is nearest to the mean level: of dark, gray, light in this order."""
    levels = np.array([20.0, 128.0, 235.0])[:outputs] / 255
    inputs = keras.Input((SIZE, SIZE, 3))
    mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    dense = keras.layers.Dense(outputs)
    model = keras.Model(inputs, dense(mean))
    # -(x - level)^2 without its part x^2, which is common to all.
    dense.set_weights([np.tile(200 * levels / 3, (3, 1)), -100 * levels**2])
    model.save(path)
    if names:
        with zipfile.ZipFile(path, "a") as archive:
            about = {"classes": list(names), "output": {"what": "logits"}}
            archive.writestr("cifarnet.json", json.dumps(about))
    return path


def given(photos: Path) -> list[str]:
    return ["data.source=directory", f"data.path={photos}"]


def test_it_is_measured_on_the_test_split_at_its_own_size(photos, tmp_path):
    found = evaluation.evaluate(
        network(tmp_path / "levels.keras"), callbacks=[], overrides=given(photos)
    )
    assert (found.count, found.accuracy, found.about.split) == (12, 1.0, "test")
    assert found.classes == ["dark", "gray", "light"]
    assert "outputs in the order dark, gray, light, ..." in found.about.assumed


def test_its_own_class_names_decide_the_order(photos, tmp_path):
    path = network(tmp_path / "levels.keras", ("light", "gray", "dark"))
    found = evaluation.evaluate(path, callbacks=[], overrides=given(photos))
    # It says "light" of what is dark.
    assert found.confusion_matrix == [[0, 0, 4], [0, 4, 0], [4, 0, 0]]
    assert not any("in the order" in one for one in found.about.assumed)


@pytest.fixture
def flat(photos, tmp_path) -> Path:
    """The same classes without splits, 4 images each."""
    shutil.copytree(photos / "test", tmp_path / "flat")
    return tmp_path / "flat"


def trained(place: Path, images: Path, **more) -> Run:
    settings = {
        "data": {"source": "directory", "path": str(images), "image_size": SIZE, **more},
        "model": {"layers": ["Flatten", {"Dense": {"units": 3}}]},
        "train": {"epochs": 1, "batch_size": 2, "learning_rate": 0.001, "precision": "float32"},
    }
    return training.train(config.parse(settings), place / "runs", callbacks=[])


def test_all_images_of_a_folder_without_splits_are_measured(flat, tmp_path):
    path = network(tmp_path / "levels.keras")
    found = evaluation.evaluate(path, callbacks=[], overrides=given(flat))
    assert (found.count, found.accuracy) == (12, 1.0)


def test_a_file_of_cifarnet_is_not_measured_on_what_it_was_trained_on(flat, tmp_path):
    run = trained(tmp_path, flat, validation_fraction=0.0, test_fraction=0.4)
    inside = evaluation.evaluate(run, callbacks=[])
    shutil.copy(run.model_file, tmp_path / "lone.keras")
    outside = evaluation.evaluate(tmp_path / "lone.keras", callbacks=[], overrides=given(flat))
    assert outside.about.digest == inside.about.digest
    assert outside.count == inside.count < 12


def test_other_class_names_are_refused(photos, tmp_path):
    path = network(tmp_path / "levels.keras", ("dark", "gray", "white"))
    with pytest.raises(ArtifactError, match="has the classes dark, gray, white"):
        evaluation.evaluate(path, callbacks=[], overrides=given(photos))


def test_copies_of_training_images_are_counted(photos, tmp_path):
    for split in ("train", "test"):
        shutil.copytree(photos / "test", tmp_path / "copies" / split)
    run = trained(tmp_path, tmp_path / "copies")
    # One training image of each class is held out for validation.
    assert evaluation.evaluate(run, callbacks=[]).about.duplicates == 9


def test_a_folder_of_validation_images_is_used_whatever_the_fraction(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    shutil.copytree(photos / "test", tmp_path / "photos" / "val")
    run = trained(tmp_path, tmp_path / "photos", validation_fraction=0.0)
    assert run.read_record().validation_accuracy is not None
    shutil.rmtree(tmp_path / "photos" / "val")
    settings = config.load(run.config_file, ["train.select=best"])
    with pytest.raises(ConfigError, match=r"best needs a validation set.* or a folder val/"):
        training.train(settings, tmp_path / "runs", callbacks=[])


def test_another_number_of_classes_names_the_option(photos, tmp_path):
    path = network(tmp_path / "two.keras", outputs=2)
    with pytest.raises(ArtifactError, match=r"gives 2 classes.* have 3: .*-o data\.path=FOLDER"):
        evaluation.evaluate(path, callbacks=[], overrides=given(photos))


def test_only_the_images_may_be_chosen(photos, tmp_path):
    path = network(tmp_path / "levels.keras")
    with pytest.raises(ConfigError, match=r"train\.epochs: expected keys of `data`"):
        evaluation.evaluate(path, callbacks=[], overrides=["train.epochs=2"])


def test_the_command_takes_them(photos, tmp_path):
    path = network(tmp_path / "levels.keras")
    options = [word for text in given(photos) for word in ("-o", text)]
    shown = cifarnet("evaluate", path, *options, "--json", cwd=tmp_path).stdout
    assert json.loads(shown)["accuracy"] == 1.0


def test_the_folder_of_an_export_is_its_artifact(photos, tmp_path):
    run = trained(tmp_path, photos)
    (written,) = exporters.export(run, ["keras"], callbacks=[])
    found = evaluation.evaluate(written.path.parent, callbacks=[], output=tmp_path / "output")
    assert found.about.artifact == str(written.path)
    assert found.accuracy == evaluation.evaluate(run, callbacks=[]).accuracy
