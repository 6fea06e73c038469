"""The user's own images in a folder per class."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifarnet import data
from cifarnet.config import DataConfig
from cifarnet.errors import DataError

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def save(path: Path, color=RED, size=(8, 8), mode="RGB", **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).convert(mode).save(path, **options)
    return path


def fill(root: Path, counts: dict[str, int]) -> Path:
    """Make folders of distinct images: image i of a class has green i."""
    for label, (name, count) in enumerate(counts.items()):
        for i in range(count):
            save(root / name / f"{i:03}.png", (50 * label, i, 0))
    return root


def config(path: Path, **more) -> DataConfig:
    return DataConfig(source="directory", path=path, image_size=8, **more)


def test_train_and_test_folders_are_kept_apart_in_sorted_order(tmp_path):
    fill(tmp_path / "train", {"cat": 3, "dog": 2})
    fill(tmp_path / "test", {"cat": 1, "dog": 4})
    source = data.load_source(config(tmp_path))
    assert source.classes == ("cat", "dog") == data.class_names(config(tmp_path))
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


def test_without_them_the_same_share_of_each_class_is_always_held_out(tmp_path):
    fill(tmp_path, {"cat": 20, "dog": 10})
    first = data.load_source(config(tmp_path, test_fraction=0.2))
    again = data.load_source(config(tmp_path, test_fraction=0.2))
    assert np.bincount(first.test.labels).tolist() == [4, 2]
    np.testing.assert_array_equal(first.test.pixels, again.test.pixels)
    train, test = ({tuple(p) for p in s.pixels[:, 0, 0]} for s in (first.train, first.test))
    assert len(train | test) == 30 and not train & test


def test_any_size_and_mode_becomes_rgb_of_the_input_size(tmp_path):
    for i, mode in enumerate(("RGB", "RGBA", "L", "P", "1", "LA")):
        save(tmp_path / "a" / f"{i}.png", (255, 255, 255), (20 + i, 5 + 3 * i), mode)
    save(tmp_path / "b" / "0.jpg", RED, (40, 10), quality=95)
    save(tmp_path / "b" / "1.JPEG", RED, (3, 3), "CMYK", format="JPEG", quality=95)
    source = data.load_source(config(tmp_path, test_fraction=0.3))
    a, b = (
        np.concatenate([s.pixels[s.labels == k] for s in (source.train, source.test)])
        for k in (0, 1)
    )
    assert a.shape == (6, 8, 8, 3) and b.shape == (2, 8, 8, 3)
    assert (a == 255).all()
    assert np.abs(b.astype(int) - RED).max() < 12


def test_the_whole_image_is_resized(tmp_path):
    image = np.zeros((16, 32, 3), np.uint8)
    image[:, 16:] = GREEN
    path = tmp_path / "halves.png"
    Image.fromarray(image).save(path)
    pixels = data.read_image(path, 8)
    np.testing.assert_array_equal(pixels[:, :3], np.zeros((8, 3, 3)))
    np.testing.assert_array_equal(pixels[:, 5:], np.broadcast_to(GREEN, (8, 3, 3)))


def test_the_exif_orientation_is_applied(tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    image[0] = BLUE  # the top row, which a quarter turn clockwise puts on the right
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(tmp_path / "turned.png", exif=exif)
    pixels = data.read_image(tmp_path / "turned.png", 8)
    np.testing.assert_array_equal(pixels[:, 7], np.broadcast_to(BLUE, (8, 3)))
    assert not pixels[:, :7].any()


def test_sixteen_bit_gray_keeps_its_range(tmp_path):
    gray = np.repeat(np.array([0, 257 * 60, 257 * 128, 65535], np.uint16), 16).reshape(8, 8)
    Image.fromarray(gray).save(tmp_path / "deep.png")
    pixels = data.read_image(tmp_path / "deep.png", 8)
    assert sorted(set(pixels.ravel().tolist())) == [0, 60, 128, 255]


def test_unreadable_images_are_listed_and_the_rest_is_used(tmp_path):
    fill(tmp_path, {"cat": 10, "dog": 10})
    whole = (tmp_path / "cat" / "000.png").read_bytes()
    (tmp_path / "cat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "dog" / "text.jpg").write_text("not an image")
    (tmp_path / "dog" / "Thumbs.db").write_bytes(b"ignored by its name")
    source = data.load_source(config(tmp_path, max_unreadable=0.1))
    assert len(source.train.labels) + len(source.test.labels) == 20
    (note,) = source.notes
    assert "2 unreadable" in note and "cut.png" in note and "text.jpg" in note
    with pytest.raises(DataError, match=r"2 of 22 .*max_unreadable 0\.05.*cut\.png"):
        data.load_source(config(tmp_path, max_unreadable=0.05))


def test_an_image_that_claims_a_huge_size_is_unreadable_not_decoded(tmp_path):
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(DataError, match=r"bomb\.png is not a readable image.*decompression bomb"):
        data.read_image(tmp_path / "bomb.png", 8)


def test_what_is_not_png_or_jpeg_inside_is_not_passed_to_other_programs(tmp_path, monkeypatch):
    postscript = io.BytesIO()
    Image.new("RGB", (8, 8)).save(postscript, "EPS")
    (tmp_path / "image.png").write_bytes(postscript.getvalue())
    # Pillow runs Ghostscript on EPS; this script leaves a file if it is run.
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "gs"
    script.write_text(f"#!/bin/sh\n: > {tmp_path / 'ran'}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(DataError, match="cannot identify"):
        data.read_image(tmp_path / "image.png", 8)
    assert not (tmp_path / "ran").exists()


def test_an_empty_class_is_named(tmp_path):
    fill(tmp_path, {"cat": 5, "dog": 5})
    (tmp_path / "eel").mkdir()
    with pytest.raises(DataError, match=r"class folder .*eel has no readable image"):
        data.load_source(config(tmp_path))


def test_a_class_missing_from_test_is_named(tmp_path):
    fill(tmp_path / "train", {"cat": 3, "dog": 3})
    fill(tmp_path / "test", {"cat": 3})
    with pytest.raises(DataError, match=r"class folder .*test/dog has no readable image"):
        data.load_source(config(tmp_path))


def test_a_class_only_in_test_is_named(tmp_path):
    fill(tmp_path / "train", {"cat": 3, "dog": 3})
    fill(tmp_path / "test", {"cat": 3, "dog": 3, "eel": 3})
    with pytest.raises(DataError, match=r"expected the classes of .*train, found also eel"):
        data.load_source(config(tmp_path))


def test_a_class_too_small_to_hold_out_from_is_named(tmp_path):
    fill(tmp_path, {"cat": 5, "dog": 1})
    with pytest.raises(DataError, match=r"'dog' has 1 .*data\.test_fraction"):
        data.load_source(config(tmp_path))


def test_fewer_than_two_or_more_than_256_classes_are_refused(tmp_path):
    fill(tmp_path / "one", {"cat": 3})
    with pytest.raises(DataError, match="expected 2 to 256 class folders, found 1: cat"):
        data.load_source(config(tmp_path / "one"))
    for i in range(257):
        (tmp_path / "many" / f"{i:03}").mkdir(parents=True)
    with pytest.raises(DataError, match="found 257"):
        data.class_names(config(tmp_path / "many"))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"expected a folder with a folder per class.*none"):
        data.load_source(config(tmp_path / "none"))


def test_image_files_takes_files_and_folders(tmp_path):
    fill(tmp_path, {"cat": 2})
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    given = [tmp_path / "cat" / "001.png", tmp_path / "cat"]
    names = [path.name for path in data.image_files(given)]
    assert names == ["001.png", "000.png", "001.png"]
    with pytest.raises(DataError, match="empty has no images"):
        data.image_files([tmp_path / "empty"])
    with pytest.raises(DataError, match=r"no image file or folder .*gone\.png"):
        data.image_files([tmp_path / "gone.png"])
