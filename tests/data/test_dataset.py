"""Splits, limits, moments and digests."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from cifarnet import config, data
from cifarnet.config import DataConfig
from cifarnet.data import Images, Source
from cifarnet.data import dataset as dataset_module
from cifarnet.data.sampling import balanced, stratified
from cifarnet.errors import DataError

CONFIG = DataConfig(source="synthetic")


def rows_of(images: Images) -> set[bytes]:
    return {pixels.tobytes() for pixels in images.pixels}


def provide(monkeypatch, counts: list[int], size: int = 4) -> Source:
    """Replace the source by `counts` random training images per class, and 3 test images."""
    random = np.random.default_rng(0)
    train = random.permutation(np.repeat(np.arange(len(counts), dtype=np.uint8), counts))
    test = np.repeat(np.arange(len(counts), dtype=np.uint8), 3)
    made = [
        Images(random.integers(0, 256, (len(y), size, size, 3), np.uint8), y) for y in (train, test)
    ]
    source = Source("directory", "random", tuple("abcdefghij"[: len(counts)]), *made, ("a note",))
    monkeypatch.setattr(dataset_module, "load_source", lambda *_: source)
    return source


def test_validation_is_the_same_share_of_each_class_and_shares_no_image():
    dataset = data.load(CONFIG, seed=0)
    assert np.bincount(dataset.train.labels).tolist() == [900] * 10
    assert np.bincount(dataset.validation.labels).tolist() == [100] * 10
    train, validation, test = map(rows_of, (dataset.train, dataset.validation, dataset.test))
    assert len(train | validation) == 10_000 and len(train | validation | test) == 12_000


def test_cifar10_gives_500_validation_images_per_class():
    labels = np.repeat(np.arange(10, dtype=np.uint8), 5000)
    remaining, held_out = stratified(labels, 0.1, 7, tuple("abcdefghij"), "key")
    assert np.bincount(labels[held_out]).tolist() == [500] * 10
    assert np.array_equal(np.sort(np.concatenate([remaining, held_out])), np.arange(50_000))
    assert (np.diff(remaining) > 0).all() and (np.diff(held_out) > 0).all()


def test_images_keep_their_labels(monkeypatch):
    source = provide(monkeypatch, [20, 20])
    label = {p.tobytes(): y for p, y in zip(source.train.pixels, source.train.labels, strict=True)}
    dataset = data.load(DataConfig(limit=20), seed=0)
    for images in (dataset.train, dataset.validation):
        for pixels, y in zip(images.pixels, images.labels, strict=True):
            assert label[pixels.tobytes()] == y


def test_the_split_depends_on_the_seed_alone():
    first, again, other = (data.load(CONFIG, seed=seed).digests() for seed in (3, 3, 4))
    assert first == again
    assert first["train"] != other["train"] and first["validation"] != other["validation"]
    assert first["test"] == other["test"]


def test_unequal_classes_are_each_split_by_the_fraction(monkeypatch):
    provide(monkeypatch, [100, 30, 4])
    dataset = data.load(DataConfig(validation_fraction=0.2), seed=0)
    assert np.bincount(dataset.validation.labels).tolist() == [20, 6, 1]
    assert np.bincount(dataset.train.labels).tolist() == [80, 24, 3]


def test_a_class_too_small_to_split_is_named(monkeypatch):
    provide(monkeypatch, [10, 1])
    with pytest.raises(DataError, match=r"'b' has 1 .*data\.validation_fraction 0\.1"):
        data.load(CONFIG, seed=0)


def test_no_validation_when_the_fraction_is_zero(monkeypatch):
    source = provide(monkeypatch, [5, 5])
    dataset = data.load(DataConfig(validation_fraction=0.0), seed=0)
    np.testing.assert_array_equal(dataset.train.pixels, source.train.pixels)
    assert dataset.validation.pixels.shape == (0, 4, 4, 3)
    with pytest.raises(DataError, match=r"no validation images.*data\.validation_fraction is 0"):
        dataset.split("validation")


def test_splits_are_returned_by_name_and_an_unknown_name_is_refused(monkeypatch):
    provide(monkeypatch, [10, 10])
    dataset = data.load(CONFIG, seed=0)
    for name in ("train", "validation", "test"):
        assert dataset.split(name) is getattr(dataset, name)
    for name in ("nope", "source"):
        with pytest.raises(DataError, match=f"train, validation, test, received '{name}'"):
            dataset.split(name)


# --- images on which artifacts are compared ---------------------------------------------


@pytest.mark.parametrize(("fraction", "split"), [(0.5, "validation"), (0.0, "train")])
def test_artifacts_are_compared_on_validation_images_or_training_images(
    monkeypatch, fraction, split
):
    provide(monkeypatch, [20, 20])
    dataset = data.load(DataConfig(validation_fraction=fraction), seed=0)
    name, pixels, labels = dataset.comparison()
    assert (name, dataset.comparison_split) == (split, split)
    np.testing.assert_array_equal(pixels, dataset.split(split).pixels)
    np.testing.assert_array_equal(labels, dataset.split(split).labels)


def test_five_thousand_images_at_most_are_compared_evenly_spaced(monkeypatch):
    provide(monkeypatch, [7001, 6998], size=1)
    train = data.load(DataConfig(validation_fraction=0.0), seed=0).train
    for count in (4999, 5000, 5001, 13_999):
        few = train.take(np.arange(count))
        numbered = dataclasses.replace(few, pixels=np.arange(count))
        dataset = data.Dataset(None, numbered, numbered.take(np.arange(0)), numbered)
        rows = dataset.sample("train").pixels
        assert len(rows) == min(count, 5000)
        assert (rows[0], rows[-1]) == (0, count - 1)
        assert set(np.diff(rows)) <= {count // 5000, count // 5000 + 1} | {1}
        np.testing.assert_array_equal(dataset.sample("train").labels, few.labels[rows])


# --- limit ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "limit", "expected"),
    [
        ([50, 50, 50, 50], 40, [10, 10, 10, 10]),
        ([50, 50, 50, 50], 4, [1, 1, 1, 1]),
        ([50, 3, 50, 2], 25, [10, 3, 10, 2]),
        ([5, 3], 8, [5, 3]),
    ],
)
def test_limit_takes_as_many_of_each_class_as_can_be(counts, limit, expected):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    rows = balanced(labels.astype(np.uint8), limit, 0, tuple("abcd"[: len(counts)]))
    assert np.bincount(labels[rows]).tolist() == expected
    assert len(set(rows.tolist())) == limit and (np.diff(rows) > 0).all()


def test_a_limit_that_does_not_divide_differs_by_one_at_most():
    labels = np.repeat(np.arange(10, dtype=np.uint8), 50)
    counts = np.bincount(labels[balanced(labels, 123, 0, tuple("abcdefghij"))])
    assert counts.sum() == 123 and set(counts.tolist()) == {12, 13}


def test_limit_comes_before_the_split_and_leaves_the_test_set_alone():
    whole, few = data.load(CONFIG, 0), data.load(CONFIG.model_copy(update={"limit": 200}), 0)
    assert np.bincount(few.train.labels).tolist() == [18] * 10
    assert np.bincount(few.validation.labels).tolist() == [2] * 10
    assert few.digests()["test"] == whole.digests()["test"]


@pytest.mark.parametrize("limit", [9, 10_001])
def test_a_limit_out_of_range_is_refused(limit):
    with pytest.raises(DataError, match=rf"data\.limit: expected 10 .* to 10000 .* {limit}$"):
        data.load(CONFIG.model_copy(update={"limit": limit}), 0)


# --- statistics -----------------------------------------------------------------------


@pytest.mark.parametrize("count", [40, 700])
def test_moments_are_those_of_the_training_split(monkeypatch, count):
    provide(monkeypatch, [count, count], size=9)
    dataset = data.load(CONFIG, seed=0)
    values = dataset.train.pixels.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(dataset.mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, values.std(0), rtol=1e-10)


def test_moments_of_the_brightest_images_do_not_overflow(monkeypatch):
    source = provide(monkeypatch, [400, 400])
    source.train.pixels[:] = 255
    dataset = data.load(CONFIG, seed=0)
    assert dataset.mean == (255.0, 255.0, 255.0) and dataset.std == (0.0, 0.0, 0.0)


def test_digests_are_sha256_of_pixels_then_labels(monkeypatch):
    provide(monkeypatch, [10, 10])
    dataset = data.load(CONFIG, seed=0)
    for name in ("train", "validation", "test"):
        images = dataset.split(name)
        expected = hashlib.sha256(images.pixels.tobytes() + images.labels.tobytes()).hexdigest()
        assert dataset.digests()[name] == expected
    dataset.test.labels[0] ^= 1
    assert data.load(CONFIG, seed=0).digests()["test"] != dataset.digests()["test"]


def test_statistics_are_json_and_counts_each_class(monkeypatch):
    provide(monkeypatch, [10, 20])
    dataset = data.load(CONFIG, seed=0)
    facts = json.loads(json.dumps(dataclasses.asdict(data.inspect(config.data_only()))))
    assert facts["splits"]["train"]["per_class"] == {"a": 9, "b": 18}
    assert facts["splits"]["validation"]["per_class"] == {"a": 1, "b": 2}
    assert facts["splits"]["test"]["digest"] == dataset.digests()["test"]
    assert facts["mean"] == pytest.approx(dataset.mean) and len(facts["std"]) == 3
    assert facts["notes"] == ["a note"] and facts["description"] == "random"
