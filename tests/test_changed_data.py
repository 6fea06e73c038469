"""A run is measured on the images of its recorded split, whatever became of its folder."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import cifarnet
from PIL import Image

from cifarnet import benchmarking, config, data, evaluation, exporters, runs, training
from cifarnet.errors import ArtifactError, ConfigError, DataError
from cifarnet.runs import Run

CLASSES, COUNT, SIZE = ("ant", "bee"), 60, 16
CONFIG = """\
name: noise
data: {source: directory, path: images, image_size: 16, validation_fraction: 0.2}
model: {layers: [Flatten, {Dense: {units: 128, activation: relu}}, {Dense: {units: 2}}]}
train: {epochs: 40, batch_size: 8, learning_rate: 0.05, momentum: 0.9, precision: float32}
export: {max_accuracy_loss: 0.5}
"""
Row = dict[str, str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder of noise, which a network can only memorize, and a run that did."""
    place = tmp_path_factory.mktemp("trained")
    random = np.random.default_rng(0)
    for name in CLASSES:
        (place / "images" / name).mkdir(parents=True)
        for i in range(COUNT):
            noise = random.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            Image.fromarray(noise).save(place / "images" / name / f"{i:02}.png")
    (place / "noise.yaml").write_text(CONFIG)
    training.train(config.load(place / "noise.yaml"), place / "runs", callbacks=[])
    return place


@pytest.fixture
def place(trained, tmp_path) -> Path:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def run(place) -> Run:
    """The run, whose images are where the copy of the folder is."""
    return runs.open_run("latest", place / "runs")


@pytest.fixture(scope="module")
def right(trained, tmp_path_factory) -> np.ndarray:
    """Whether the network is right on each test image, in the order of `images.csv`."""
    run = runs.open_run("latest", trained / "runs")
    found = evaluation.evaluate(run, callbacks=[], output=tmp_path_factory.mktemp("output"))
    assert 0.2 < found.accuracy < 0.8  # chance: nothing can be learned
    with np.load(found.predictions_file) as stored:
        return stored["probabilities"].argmax(axis=1) == stored["labels"]


def here(place: Path) -> list[str]:
    return [f"data.path={place / 'images'}"]


def rows(run: Run) -> list[Row]:
    with run.images_file.open(newline="") as file:
        return list(csv.DictReader(file))


def files(run: Run, split: str) -> list[str]:
    return [row["name"] for row in rows(run) if row["split"] == split]


def noise(path: Path, seed: int = 1) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def add(place: Path, name: str) -> None:
    for i in range(3):
        noise(place / "images" / "ant" / f"new-{i}.png", i)


def remove(place: Path, name: str) -> None:
    (place / "images" / name).unlink()


def rename(place: Path, name: str) -> None:
    (place / "images" / name).rename(place / "images" / "ant" / "renamed.png")


def damage(place: Path, name: str) -> None:
    (place / "images" / name).write_bytes(b"\x89PNG\r\n\x1a\nnothing")


def replace(place: Path, name: str) -> None:
    noise(place / "images" / name)


CHANGES = {
    "add": (add, "3 new images"),
    "remove": (remove, "1 of {n} {split} images missing or unreadable"),
    "rename": (rename, "1 of {n} {split} images missing or unreadable, 1 new image"),
    "damage": (damage, "1 of {n} {split} images missing or unreadable"),
    "replace": (replace, "1 of {n} {split} images changed"),
}


