"""Layouts of image folders, their classes, and what is left out."""

import os

import numpy as np
import pytest
from helpers.folders import config, fill, save
from PIL import Image

from cifarnet import data
from cifarnet.data.image_layout import read_layout
from cifarnet.errors import DataError

LAYOUTS = r"Expected a folder per class \(CLASS/IMAGE\), or train/CLASS/IMAGE with test/, val/"
NFC, NFD = "caf\u00e9", "cafe\u0301"


def counts(images: data.Images) -> list[int]:
    return np.bincount(images.labels).tolist()


def test_train_and_test_folders_are_kept_apart_in_sorted_order(photos):
    fill(photos / "train", {"cat": 3, "dog": 2})
    fill(photos / "test", {"cat": 1, "dog": 4}, start=3)
    source = data.load_source(config(photos))
    assert source.classes == ("cat", "dog") == data.class_names(config(photos))
    assert source.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert source.test.labels.tolist() == [0, 1, 1, 1, 1]
    assert source.train.pixels[:, 0, 0].tolist() == [
        [0, 0, 0],
        [0, 1, 0],
        [0, 2, 0],
        [50, 0, 0],
        [50, 1, 0],
    ]
    assert source.train.pixels.dtype == source.train.labels.dtype == np.uint8
    assert source.train.files[3].name == "train/dog/000.png"
    assert source.validation is None and source.notes == ()


@pytest.mark.parametrize(
    "names", [("train", "test"), ("Train", "Test"), ("TRAIN", "test"), ("train", "Test")]
)
def test_train_and_test_in_any_case_are_the_splits_they_say(photos, names):
    for name, count in zip(names, (8, 3), strict=True):
        fill(photos / name, {"cat": count, "dog": count})
    dataset = data.load(config(photos, validation_fraction=0.25), 0)
    assert dataset.classes == ("cat", "dog")
    assert counts(dataset.train) == [6, 6] and counts(dataset.validation) == [2, 2]
    assert counts(dataset.test) == [3, 3]


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
def test_a_validation_folder_is_the_validation_split(photos, validation):
    for name, count in (("train", 8), (validation, 4), ("test", 3)):
        fill(photos / name, {"cat": count, "dog": count})
    dataset = data.load(config(photos, validation_fraction=0.25), 0)
    assert [counts(s) for s in (dataset.train, dataset.validation, dataset.test)] == [
        [8, 8],
        [4, 4],
        [3, 3],
    ]
    assert {f.name.split("/")[0] for f in dataset.validation.files} == {validation}
    (note, *_) = dataset.notes  # the others: the same images are in all splits
    assert note == (
        f"the validation split is the folder {validation}; data.validation_fraction does not apply"
    )


def test_train_and_val_alone_hold_the_test_split_out_of_train(photos):
    fill(photos / "train", {"cat": 50, "dog": 50})
    fill(photos / "val", {"cat": 4, "dog": 4}, start=50)
    dataset = data.load(config(photos, test_fraction=0.3), 0)
    assert counts(dataset.validation) == [4, 4]
    assert len(dataset.train.labels) + len(dataset.test.labels) == 100
    assert 15 < len(dataset.test.labels) < 45
    assert {f.name.split("/")[0] for f in dataset.test.files} == {"train"}
    assert "there is no test folder: data.test_fraction 0.3 of train is the test split" in (
        dataset.notes
    )


def test_other_folders_beside_the_splits_are_counted(photos):
    fill(photos / "train", {"cat": 3, "dog": 3})
    fill(photos / "test", {"cat": 3, "dog": 3}, start=3)
    (photos / "annotations").mkdir()
    save(photos / "cover.png")
    (note,) = data.load_source(config(photos)).notes
    assert note == (f"not used in {photos.name}: 1 image outside of the splits, 1 other folder")


def both_names_of_a_split(root):
    fill(root / "train", {"cat": 3, "dog": 3})
    fill(root / "val", {"cat": 3, "dog": 3})
    fill(root / "valid", {"cat": 3, "dog": 3})


def no_train(root):
    fill(root / "val", {"cat": 3, "dog": 3})
    fill(root / "test", {"cat": 3, "dog": 3})


def only_train(root):
    fill(root / "train", {"cat": 3, "dog": 3})


