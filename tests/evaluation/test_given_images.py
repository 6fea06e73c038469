"""A model file outside any run, on images given with it."""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers.commands import cifarnet
from PIL import Image

from cifarnet import evaluation
from cifarnet.errors import ArtifactError, ConfigError

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


def test_another_number_of_classes_names_the_option(photos, tmp_path):
    path = network(tmp_path / "two.keras", outputs=2)
    with pytest.raises(ArtifactError, match=r"gives 2 classes.* has 3: .*-o data\.path=FOLDER"):
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
