"""Commands on folders of images, as other systems and users leave them."""

import json
import os

import pytest
from helpers.commands import cifarnet
from helpers.folders import fill, save

CONFIG = """\
data: {source: directory, path: photos, image_size: 8, validation_fraction: 0.25}
model: {layers: [Flatten, {Dense: {units: 2}}]}
train: {epochs: 1, batch_size: 8, learning_rate: 0.01, precision: float32}
"""
TRAIN = ("train", "--config", "folder.yaml")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a config; the images, in `photos`, are left to the test."""
    monkeypatch.setenv("CIFARNET_HOME", str(tmp_path / "home"))
    (tmp_path / "folder.yaml").write_text(CONFIG)
    return tmp_path


def test_a_file_name_that_is_not_utf8_leaves_a_whole_run(place):
    fill(place / "photos", {"cat": 60, "dog": 60})
    (place / "photos/cat" / os.fsdecode(b"b\xe9te.png")).write_bytes(b"x")
    save(place / "photos/dog" / os.fsdecode(b"b\xe9te\n.jpg"))
    done = cifarnet(*TRAIN, cwd=place)
    assert r"cat/b\udce9te.png is not a readable image" in done.stdout + done.stderr
    assert "reading 122 images from the folder photos" in done.stdout
    cifarnet("runs", "verify", "latest", cwd=place)
    shown = cifarnet("evaluate", "latest", "--json", cwd=place)
    assert 10 < json.loads(shown.stdout)["count"] < 40


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines"])
def test_a_class_name_that_cannot_be_stored_is_refused_before_a_run_is_made(place, name):
    fill(place / "photos", {"tea": 8, os.fsdecode(name): 8})
    done = cifarnet(*TRAIN, cwd=place, code=1)
    assert "expected the name of a class in printable UTF-8; rename the folder" in done.stderr
    assert not (place / "runs").exists()


@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9"), "two\nlines", "a/b", "..", "", "a" * 65])
def test_a_run_name_that_is_no_folder_name_is_refused_before_a_run_is_made(place, name):
    fill(place / "photos", {"cat": 8, "dog": 8})
    done = cifarnet(*TRAIN, "-o", f"name={json.dumps(name)}", cwd=place, code=1)
    assert done.stderr.startswith("Error: ") and "name: " in done.stderr
    cifarnet(*TRAIN, "-o", f"name={name}", cwd=place, code=1)
    assert not (place / "runs").exists()


def test_what_is_left_out_and_how_the_splits_were_made_is_shown(place):
    fill(place / "photos/train", {"cat": 8, "dog": 8})
    fill(place / "photos/valid", {"cat": 4, "dog": 4}, start=8)
    (place / "photos/train/cat/gone.png").symlink_to("/nowhere")
    shown = json.loads(
        cifarnet("data", "info", "--config", "folder.yaml", "--json", cwd=place).stdout
    )
    assert "not used in photos: 1 dangling link" in shown["notes"]
    assert any("the validation split is the folder valid" in note for note in shown["notes"])
    assert shown["splits"]["validation"]["per_class"] == {"cat": 4, "dog": 4}


def test_a_config_whose_path_is_not_utf8_leaves_a_whole_run(place):
    fill(place / "photos", {"cat": 12, "dog": 12})
    name = os.fsdecode(b"caf\xe9.yaml")
    (place / "folder.yaml").rename(place / name)
    cifarnet("train", "--config", name, cwd=place)
    (record,) = (place / "runs").glob("*/run.json")
    assert json.loads(record.read_text("utf-8"))["config_file"] == r"caf\udce9.yaml"
    cifarnet("runs", "verify", "latest", cwd=place)
    cifarnet("evaluate", "latest", cwd=place)


def test_runs_in_a_folder_whose_name_is_not_utf8_are_whole(place):
    fill(place / "photos", {"cat": 12, "dog": 12})
    work = place / os.fsdecode(b"d\xe9")
    work.mkdir()
    cifarnet("train", "--config", place / "folder.yaml", cwd=work)
    cifarnet("evaluate", "latest", cwd=work)
    cifarnet("runs", "verify", "latest", cwd=work)
    cifarnet("runs", "list", cwd=work)


def test_the_caches_of_decoded_images_are_listed_and_cleared(place):
    fill(place / "photos", {"cat": 20, "dog": 20})
    cifarnet("data", "info", "--config", "folder.yaml", cwd=place)
    old = place / "home/image-folders/0123456789abcdef-8.npz"  # of older versions
    old.write_bytes(b"x" * 1_000)
    os.utime(old, (0, 0))
    (unknown, one) = json.loads(cifarnet("data", "cache", "--json", cwd=place).stdout)["caches"]
    assert (unknown["folder"], unknown["images"], unknown["bytes"]) == ("unknown", 0, 1_000)
    assert (one["folder"], one["image_size"], one["images"]) == (str(place / "photos"), 8, 40)
    assert 40 * 8 * 8 * 3 < one["bytes"] < 40 * 8 * 8 * 3 + 20_000
    shown = cifarnet("data", "cache", cwd=place).stdout.splitlines()
    assert shown[1].endswith(f"MB  40 images of 8 x 8: {place / 'photos'}")
    assert shown[2].startswith("2 caches, 0.0")
    cleared = cifarnet("data", "cache", "--clear", cwd=place).stdout.splitlines()
    assert cleared[0].startswith("removed 2 caches, 0.0") and cleared[1] == "0 caches, 0.0 MB"
    left = {path.suffix for path in (place / "home/image-folders").iterdir()}
    assert left == {".lock"}