def images_beside_classes(root):
    fill(root, {"cat": 3, "dog": 3})
    save(root / "stray.png")


def images_without_classes(root):
    for split in ("train", "test"):
        save(root / split / "1.png")


def nested_classes(root):
    fill(root / "animals", {"cat": 3, "dog": 3})
    fill(root / "things", {"car": 3, "cup": 3})


def splits_in_classes(root):
    for name in ("cat", "dog"):
        fill(root / name, {"train": 3, "test": 3})


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (both_names_of_a_split, "found both val/ and valid/"),
        (no_train, "found no train/ beside test/"),
        (only_train, "found 1: train"),
        (images_beside_classes, r"found the image stray\.png outside of a class folder"),
        (images_without_classes, r"train: found the image 1\.png outside of a class folder"),
        (nested_classes, "animals: found no image in this class folder, but cat/"),
        (splits_in_classes, "cat: found no image in this class folder, but test/"),
    ],
)
def test_a_layout_that_is_not_understood_is_an_error_that_shows_those_that_are(photos, make, found):
    make(photos)
    with pytest.raises(DataError, match=rf"{found}.* {LAYOUTS}"):
        data.load_source(config(photos))


def test_fewer_than_two_or_more_than_1000_classes_are_refused(photos):
    fill(photos / "one", {"cat": 3})
    with pytest.raises(DataError, match=rf"to 1,000 class folders, found 1: cat\. {LAYOUTS}"):
        data.load_source(config(photos / "one"))
    for i in range(1001):
        (photos / "many" / f"{i:03}").mkdir(parents=True)
    with pytest.raises(DataError, match="found 1001"):
        data.class_names(config(photos / "many"))


def test_a_folder_that_is_not_there_is_named(photos):
    with pytest.raises(DataError, match=r"expected a folder with a folder per class.*none"):
        data.load_source(config(photos / "none"))


def test_an_empty_class_is_named(photos):
    fill(photos, {"cat": 5, "dog": 5})
    (photos / "eel").mkdir()
    Image.new("L", (8, 8)).save(photos / "eel" / "1.tif")
    with pytest.raises(DataError, match=r"folder .*eel has no image;.* Not used: 1 TIFF image"):
        data.load_source(config(photos))


def test_a_class_missing_from_test_is_named(photos):
    fill(photos / "train", {"cat": 3, "dog": 3})
    fill(photos / "test", {"cat": 3})
    with pytest.raises(DataError, match=r"class folder .*test/dog has no image"):
        data.load_source(config(photos))


def test_a_class_only_in_test_is_named(photos):
    fill(photos / "train", {"cat": 3, "dog": 3})
    fill(photos / "test", {"cat": 3, "dog": 3, "eel": 3})
    with pytest.raises(DataError, match=r"expected the classes of .*train, found also eel"):
        data.load_source(config(photos))


# --- what is left out -----------------------------------------------------------------


def test_junk_of_other_systems_is_skipped_without_a_word(photos):
    fill(photos, {"cat": 5, "dog": 5})
    expected = data.load_source(config(photos))
    junk = b"\0\5\x16\7" + bytes(100)
    for folder in (photos, photos / "cat"):
        for name in ("._000.png", ".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.jpg"):
            (folder / name).write_bytes(junk)
        for name in ("__MACOSX", "@eaDir", ".ipynb_checkpoints", "$RECYCLE.BIN"):
            save(folder / name / "000.png")
    source = data.load_source(config(photos, max_unreadable=0.0))
    assert source.classes == ("cat", "dog") and source.notes == ()
    assert (source.train.files, source.test.files) == (expected.train.files, expected.test.files)
    assert len(data.image_files([photos / "cat"])) == 5