def test_every_image_is_recorded_with_its_split_and_digest(run, place):
    import hashlib

    recorded = rows(run)
    counts = run.read_record().data.counts
    assert sum(counts.values()) == len(recorded) == len(CLASSES) * COUNT
    for split, count in counts.items():
        assert len(files(run, split)) == count > 0
    for row in recorded:
        content = (place / "images" / row["name"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
        assert row["class"] == row["name"].split("/")[0]
    assert run.read_record().files["images.csv"].bytes == run.images_file.stat().st_size


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_folder_is_refused_or_measured_without_what_changed(
    run, place, right, change, split
):
    name = files(run, split)[0]
    apply, expected = CHANGES[change]
    apply(place, name)
    expected = expected.format(n=f"{len(files(run, split)):,}", split=split)
    with pytest.raises(DataError, match=expected):
        evaluation.evaluate(run, callbacks=[], overrides=here(place))
    found = evaluation.evaluate(run, callbacks=[], overrides=here(place), allow_changed_data=True)
    assert expected in found.about.changed_data
    remaining = right[1:] if split == "test" and change != "add" else right
    assert found.count == len(remaining)
    assert found.accuracy == pytest.approx(remaining.mean())


def test_other_uses_of_the_images_are_refused_too(run, place):
    remove(place, files(run, "train")[0])
    expected = "1 of .* train images missing"
    with pytest.raises(DataError, match=expected):
        exporters.export(run, ["keras"], callbacks=[], overrides=here(place))
    with pytest.raises(DataError, match=expected):
        benchmarking.benchmark(run, callbacks=[], overrides=here(place))
    with pytest.raises(DataError, match=expected):
        training.resume(run, ["train.epochs=41", *here(place)], callbacks=[])
    assert run.read_record().status == "finished"
    (written,) = exporters.export(
        run, ["keras"], callbacks=[], overrides=here(place), allow_changed_data=True
    )
    assert written.parity.images == len(files(run, "validation"))
    assert "train images missing" in written.changed_data
    measured = benchmarking.benchmark(
        run, batch_sizes=[1], callbacks=[], overrides=here(place), allow_changed_data=True
    )
    assert "train images missing" in measured.changed_data


def test_moved_images_are_found_by_an_override_and_proven(run, place):
    (place / "images").rename(place / "moved")
    with pytest.raises(DataError, match=r"are not in .*images; say .* -o data\.path=FOLDER"):
        evaluation.evaluate(run, callbacks=[], overrides=here(place))
    moved = [f"data.path={place / 'moved'}"]
    found = evaluation.evaluate(run, callbacks=[], overrides=moved)
    assert found.about.changed_data == ""
    assert found.about.digest == run.read_record().data.digests["test"]
    with pytest.raises(ConfigError, match=r"seed: only data\.path of .* may be overridden"):
        evaluation.evaluate(run, callbacks=[], overrides=["seed=1"])


def test_a_damaged_list_of_images_is_refused(run, place):
    text = run.images_file.read_text().replace("test,ant", "train,ant", 1)
    run.images_file.write_text(text)
    with pytest.raises(ArtifactError, match=r"images\.csv is damaged, missing or was replaced"):
        evaluation.evaluate(run, callbacks=[], overrides=here(place))
    run.images_file.unlink()
    with pytest.raises(ArtifactError, match=r"images\.csv is damaged, missing or was replaced"):
        evaluation.evaluate(run, callbacks=[], overrides=here(place))


def test_the_command_says_what_to_do_and_what_was_left_out(run, place):
    moved = ["-o", *here(place)]
    name = files(run, "test")[0]
    remove(place, name)
    refused = cifarnet("evaluate", "latest", *moved, cwd=place, code=1)
    assert "--allow-changed-data" in refused.stderr
    shown = cifarnet("evaluate", "latest", *moved, "--allow-changed-data", cwd=place)
    assert "test images missing or unreadable" in shown.stdout
    document = json.loads(
        cifarnet("evaluate", "latest", *moved, "--allow-changed-data", "--json", cwd=place).stdout
    )
    assert document["count"] == len(files(run, "test")) - 1
    assert "1 of" in document["about"]["changed_data"]


def test_an_image_that_was_unreadable_from_the_start_is_no_change(tmp_path, trained):
    shutil.copytree(trained / "images", tmp_path / "images")
    (tmp_path / "images" / "ant" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (tmp_path / "noise.yaml").write_text(CONFIG.replace("epochs: 40", "epochs: 1"))
    run = training.train(config.load(tmp_path / "noise.yaml"), tmp_path / "runs", callbacks=[])
    assert files(run, "unused") == ["ant/broken.png"]
    assert evaluation.evaluate(run, callbacks=[]).about.changed_data == ""
    assert data.verify_images(run, config.load(run.config_file))[0].right


def test_what_is_left_is_measured_even_if_the_layout_is_none(run, place, right):
    shutil.rmtree(place / "images" / "bee")
    with pytest.raises(DataError, match=r"of \d+ test images missing or unreadable"):
        evaluation.evaluate(run, callbacks=[], overrides=here(place))
    found = evaluation.evaluate(run, callbacks=[], overrides=here(place), allow_changed_data=True)
    ants = np.array([name.startswith("ant/") for name in files(run, "test")])
    assert found.count == ants.sum() > 0
    assert found.accuracy == pytest.approx(right[ants].mean())
    assert runs.summary(run).test_accuracy is None
    shutil.rmtree(place / "images" / "ant")
    (place / "images" / "ant").mkdir()
    with pytest.raises(DataError, match=r"no test images: .* missing or unreadable"):
        evaluation.evaluate(run, callbacks=[], overrides=here(place), allow_changed_data=True)


def test_verify_looks_at_the_images_too(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "copy")
    place = tmp_path / "copy"
    run = runs.open_run("latest", place / "runs")
    text = run.config_file.read_text().replace(str(trained), str(place))
    with runs.changing(run, run.config_file):
        run.config_file.write_text(text)
    assert "right" in cifarnet("runs", "verify", "latest", cwd=place).stdout
    remove(place, files(run, "train")[0])
    shown = cifarnet("runs", "verify", "latest", cwd=place, code=1)
    assert "WRONG" in shown.stdout and "train images missing or unreadable" in shown.stdout
    shutil.rmtree(place / "images")
    assert "is not there" in cifarnet("runs", "verify", "latest", cwd=place).stdout
    elsewhere = f"data.path={trained / 'images'}"
    shown = cifarnet("runs", "verify", "latest", "-o", elsewhere, cwd=place).stdout
    assert "the images are those of images.csv" in shown


# --- runs that recorded no split ------------------------------------------------------


@pytest.fixture
def old(tmp_path) -> Run:
    """A run of format 1, with its images as they were."""
    shutil.copytree(Path(__file__).parent / "fixtures" / "folder-format-1", tmp_path / "old")
    return runs.open_run("latest", tmp_path / "old" / "runs")


def test_an_old_run_is_measured_on_its_old_split(old):
    found = evaluation.evaluate(old, callbacks=[])
    assert found.about.digest == old.read_record().data.digests["test"]
    assert found.count == 4


@pytest.mark.parametrize("allow", [False, True])
def test_an_old_run_with_other_images_is_refused(old, allow):
    photos = old.path.parent.parent / "photos"
    noise(photos / "dark" / "new.png")
    with pytest.raises(DataError, match="does not record which image was in which split"):
        evaluation.evaluate(old, callbacks=[], allow_changed_data=allow)
