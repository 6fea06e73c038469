"""Pixels that stay on disk, against the same operations on NumPy arrays."""

import hashlib

import numpy as np
import pytest
from helpers.folders import config, fill

from cifarnet import data, system
from cifarnet.config import DataConfig
from cifarnet.data import StoredPixels, images_per_batch, near_duplicates, stored_pixels
from cifarnet.data.stored_pixels import blocks, concatenate

ARRAY = np.random.default_rng(0).integers(0, 256, (50, 6, 6, 3), np.uint8)
ROWS = np.random.default_rng(1).permutation(50)[:30]


@pytest.fixture
def base(tmp_path):
    ARRAY.tofile(tmp_path / "pixels")
    return np.memmap(tmp_path / "pixels", np.uint8, "r", shape=ARRAY.shape)


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        np.int64(7),
        slice(None),
        slice(5, 12),
        slice(20, 500),
        slice(4, 4),
        slice(None, None, -3),
        [3, 3, 1],
        np.array([], int),
        np.array([29, 0, -2]),
        np.arange(30) % 3 == 0,
        (slice(2, 9), slice(None), slice(None, None, -1)),
        (slice(None), 0, 2, 1),
        (4, 2),
    ],
)
def test_indexing_is_numpys(base, index, monkeypatch):
    monkeypatch.setattr(stored_pixels, "_BLOCK_BYTES", 4 * (65_536 + 108))  # 4 rows at a time
    found = StoredPixels(base, ROWS)[index]
    assert type(found) is np.ndarray and found.dtype == np.uint8
    assert np.array_equal(found, ARRAY[ROWS][index])


def test_it_has_the_shape_of_an_array(base):
    stored = StoredPixels(base, ROWS)
    assert (stored.shape, stored.ndim, len(stored), stored.dtype) == (
        (30, 6, 6, 3),
        4,
        30,
        np.uint8,
    )
    assert np.array_equal(np.asarray(stored), ARRAY[ROWS])
    assert np.array_equal(np.stack(list(stored)), ARRAY[ROWS])
    assert np.array_equal(np.concatenate(list(blocks(stored, 7))), ARRAY[ROWS])
    with pytest.raises(IndexError):
        stored[30]
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(stored, copy=False)


def test_choosing_and_changing_rows_reads_nothing_until_they_are_asked_for(base):
    read = []

    def mirrored(pixels):
        read.append(len(pixels))
        return pixels[:, :, ::-1]

    stored = StoredPixels(base, ROWS).mapped(mirrored).select(np.array([5, 2, 9])).mapped(np.flipud)
    assert read == []
    assert np.array_equal(stored[:], ARRAY[ROWS][[5, 2, 9]][::-1, :, ::-1])
    assert read == [3]


def test_parts_of_one_file_stay_on_disk_together(base):
    one, other = StoredPixels(base, ROWS[:4]), StoredPixels(base, ROWS[10:])
    both = concatenate([one, other])
    assert isinstance(both, StoredPixels)
    assert np.array_equal(both[:], np.concatenate([ARRAY[ROWS[:4]], ARRAY[ROWS[10:]]]))
    mixed = concatenate([one, ARRAY[:2]])
    assert np.array_equal(mixed, np.concatenate([ARRAY[ROWS[:4]], ARRAY[:2]]))


def test_a_dataset_on_disk_equals_the_one_in_memory(photos):
    fill(photos, {"cat": 40, "dog": 60})
    on_disk, in_memory = (
        data.load(config(photos, memory_share=share, limit=50, validation_fraction=0.2), seed=3)
        for share in (0, 1)
    )
    for split in data.SPLITS:
        one, other = on_disk.images(split), in_memory.images(split)
        assert isinstance(one.pixels, StoredPixels) and type(other.pixels) is np.ndarray
        assert np.array_equal(one.pixels[:], other.pixels)
        assert np.array_equal(one.labels, other.labels) and one.files == other.files
    assert on_disk.digests() == in_memory.digests()
    assert (on_disk.mean, on_disk.std) == (in_memory.mean, in_memory.std)
    pixels = in_memory.train.pixels.reshape(-1, 3)
    assert np.allclose(on_disk.mean, pixels.mean(axis=0), rtol=1e-12)
    assert np.array_equal(on_disk.comparison()[1], in_memory.comparison()[1])


def test_cifar10_can_be_read_from_its_cache_too(home, tiny):
    data.fetch(tiny.binary)
    on_disk, in_memory = (data.load(DataConfig(memory_share=share), seed=0) for share in (0, 1))
    assert isinstance(on_disk.train.pixels, StoredPixels)
    assert on_disk.digests() == in_memory.digests()


def test_the_share_of_the_memory_decides(photos, monkeypatch):
    fill(photos, {"cat": 20, "dog": 20})
    needed = 40 * 8 * 8 * 3
    for memory, stored in ((4 * needed, False), (4 * needed - 4, True)):
        monkeypatch.setattr(system, "usable_memory", lambda memory=memory: memory)
        dataset = data.load(config(photos), seed=0)  # a quarter
        assert isinstance(dataset.train.pixels, StoredPixels) is stored


def test_more_than_256_classes_have_labels_of_two_bytes(photos):
    fill(photos, {f"class {i:03}": 2 for i in range(300)})
    loaded = data.load(config(photos, validation_fraction=0, test_fraction=0.5), seed=0)
    assert loaded.train.labels.dtype == np.uint16 and len(loaded.classes) == 300
    assert loaded.train.labels.tolist() == list(range(300))
    assert loaded.test.labels.tolist() == list(range(300))
    content = loaded.test.pixels.tobytes() + np.arange(300, dtype="<u2").tobytes()
    assert loaded.digest("test") == hashlib.sha256(content).hexdigest()
    green = loaded.test.pixels[:, 0, 0, 1]
    assert set(green.tolist()) <= {0, 1}


@pytest.mark.parametrize(
    ("side", "most", "expected"),
    [(32, 500, 500), (64, 500, 500), (65, 500, 484), (128, 500, 125), (512, 500, 7), (512, 1, 1)],
)
def test_batches_of_large_images_have_as_many_pixels_as_of_64(side, most, expected):
    assert images_per_batch(side, most) == expected


def test_near_duplicates_of_large_images_are_found_on_disk_too(tmp_path):
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (40, 10, 10, 3), np.uint8)
    images = np.repeat(np.repeat(coarse, 13, axis=1), 13, axis=2)  # 130 x 130: 124 per chunk
    images[7], images[11], images[20] = images[3], images[5, :, ::-1], 9
    images.tofile(tmp_path / "pixels")
    base = np.memmap(tmp_path / "pixels", np.uint8, "r", shape=images.shape)
    stored = StoredPixels(base, np.arange(40))
    for found in (near_duplicates.find(images), near_duplicates.find(stored)):
        pairs = list(zip(found.first.tolist(), found.second.tolist(), found.mirrored, strict=True))
        assert pairs == [(3, 7, False), (5, 11, True)]
    assert [rows.tolist() for rows in near_duplicates.exact(stored)] == [[3], [7]]
    assert near_duplicates.one_color(stored).tolist() == [20]