def test_images_are_told_by_content_and_all_else_is_counted_by_reason(photos):
    fill(photos, {"cat": 5, "dog": 5})
    for i, suffix in enumerate((".jfif", ".jpe", ".jpg_large", "", ".PNG_old")):
        save(photos / "cat" / f"x{suffix}", (9, 9, 9 + i), format="JPEG")
    Image.new("L", (8, 8)).save(photos / "dog" / "1.tif")
    Image.new("L", (8, 8)).save(photos / "dog" / "2.tiff", format="TIFF")
    (photos / "dog" / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    (photos / "dog" / "labels.csv").write_text("1,2")
    (photos / "labels.csv").write_text("BM,BMW")
    (photos / "dog" / "README").write_text("about")
    (photos / "dog" / "more").mkdir()
    (photos / "dog" / "gone.png").symlink_to("/nowhere/gone.png")
    (photos / "dog" / "here.png").symlink_to(photos / "dog" / "000.png")
    os.mkfifo(photos / "dog" / "pipe.png")
    source = data.load_source(config(photos, max_unreadable=0.0))
    assert counts(source.train)[0] + counts(source.test)[0] == 10
    assert counts(source.train)[1] + counts(source.test)[1] == 6
    assert source.notes[0] == (
        f"not used in {photos.name}: 2 .csv files, 1 HEIC or AVIF image, 2 TIFF images, "
        "1 dangling link, 1 special file, 1 subfolder, 1 unnamed file"
    )


def test_image_files_takes_files_and_folders(photos):
    fill(photos, {"cat": 2})
    (photos / "cat" / "notes.txt").write_text("no image")
    save(photos / "cat" / "photo.jfif", format="JPEG")
    (photos / "empty").mkdir()
    given = [photos / "cat" / "001.png", photos / "cat"]
    names = [path.name for path in data.image_files(given)]
    assert names == ["001.png", "000.png", "001.png", "photo.jfif"]
    with pytest.raises(DataError, match="empty has no images"):
        data.image_files([photos / "empty"])
    with pytest.raises(DataError, match=r"no image file or folder .*gone\.png"):
        data.image_files([photos / "gone.png"])


# --- names ----------------------------------------------------------------------------


def test_nfc_and_nfd_names_of_one_class_are_one_class(photos):
    fill(photos / "train", {NFC: 3, "tea": 3})
    fill(photos / "test", {NFD: 2, "tea": 2}, start=3)
    source = data.load_source(config(photos))
    assert source.classes == (NFC, "tea") == data.class_names(config(photos))
    assert counts(source.train) == [3, 3] and counts(source.test) == [2, 2]
    assert source.test.files[0].name == f"test/{NFC}/003.png"


def test_nfc_and_nfd_folders_side_by_side_are_one_class(photos):
    fill(photos, {NFC: 10, NFD: 10, "tea": 20})
    layout = read_layout(photos)
    assert layout.classes == (NFC, "tea")
    names = [image.name for image in layout.images["train"]]
    assert len(set(names)) == 40 and sum(image.label == 0 for image in layout.images["train"]) == 20
    assert {name.split("/")[0] for name in names} == {NFC, NFD, "tea"}
    assert all((photos / name).exists() for name in names)


@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9"), "two\nlines", "bell\7"])
def test_a_class_name_that_is_not_printable_utf8_is_refused(photos, name):
    fill(photos, {"tea": 3, name: 3})
    escaped = {"c": r"caf\udce9", "t": r"two\x0alines", "b": r"bell\x07"}[name[0]]
    for load in (data.class_names, data.load_source):
        with pytest.raises(DataError, match="printable UTF-8; rename the folder") as error:
            load(config(photos))
        assert f"/{escaped}: " in str(error.value)


def test_file_names_are_escaped_reversibly(photos):
    names = [os.fsdecode(b"b\xe9te.png"), "two\nlines.png", r"b\udce9te.png", "\u00e9t\u00e9.png"]
    fill(photos, {"cat": 3, "dog": 3})
    for i, name in enumerate(names):
        save(photos / "cat" / name, (7, 7, 7 + i), format="PNG")
    source = data.load_source(config(photos))
    stored = {f.name for s in (source.train, source.test) for f in s.files}
    assert {
        r"cat/b\udce9te.png",
        r"cat/two\x0alines.png",
        r"cat/b\\udce9te.png",
        "cat/\u00e9t\u00e9.png",
    } < stored
    assert all(name.encode() and name.isprintable() for name in stored)


def test_an_unreadable_file_with_such_a_name_is_escaped_in_the_note(photos):
    fill(photos, {"cat": 5, "dog": 5})
    (photos / "cat" / os.fsdecode(b"b\xe9te.png")).write_bytes(b"x")
    (note,) = data.load_source(config(photos, max_unreadable=0.2)).notes
    assert r"cat/b\udce9te.png is not a readable image" in note and note.encode()
