"""Which rows are held out by a hash of their keys, and how many by their share."""

import hashlib

import numpy as np
import pytest

from cifarnet.data.sampling import balanced, by_hash, stratified
from cifarnet.errors import DataError

CLASSES = ("a", "b")
KEYS = [f"{name}/{i}.png" for name in CLASSES for i in range(200)]
LABELS = np.repeat(np.arange(2, dtype=np.uint8), 200)


def share(key: str) -> float:
    """The number in [0, 1) that stands for a key."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:16], 16) / 16**16


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_rows_whose_hash_is_below_the_fraction_are_held_out(fraction):
    remaining, held_out = by_hash(KEYS, LABELS, fraction, CLASSES, "key")
    assert held_out.tolist() == [i for i, key in enumerate(KEYS) if share(key) < fraction]
    assert sorted([*remaining.tolist(), *held_out.tolist()]) == list(range(400))
    assert 0.7 * fraction < len(held_out) / 400 < 1.3 * fraction


def test_a_row_is_held_out_whatever_others_there_are():
    chosen = np.sort(np.random.default_rng(0).permutation(400)[:100])
    _, whole = by_hash(KEYS, LABELS, 0.2, CLASSES, "key")
    _, part = by_hash([KEYS[i] for i in chosen], LABELS[chosen], 0.2, CLASSES, "key")
    assert chosen[part].tolist() == [i for i in chosen if i in set(whole.tolist())]


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_each_class_has_a_row_on_both_sides(fraction):
    """The lowest hash of each is held out, and the highest never."""
    remaining, held_out = by_hash(KEYS, LABELS, fraction, CLASSES, "key")
    order = [sorted(np.flatnonzero(k == LABELS), key=lambda i: share(KEYS[i])) for k in (0, 1)]
    if fraction == 0.0:
        assert held_out.tolist() == [rows[0] for rows in order]
    else:
        assert remaining.tolist() == [rows[-1] for rows in order]


def test_two_rows_of_a_class_are_enough_and_one_is_not():
    labels = np.array([0, 1, 0, 1], np.uint8)
    remaining, held_out = by_hash(["a", "b", "c", "d"], labels, 0.2, CLASSES, "key")
    for rows in (remaining, held_out):
        assert labels[rows].tolist() in ([0, 1], [1, 0])
    with pytest.raises(DataError, match=r"'b' has 1 training images, too few to hold out key 0\.2"):
        by_hash(["a", "b", "c"], labels[:3], 0.2, CLASSES, "key")


@pytest.mark.parametrize(
    ("count", "fraction", "expected"), [(2, 0.01, 1), (10, 0.25, 2), (10, 0.26, 3), (10, 0.9, 9)]
)
def test_the_share_of_a_class_is_rounded_and_one_row_at_least(count, fraction, expected):
    labels = np.zeros(count, np.uint8)
    remaining, held_out = stratified(labels, fraction, 0, ("a",), "key")
    assert (len(remaining), len(held_out)) == (count - expected, expected)
    with pytest.raises(DataError, match="'a' has 10 training images, too few"):
        stratified(np.zeros(10, np.uint8), 0.96, 0, ("a",), "key")


def test_three_classes_are_balanced_as_far_as_they_go():
    labels = np.repeat(np.arange(3, dtype=np.uint8), [40, 3, 40])
    rows = balanced(labels, 23, 0, ("a", "b", "c"))
    assert np.bincount(labels[rows]).tolist() == [10, 3, 10]


def test_the_rows_of_a_seed_stay_what_they_are():
    """A change of them would give every run another split."""
    random = np.random.default_rng(5)
    expected = [random.permutation(np.flatnonzero(label == LABELS))[:20] for label in (0, 1)]
    _, held_out = stratified(LABELS, 0.1, 5, CLASSES, "key")
    assert held_out.tolist() == np.sort(np.concatenate(expected)).tolist()
    # The first rows of each class in one shuffled order.
    shuffled = np.random.default_rng(5).permutation(400)
    first = [i for label in (0, 1) for i in [i for i in shuffled if LABELS[i] == label][:10]]
    assert balanced(LABELS, 20, 5, CLASSES).tolist() == sorted(first)
    for limit in (2, 400):
        assert len(balanced(LABELS, limit, 0, CLASSES)) == limit
    for limit in (1, 401):
        with pytest.raises(DataError, match=rf"expected 2 .* to 400 .* received {limit}"):
            balanced(LABELS, limit, 0, CLASSES)
