"""The whole evaluation of a network whose decisions under each corruption are known by hand."""

import json
import shutil
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers.commands import cifarnet
from PIL import Image

import cifarnet as library
from cifarnet.errors import ConfigError, DataError
from cifarnet.requirements import check
from cifarnet.robustness import pictures
from cifarnet.robustness.corruptions import CORRUPTIONS
from cifarnet.runs import Robustness, documents

SIZE = 32
LEVELS = {"dark": 20, "gray": 128, "light": 235}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Images of one level each, 4 per class in each split."""
    folder = tmp_path_factory.mktemp("photos")
    for name, level in LEVELS.items():
        for split in ("train", "test"):
            (folder / split / name).mkdir(parents=True)
            for i in range(4):
                image = Image.fromarray(np.full((SIZE, SIZE, 3), level, np.uint8))
                image.save(folder / split / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """A SavedModel that finds the nearest level to an image's mean: the borders are 74 and 181.5.

    It has no gradients here, so that it is not attacked.
    """
    levels = np.array([*LEVELS.values()]) / 255
    inputs = keras.Input((SIZE, SIZE, 3))
    mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    dense = keras.layers.Dense(3, activation="softmax")
    model = keras.Model(inputs, dense(mean))
    dense.set_weights([np.tile(200 * levels / 3, (3, 1)), -100 * levels**2])
    path = tmp_path_factory.mktemp("network") / "levels"
    model.export(path, verbose=False)
    return path


def given(photos: Path) -> list[str]:
    return ["data.source=directory", f"data.path={photos}"]


@pytest.fixture(scope="module")
def found(network, photos, tmp_path_factory) -> Robustness:
    return library.evaluate_robustness(
        network,
        budget=None,
        callbacks=[],
        overrides=given(photos),
        output=tmp_path_factory.mktemp("result"),
    )


def test_accuracy_under_each_corruption_is_as_computed_by_hand(found):
    matrix = {one.corruption: one.accuracy for one in found.corruptions.scores}
    assert list(matrix) == list(CORRUPTIONS)
    # The mean of one level stays, whatever is blurred, moved, encoded or of lower contrast.
    still = {"contrast", "pixelate", "jpeg_compression", "elastic_transform", "gaussian_noise"}
    for name in {*still, *(name for name in CORRUPTIONS if name.endswith("_blur"))}:
        assert matrix[name] == [1.0] * 5, name
    # Levels 20, 128, 235 plus 12.75, 25.5, 38.25, 51 (71, 179) and 76.5 (96.5 and 204.5: wrong).
    assert matrix["brightness"] == [1.0, 1.0, 1.0, 1.0, pytest.approx(1 / 3)]


def test_the_means_and_the_interval_are_of_the_matrix(found):
    record = found.corruptions
    matrix = np.array([one.accuracy for one in record.scores])
    assert matrix.shape == (15, 5)
    assert record.accuracy == pytest.approx(matrix.mean())
    by_severity = [one.accuracy for one in record.severities]
    assert by_severity == pytest.approx(matrix.mean(axis=0).tolist())
    assert [one.severity for one in record.severities] == [1, 2, 3, 4, 5]
    assert (record.clean.severity, record.clean.accuracy) == (0, 1.0)
    # Right and unsure alike: the error is the distance of the confidence from 1.
    assert record.clean.calibration_error == pytest.approx(1 - record.clean.confidence, abs=1e-6)
    low, high = record.accuracy_interval
    assert low <= record.accuracy <= high
    assert (record.images, record.of, record.chosen) == (12, 12, "all 12 images")
    assert record.seed == 0 and "own noise" in record.images_from


def test_without_gradients_there_are_no_attacks_and_a_requirement_says_so(found):
    assert found.attacks is None and found.budget_seconds is None
    check("corruption_accuracy>=0.5", found)
    with pytest.raises(ConfigError, match="has no adversarial_accuracy_1: it was not measured"):
        check("adversarial_accuracy_1>=0.1", found)
    # Shuffled pixels of one level are the same image.
    auroc = {one.against: one.auroc for one in found.out_of_distribution}
    assert auroc == {"noise": auroc["noise"], "shuffled": 0.5}
    assert found.scalars()["ood_auroc_shuffled"] == 0.5


def test_record_and_pictures_are_written(found):
    assert documents.read(found.path, Robustness) == found
    (heat_map,) = pictures(found)
    with Image.open(heat_map) as image:
        assert image.width > 500
    assert found.about.split == "test" and found.about.assumed
    assert found.cost is not None and found.seconds > 0


def test_the_same_seed_gives_the_same_figures_and_files(found, network, photos, tmp_path):
    again = library.evaluate_robustness(
        network, budget=None, callbacks=[], overrides=given(photos), output=tmp_path
    )
    assert again.corruptions == found.corruptions
    assert again.out_of_distribution == found.out_of_distribution


def test_the_published_files_and_foreign_images_are_used(network, photos, tmp_path):
    labels = np.repeat(np.arange(3), 4)
    levels = np.array([*LEVELS.values()], np.uint8)[labels]
    clean = np.broadcast_to(levels[:, None, None, None], (12, SIZE, SIZE, 3))
    np.save(tmp_path / "labels.npy", np.tile(labels, 5))
    for name in CORRUPTIONS:
        images = np.tile(clean, (5, 1, 1, 1))
        if name == "fog":
            images[48:] = 128  # at severity 5 all are gray: one third is right
        np.save(tmp_path / f"{name}.npy", images)
    (tmp_path / "things").mkdir()
    for i in range(3):
        Image.new("RGB", (40, 50), (90, 60, 70)).save(tmp_path / "things" / f"{i}.png")
    (tmp_path / "things" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    found = library.evaluate_robustness(
        network,
        budget=None,
        cifar10c=tmp_path,
        ood=tmp_path / "things",
        callbacks=[],
        overrides=given(photos),
        output=tmp_path / "result",
    )
    matrix = {one.corruption: one.accuracy for one in found.corruptions.scores}
    assert matrix["fog"] == [1, 1, 1, 1, pytest.approx(1 / 3)]
    assert all(matrix[name] == [1.0] * 5 for name in CORRUPTIONS if name != "fog")
    assert found.corruptions.accuracy == pytest.approx((74 + 1 / 3) / 75)
    assert (found.corruptions.images_from, found.corruptions.seed) == (
        "the published CIFAR-10-C",
        0,
    )
    other = found.out_of_distribution[-1]
    assert (other.against, other.images, other.unreadable) == ("given", 3, 1)
    # A mean of 73.3 is next to the border: less confident than every test image.
    assert other.auroc == 1.0 and other.auroc_interval[0] < 1.0


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"budget": 0}, ConfigError, "budget: expected more than 0 seconds, received 0"),
        ({"budget": float("nan")}, ConfigError, "received nan"),
        ({"seed": -1}, ConfigError, "seed: expected 0 or more, received -1"),
        ({"cifar10c": "nowhere"}, DataError, r"there is no nowhere/labels[.]npy"),
        ({"ood": "nowhere"}, DataError, "there is no image file or folder nowhere"),
    ],
)
def test_wrong_arguments_are_refused_and_nothing_is_written(
    arguments, kind, message, network, photos, tmp_path
):
    with pytest.raises(kind, match=message):
        library.evaluate_robustness(
            network,
            callbacks=[],
            overrides=given(photos),
            output=tmp_path / "result",
            **{"budget": 5, **arguments},
        )
    assert not (tmp_path / "result").exists()


# --- the command ----------------------------------------------------------------------


def test_the_command_evaluates_and_adds_robustness(network, photos, tmp_path):
    place = shutil.copytree(network, tmp_path / "levels")
    words = [word for override in given(photos) for word in ("-o", override)]
    requirement = ("--require", "corruption_accuracy>=0.5", "--require", "accuracy>=1")
    done = cifarnet(
        "evaluate", place, *words, "--robustness", "--full", *requirement, "--json", cwd=tmp_path
    )
    document = json.loads(done.stdout)
    assert document["accuracy"] == 1.0
    robust = document["robustness"]
    assert robust["corruptions"]["images"] == 12 and robust["format_version"] == 1
    assert Path(robust["path"]) == tmp_path / "levels.evaluation" / "robustness.json"
    assert all(Path(picture).is_file() for picture in robust["pictures"])
    assert "corrupted" in done.stderr and "jpeg compression" in done.stderr
    drop = 100 * (1 - robust["corruptions"]["accuracy"])  # all clean images are right
    assert f"drop       {drop:.2f} points" in done.stderr
    assert f"Next: cifarnet explain {place}" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--budget", "90s"], "--budget is an option of --robustness"),
        (["--full"], "--full is an option of --robustness"),
        (["--robustness", "--full", "--budget", "2min"], "--full has no --budget"),
        (["--robustness", "--split", "validation"], "leave out --split"),
        (["--robustness", "--budget", "soon"], "expected a time such as 90, 90s or 2min"),
        (["--robustness", "--budget", "0s"], "expected a time such as"),
    ],
)
def test_wrong_usage_is_said(words, message, tmp_path):
    assert message in cifarnet("evaluate", "x", *words, cwd=tmp_path, code=2).stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cifar10c", "nowhere"], "there is no nowhere/labels.npy"),
        (["--ood", "nowhere"], "there is no image file or folder nowhere"),
    ],
)
def test_missing_folders_are_refused_before_anything_is_evaluated(words, message, tmp_path):
    done = cifarnet("evaluate", "no-run", "--robustness", *words, cwd=tmp_path, code=1)
    assert message in done.stderr


def test_a_missed_requirement_keeps_the_results_in_the_document(network, photos, tmp_path):
    words = [word for override in given(photos) for word in ("-o", override)]
    words += ["--require", "corruption_accuracy>0.99", "--output", "there"]
    command = ("evaluate", network, *words, "--robustness", "--budget", "1s", "--json")
    document = json.loads(cifarnet(*command, cwd=tmp_path, code=3).stdout)
    assert (document["kind"], document["exit_code"]) == ("GateError", 3)
    assert document["result"]["accuracy"] == 1.0
    measured = document["result"]["robustness"]["corruptions"]["accuracy"]
    assert document["error"].endswith(f"measured {measured:.4f}") and measured < 0.99


@pytest.mark.slow
@pytest.mark.parametrize("budget", [20, 60])
def test_a_budget_is_kept_within_20_percent(budget, tmp_path):
    run = library.train("smoke", root=tmp_path, callbacks=[])
    library.evaluate_robustness(run, budget=2, callbacks=[], output=tmp_path / "first")
    start = time.perf_counter()
    found = library.evaluate_robustness(run, budget=budget, callbacks=[])
    taken = time.perf_counter() - start
    few = found.corruptions.images < found.corruptions.of
    assert taken <= 1.2 * budget
    assert taken >= 0.8 * budget or not few
