"""The user's own images in a folder per class: splits, limits, unreadable and duplicate images."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.folders import config, fill

from cifarnet import config as cfg
from cifarnet import data, runs
from cifarnet.errors import DataError

OLD = Path(__file__).parents[1] / "fixtures" / "folder-format-1"


def names(images: data.Images) -> list[str]:
    return [file.name for file in images.files]


def share(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


# --- the test split -------------------------------------------------------------------


def test_without_a_test_folder_the_hash_of_class_and_file_name_holds_images_out(photos):
    fill(photos, {"cat": 150, "caf\u00e9": 150})
    source = data.load_source(config(photos, test_fraction=0.2))
    assert share("cat/000.png") == pytest.approx(0.0, abs=1)
    expected = {f"{c}/{i:03}.png" for c in ("cat", "caf\u00e9") for i in range(150)}
    expected = {name for name in expected if share(name) < 0.2}
    assert set(names(source.test)) == expected and 40 < len(expected) < 80
    assert len(source.train.labels) == 300 - len(expected)
    assert not set(names(source.train)) & expected
    for images in (source.train, source.test):
        for name, label in zip(names(images), images.labels, strict=True):
            assert source.classes[label] == name.split("/")[0]


def test_an_nfd_name_is_hashed_as_nfc(photos):
    for form, root in (("caf\u00e9", photos / "nfc"), ("cafe\u0301", photos / "nfd")):
        fill(root, {form: 40, "tea": 40})
    first, second = (data.load_source(config(photos / name)) for name in ("nfc", "nfd"))
    assert names(first.test) == names(second.test) and first.test.files == second.test.files


def test_a_grown_or_shrunk_folder_has_its_images_on_the_side_where_they_were(photos):
    fill(photos, {"cat": 60, "dog": 60})
    before = data.load_source(config(photos))
    fill(photos, {"cat": 40, "dog": 10}, start=60)
    (photos / "cat" / "000.png").unlink()
    (photos / "dog" / "001.png").rename(photos / "dog" / "renamed.png")
    after = data.load_source(config(photos))
    gone = {"cat/000.png", "dog/001.png"}
    assert set(names(before.test)) - gone <= set(names(after.test))
    assert set(names(before.train)) - gone <= set(names(after.train))


@pytest.mark.parametrize(("fraction", "tests"), [(1e-9, 1), (1 - 1e-9, 3)])
def test_each_class_has_an_image_on_both_sides(photos, fraction, tests):
    fill(photos, {"cat": 4, "dog": 4})
    source = data.load_source(config(photos, test_fraction=fraction))
    for side, count, extreme in ((source.test, tests, min), (source.train, 4 - tests, max)):
        assert np.bincount(side.labels).tolist() == [count, count]
        for name in ("cat", "dog"):
            extreme_one = extreme((f"{name}/{i:03}.png" for i in range(4)), key=share)
            assert extreme_one in names(side)


# --- unreadable images ----------------------------------------------------------------


def test_unreadable_images_are_listed_and_the_rest_is_used(photos):
    fill(photos, {"cat": 10, "dog": 10})
    whole = (photos / "cat" / "000.png").read_bytes()
    (photos / "cat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (photos / "dog" / "text.jpg").write_text("not an image")
    (photos / "dog" / "Thumbs.db").write_bytes(b"ignored by its name")
    source = data.load_source(config(photos, max_unreadable=0.1))
    assert len(source.train.labels) + len(source.test.labels) == 20
    (note,) = source.notes
    assert note.startswith("skipped 2 unreadable images: cat/cut.png is not") and "text.jpg" in note
    with pytest.raises(DataError, match=r"2 of 22 .*max_unreadable 0\.05.*cut\.png"):
        data.load_source(config(photos, max_unreadable=0.05))


def test_of_many_unreadable_images_a_few_are_listed_in_order(photos):
    fill(photos, {"cat": 10, "dog": 10})
    for i in reversed(range(60)):
        (photos / "cat" / f"bad-{i:02}.png").write_text("not an image")
    with pytest.raises(DataError) as raised:
        data.load_source(config(photos, max_unreadable=0.05))
    text = str(raised.value)
    assert "60 of 80 images" in text and "and 55 more" in text and len(text) < 1_000
    listed = [part.split()[0] for part in text.partition("allows: ")[2].split("; ")[:5]]
    assert listed == [f"cat/bad-{i:02}.png" for i in range(5)]


def test_a_class_too_small_to_hold_out_from_is_named(photos):
    fill(photos, {"cat": 5, "dog": 1})
    with pytest.raises(DataError, match=r"'dog' has 1 .*data\.test_fraction"):
        data.load_source(config(photos))


def test_a_class_whose_images_for_a_split_are_all_unreadable_is_named(photos):
    fill(photos / "train", {"cat": 20, "dog": 20})
    fill(photos / "test", {"cat": 20, "dog": 1}, start=20)
    (photos / "test" / "dog" / "020.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"folder .*test/dog has no readable image for the test"):
        data.load_source(config(photos, max_unreadable=0.1))


# --- runs of format 1 -----------------------------------------------------------------


def test_the_split_of_a_run_of_format_1_can_still_be_loaded():
    (run,) = runs.all_runs(OLD / "runs")
    recorded = run.read_record().data.digests
    settings = cfg.load(run.config_file).data.model_copy(update={"path": OLD / "photos"})
    dataset = data.load(settings, 0, old_split=True)
    assert dataset.digests() == recorded
    assert [len(dataset.split(name).labels) for name in data.SPLITS] == [12, 4, 4]
    assert data.load(settings, 0).digests() != recorded


# --- limit ----------------------------------------------------------------------------


def test_limit_is_applied_before_images_are_read(photos):
    fill(photos, {"cat": 40, "dog": 40})
    whole = data.load_source(config(photos))
    for file in names(whole.train):
        (photos / file).write_bytes(b"damaged")
    limited = config(photos, limit=10, max_unreadable=0.0)
    with pytest.raises(DataError, match=rf"^.*: 10 of {10 + len(whole.test.labels)} images"):
        data.load_source(limited, seed=0)


def test_limit_chooses_the_training_images_by_the_seed_and_names_the_others(photos):
    fill(photos, {"cat": 40, "dog": 30})
    whole = data.load_source(config(photos))
    limited = config(photos, limit=10, validation_fraction=0.2)
    first, again, other = (data.load_source(limited, seed=seed) for seed in (0, 0, 1))
    assert np.bincount(first.train.labels).tolist() == [5, 5]
    assert first.train.files == again.train.files != other.train.files
    assert first.test.files == whole.test.files
    assert sorted([*first.unused, *names(first.train)]) == sorted(names(whole.train))
    dataset = data.load(limited, 0)
    assert np.bincount(dataset.train.labels).tolist() == [4, 4]
    assert {*names(dataset.train), *names(dataset.validation)} == set(names(first.train))
    assert data.load_source(limited).train.files == whole.train.files  # no seed: all
    with pytest.raises(DataError, match=rf"expected 2 .* to {len(whole.train.labels)} "):
        data.load_source(config(photos, limit=71), seed=0)


# --- duplicates -----------------------------------------------------------------------


def test_test_images_that_are_training_images_too_are_noted(photos):
    fill(photos / "train", {"cat": 3, "dog": 3})
    fill(photos / "test", {"cat": 2, "dog": 2}, start=2)
    (note,) = data.load_source(config(photos)).notes
    assert note == (
        "2 of 4 test images are byte-identical to training images, so the test accuracy is too "
        "high: test/cat/002.png = train/cat/002.png; test/dog/002.png = train/dog/002.png"
    )
    shutil.copytree(photos / "train" / "cat", photos / "test" / "cat", dirs_exist_ok=True)
    shutil.copytree(photos / "train" / "dog", photos / "test" / "dog", dirs_exist_ok=True)
    (note,) = data.load_source(config(photos)).notes
    assert note.startswith("6 of 8 test images") and note.endswith("; and 1 more")


def test_every_image_has_its_file_and_its_digest(photos):
    fill(photos, {"cat": 6, "dog": 6})
    dataset = data.load(config(photos, validation_fraction=0.3), 0)
    for split in data.SPLITS:
        images = dataset.split(split)
        assert len(images.files) == len(images.labels) > 0
        for file, pixels in zip(images.files, images.pixels, strict=True):
            path = photos / file.name
            assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
            np.testing.assert_array_equal(pixels, data.read_image(path, 8))
