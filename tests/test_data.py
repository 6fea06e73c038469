"""Splits: disjoint, by class, by seed; and the facts of each."""

import hashlib

import numpy as np
import pytest

from cifarnet import config, data
from cifarnet.errors import DataError
from cifarnet.sources.splits import balanced, stratified


def load(seed: int = 0, **options) -> data.Dataset:
    return data.load(config.DataConfig(source="synthetic", **options), seed)


def rows(images) -> set[bytes]:
    return {image.tobytes() for image in images.pixels}


def test_validation_is_carved_from_training_class_by_class():
    dataset = load(validation_fraction=0.1)
    assert np.bincount(dataset.validation.labels).tolist() == [100] * 10
    assert np.bincount(dataset.train.labels).tolist() == [900] * 10
    assert not rows(dataset.train) & rows(dataset.validation)
    assert not rows(dataset.test) & (rows(dataset.train) | rows(dataset.validation))
    whole = load(validation_fraction=0.0)
    assert rows(dataset.train) | rows(dataset.validation) == rows(whole.train)
    assert len(whole.validation.labels) == 0


def test_the_seed_decides_the_split_and_not_the_test_set():
    one, same, other = load(1), load(1), load(2)
    assert one.digests() == same.digests()
    assert one.digests()["validation"] != other.digests()["validation"]
    assert one.digests()["test"] == other.digests()["test"]


def test_limit_takes_a_balanced_part_of_training_only():
    dataset = load(limit=205, validation_fraction=0.2)
    together = np.concatenate([dataset.train.labels, dataset.validation.labels])
    counts = np.bincount(together)
    assert counts.sum() == 205
    assert set(counts) == {20, 21}
    assert np.bincount(dataset.validation.labels).tolist() == [4] * 10
    assert len(dataset.test.labels) == 2000


@pytest.mark.parametrize("limit", [5, 10_001])
def test_a_limit_out_of_range_is_refused(limit):
    with pytest.raises(DataError, match=f"10 .* to 10000 .*received {limit}"):
        load(limit=limit)


def test_a_class_too_small_to_split_is_named():
    with pytest.raises(DataError, match="the class 'disc' has 1 training images"):
        load(limit=10)


def test_mean_and_deviation_are_those_of_the_training_pixels():
    dataset = load(limit=3000)
    pixels = dataset.train.pixels.astype(np.float64)
    np.testing.assert_allclose(dataset.mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(dataset.deviation, pixels.std(axis=(0, 1, 2)), rtol=1e-9)


def test_digests_are_sha256_of_pixels_then_labels():
    dataset = load(limit=100)
    content = dataset.train.pixels.tobytes() + dataset.train.labels.tobytes()
    assert dataset.digests()["train"] == hashlib.sha256(content).hexdigest()


def test_an_empty_split_is_a_stated_error():
    with pytest.raises(DataError, match=r"no validation images.*validation_fraction is 0"):
        load(validation_fraction=0.0).split("validation")


def test_info_counts():
    facts = data.info(load(limit=100, validation_fraction=0.1))
    assert facts["splits"]["train"]["per_class"]["ring"] == 9
    assert facts["splits"]["validation"]["per_class"]["ring"] == 1
    assert facts["splits"]["test"]["per_class"]["ring"] == 200


def test_stratified_on_uneven_classes():
    labels = np.array([0] * 10 + [1] * 4 + [2] * 2)
    kept, held = stratified(labels, 0.25, 0, "abc", "key")
    assert np.bincount(labels[held]).tolist() == [2, 1, 1]
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(16))


def test_balanced_takes_all_of_a_rare_class_and_fills_from_the_others():
    labels = np.array([0] * 10 + [1] * 2)
    assert np.bincount(labels[balanced(labels, 8, 0, "ab")]).tolist() == [6, 2]
