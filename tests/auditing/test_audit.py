"""Audits of folders with planted faults, and of a run with planted wrong labels."""

import csv
import json

import numpy as np
import pytest
from helpers.commands import cifarnet
from PIL import Image

import cifarnet as library
from cifarnet import auditing, config
from cifarnet.errors import ConfigError, DataError
from cifarnet.evaluation.near_duplicates import with_near_duplicates, without

TRAINING = {
    "model": {"layers": ["Flatten", {"Dense": {"units": 2}}]},
    "train": {"epochs": 12, "batch_size": 16, "learning_rate": 0.0001, "precision": "float32"},
}


def photograph(seed: int, bright: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 100, (8, 8, 3), np.uint8)
    big = Image.fromarray(noise).resize((32, 32), Image.Resampling.BICUBIC)
    return np.asarray(big) + np.uint8(bright)


def fill(root, split: str, count: int, start: int) -> None:
    for label, name in enumerate(("dark", "light")):
        (root / split / name).mkdir(parents=True, exist_ok=True)
        for i in range(start, start + count):
            image = Image.fromarray(photograph(1000 * label + i, 150 * label))
            image.save(root / split / name / f"{i:03}.png")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of three splits with planted faults."""
    root = tmp_path_factory.mktemp("audit") / "photos"
    for split, count, start in (("train", 30, 0), ("val", 15, 100), ("test", 15, 200)):
        fill(root, split, count, start)
    dark = photograph(3, 0)
    Image.fromarray(dark).save(root / "test/dark/exact.png")
    Image.fromarray(dark[:, ::-1]).save(root / "val/dark/mirrored.png")
    Image.fromarray(photograph(1007, 150)).save(root / "test/light/recompressed.jpg", quality=60)
    Image.fromarray(photograph(5, 60)).save(root / "train/dark/within.png")
    Image.new("RGB", (32, 32), (9, 9, 9)).save(root / "train/dark/plain.png")
    (root / "train/light/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    for i in range(5):  # wrong labels
        Image.fromarray(photograph(2000 + i, 150)).save(root / f"val/dark/wrong{i}.png")
    return root


def settings(root):
    return config.parse({"data": {"source": "directory", "path": str(root)}, **TRAINING})


@pytest.fixture(scope="module")
def found(photos):
    return library.audit(settings(photos), output=photos.parent / "results", callbacks=[])


def test_counts_are_those_planted(found):
    assert found.scalars() == {
        "leaks": 3,
        "exact_duplicates": 1,
        "near_duplicates": 3,
        "conflicting_labels": 0,
        "one_color": 1,
        "unreadable": 1,
        "class_ratio": 32 / 30,
        "missing_classes": 0,
    }
    counts = {(one.split, one.other): (one.exact, one.near) for one in found.overlaps}
    assert {pair: numbers for pair, numbers in counts.items() if any(numbers)} == {
        ("train", "train"): (0, 1),
        ("validation", "train"): (0, 1),
        ("test", "train"): (1, 1),
        ("test", "validation"): (0, 1),  # the mirrored image, of the exact one
    }


def test_each_finding_is_a_row_of_the_table_and_names_its_files(found):
    with auditing.files(found).table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    duplicates = [row for row in rows if row["kind"].endswith("duplicate")]
    assert [row["distance"] for row in duplicates[:1]] == ["0"]
    named = [(row["file"], row["other_file"]) for row in duplicates]
    assert len(named) == len(set(named))  # an exact pair is not listed as a near one too
    pairs = {row["file"]: row for row in reversed(duplicates)}
    assert pairs["test/dark/exact.png"]["other_file"] == "train/dark/003.png"
    assert pairs["test/dark/exact.png"]["kind"] == "exact_duplicate"
    assert pairs["test/light/recompressed.jpg"]["other_file"] == "train/light/007.png"
    assert pairs["train/dark/within.png"]["other_file"] == "train/dark/005.png"
    assert pairs["val/dark/mirrored.png"]["mirrored"] == "yes"
    assert float(pairs["test/light/recompressed.jpg"]["distance"]) < 0.16
    others = {row["kind"]: row["file"] for row in rows if not row["kind"].endswith("duplicate")}
    assert others == {"one_color": "train/dark/plain.png", "unreadable": "train/light/broken.png"}


def test_one_picture_under_two_labels_in_a_split_is_counted_shown_and_named(tmp_path):
    root = tmp_path / "photos"
    fill(root, "train", 6, 0)
    fill(root, "val", 3, 100)
    fill(root, "test", 3, 200)
    Image.fromarray(photograph(2, 0)).save(root / "train/light/relabeled.png")
    Image.fromarray(photograph(4, 0)).save(root / "train/dark/copy.png")  # of the same class
    stages = []

    class Stages(library.Callback):
        def on_stage(self, what):
            stages.append(what)

    record = library.audit(settings(root), output=tmp_path / "found", callbacks=[Stages()])
    assert (record.leaks, record.exact_duplicates, record.conflicting_labels) == (0, 2, 1)
    (pair,) = record.duplicates
    assert (pair.file, pair.other_file) == ("train/light/relabeled.png", "train/dark/002.png")
    assert (pair.label, pair.other_label, pair.exact) == ("light", "dark", True)
    assert any("0 % of the pairs done" in stage for stage in stages)
    words = ["-o", "data.source=directory", "-o", f"data.path={root}"]
    gate = ("--require", "conflicting_labels<=0")
    done = cifarnet("data", "audit", *words, *gate, cwd=tmp_path, code=3)
    assert "1 image with a duplicate of another label" in done.stdout
    named = "two labels: train/light/relabeled.png (light) = train/dark/002.png (dark)"
    assert named in done.stdout


def test_the_sheet_shows_leaks_alone_if_there_are_any(found):
    assert {one.split != one.other_split for one in found.duplicates} == {True}
    with Image.open(auditing.files(found).duplicates) as picture:
        assert picture.width > 300
    assert not auditing.files(found).doubts.exists()


def test_the_command_names_leaks_and_fails_its_gate(photos, tmp_path):
    words = ["-o", "data.source=directory", "-o", f"data.path={photos}", "--output", "found"]
    shown = cifarnet("data", "audit", *words, cwd=tmp_path).stdout
    assert "3 of 68 validation and test images" in shown
    assert "leak: test/dark/exact.png = train/dark/003.png" in shown
    gate = ("--require", "leaks<=2", "--json")
    done = cifarnet("data", "audit", *words, *gate, cwd=tmp_path, code=3)
    failure = json.loads(done.stdout)
    assert "required leaks <= 2, measured 3" in failure["error"]
    assert failure["result"]["leaks"] == 3
    document = json.loads((tmp_path / "found/audit.json").read_text())
    assert (document["leaks"], document["format_version"]) == (3, 1)


def test_planted_wrong_labels_are_doubted_first(photos, tmp_path):
    run = library.train(settings(photos), root=tmp_path, callbacks=[])
    found = library.audit(run=run, callbacks=[])
    wrong = {f"val/dark/wrong{i}.png" for i in range(5)}
    assert {one.file for one in found.doubts[:5]} == wrong
    assert all(one.label == "dark" and one.predicted == "light" for one in found.doubts[:5])
    believed = [one.label_confidence for one in found.doubts]
    assert believed == sorted(believed) and len(set(believed)) > 1
    assert found.path.parent == run.evaluation_folder and found.unreadable is None
    assert auditing.files(found).doubts.is_file()
    library.evaluate(run, "validation", callbacks=[])  # predictions that are used next time
    assert library.audit(run=run, callbacks=[]).doubts == found.doubts
    accuracy = library.evaluate(run, callbacks=[], near_duplicates=auditing.files(found).table)
    part = accuracy.without_near_duplicates
    assert part is not None and (part.images, part.left_out) == (30, 2)
    assert library.evaluate(run, callbacks=[]).without_near_duplicates is None


def test_a_config_and_a_run_are_refused(photos):
    with pytest.raises(ConfigError, match="received both"):
        library.audit(settings(photos), run="latest", callbacks=[])


# --- the list that evaluate takes -----------------------------------------------------


class OfCifar10:
    """Twenty images that are called CIFAR-10's."""

    classes = ("cat", "dog")

    def __init__(self, name: str = "cifar10"):
        images = type("Images", (), {"labels": np.arange(20) % 2, "files": ()})
        self.source = type("Source", (), {"name": name})
        self.images = lambda split: images


