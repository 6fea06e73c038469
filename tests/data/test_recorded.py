"""The recorded split of a run, from a folder that was changed in several ways."""

import shutil
from collections import Counter

import numpy as np
import pytest
from helpers.folders import config, fill, save

from cifarnet import config as cfg
from cifarnet import data, runs, training
from cifarnet.data.recorded import load_recorded, verify_images
from cifarnet.errors import DataError
from cifarnet.runs import Run

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Run:
    """A run on 30 of the training images of a folder of 60."""
    place = tmp_path_factory.mktemp("recorded")
    fill(place / "photos", {"ant": 30, "bee": 30})
    folder = config(place / "photos", limit=30, validation_fraction=0.2)
    network = cfg.ModelConfig(layers=["Flatten", {"Dense": {"units": 2}}])
    train = cfg.TrainConfig(epochs=1, batch_size=8, learning_rate=0.01, precision="float32")
    settings = cfg.Config(data=folder, model=network, train=train)
    return training.train(settings, place / "runs", callbacks=[])


@pytest.fixture
def run(trained, tmp_path) -> Run:
    """A copy of the run, on a copy of its folder."""
    shutil.copytree(trained.path.parents[1], tmp_path, dirs_exist_ok=True)
    copy = Run(tmp_path / "runs" / trained.path.name)
    with runs.changing(copy, copy.config_file):
        text = copy.config_file.read_text()
        copy.config_file.write_text(text.replace(str(trained.path.parents[1]), str(tmp_path)))
    return copy


def load(run: Run, allow: bool = False) -> data.Dataset:
    return load_recorded(run, cfg.load(run.config_file), allow_changed=allow)


def names(run: Run, split: str) -> list[str]:
    return [row.name for row in runs.read_images(run) if row.split == split]


def test_unchanged_images_are_those_of_the_training(run):
    dataset = load(run)
    record = run.read_record().data
    assert dataset.changes == ""
    assert dataset.digests() == record.digests
    assert dataset.classes == ("ant", "bee")
    counts = {split: len(dataset.images(split).labels) for split in SPLITS}
    assert (
        counts
        == record.counts
        == Counter(row.split for row in runs.read_images(run) if row.split != "unused")
    )
    assert counts["train"] + counts["validation"] == 30 and counts["validation"] == 6
    for split in SPLITS:
        images = dataset.images(split)
        assert [file.name for file in images.files] == names(run, split)
        # Red is 0 of an ant and 50 of a bee, green the number of the image.
        expected = [(50 * (name[:3] == "bee"), int(name[4:7])) for name in names(run, split)]
        assert [tuple(one[0, 0, :2].tolist()) for one in images.pixels] == expected
        assert images.labels.tolist() == [int(name[:3] == "bee") for name in names(run, split)]
    used = {name for split in SPLITS for name in names(run, split)}
    unused = names(run, "unused")
    assert len(unused) == 60 - len(used) > 0 and not used & set(unused)
    assert [one.right for one in verify_images(run, cfg.load(run.config_file))] == [True]


def test_all_changes_are_counted_by_split_and_kind(run):
    photos = run.path.parents[1] / "photos"
    before = {split: names(run, split) for split in (*SPLITS, "unused")}
    lost = [before["train"][0], before["train"][3], before["test"][1]]
    for name in (*lost, before["unused"][0]):
        (photos / name).unlink()
    changed = [before["train"][1], before["validation"][0]]
    for name in changed:
        save(photos / name, (0, 0, 200))
    for name in ("new-1", "new-2"):
        save(photos / "bee" / f"{name}.png")
    train, validation, test = (len(before[split]) for split in SPLITS)
    expected = (
        f"2 of {train} train images missing or unreadable, "
        f"1 of {test} test images missing or unreadable, "
        f"1 of {train} train images changed, 1 of {validation} validation images changed, "
        "2 new images, such as bee/new-1.png"
    )
    with pytest.raises(DataError, match=f"was trained on: {expected}\\. Restore the images"):
        load(run)
    (verdict,) = verify_images(run, cfg.load(run.config_file))
    assert verdict.right is False and expected in verdict.found
    # A training cannot use fewer images, and so is not told to.
    with pytest.raises(DataError, match=expected) as raised:
        training.resume(run, ["train.epochs=2"], callbacks=[])
    assert "--allow-changed-data" not in str(raised.value)
    assert f"cifarnet train --config {run.config_file}" in str(raised.value)
    dataset = load(run, allow=True)
    assert dataset.changes == expected
    gone = {*lost, *changed}
    for split in SPLITS:
        remaining = [name for name in before[split] if name not in gone]
        images = dataset.images(split)
        assert [file.name for file in images.files] == remaining
        assert images.labels.tolist() == [int(name[:3] == "bee") for name in remaining]
        assert images.pixels[:, 0, 0, 1].tolist() == [int(name[4:7]) for name in remaining]


def test_a_folder_that_is_not_there_is_unknown(run):
    shutil.rmtree(run.path.parents[1] / "photos")
    assert [one.right for one in verify_images(run, cfg.load(run.config_file))] == [None]


def test_sources_without_files_have_no_rows():
    dataset = data.load(cfg.DataConfig(source="synthetic", limit=20, validation_fraction=0.5), 0)
    assert data.image_rows(dataset) == []
    np.testing.assert_array_equal(np.bincount(dataset.train.labels), [1] * 10)