def test_accuracy_without_listed_images_is_computed_by_hand(tmp_path):
    path = tmp_path / "duplicates.csv"
    path.write_text("TestID,TrainID,Distance,Judgment\n3,7,0.1,1\n5,9,0.2,2\n3,8,0.3,0\n")
    known = with_near_duplicates(OfCifar10(), "test", path)
    predicted = np.zeros((20, 2))
    predicted[:, 0] = 1.0  # right for even numbers
    part = without(known, {"probabilities": predicted, "labels": np.arange(20) % 2})
    assert (part.images, part.left_out, part.left_out_accuracy) == (18, 2, 0.0)
    assert part.accuracy_without_near_duplicates == 10 / 18
    # Wilson 1927 for 10 of 18.
    assert part.interval == pytest.approx([0.3372, 0.7544], abs=2e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "expected the columns of audit.csv, or TestID"),
        ("", "expected the columns"),
        ("TestID\n20\n", "names number 20"),
        ("TestID\nx\n", "invalid literal"),
        (
            "kind,split,index,file,class,other_split\nnear_duplicate,test,3,,cat,train\n",
            "test image 3 is dog here",
        ),
    ],
)
def test_another_list_is_refused(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        with_near_duplicates(OfCifar10(), "test", tmp_path / "list.csv")
    with pytest.raises(DataError, match="TestID is for"):
        (tmp_path / "list.csv").write_text("TestID\n1\n")
        with_near_duplicates(OfCifar10("synthetic"), "test", tmp_path / "list.csv")
