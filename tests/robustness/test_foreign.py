"""AUROC and its interval by hand and by simulation; noise and shuffled pixels."""

import math

import numpy as np
import pytest

from cifarnet import statistics
from cifarnet.robustness import foreign


def test_auroc_counts_the_pairs_in_order():
    # Of 3 x 2 pairs 0.9 and 0.8 are above both, 0.4 is above one: 5 of 6.
    found = foreign._score("noise", np.array([0.9, 0.8, 0.4]), np.array([0.5, 0.3]), 0)
    assert found.auroc == pytest.approx(5 / 6)
    assert (found.test_confidence, found.confidence) == (pytest.approx(0.7), pytest.approx(0.4))
    assert (found.test_images, found.images) == (3, 2)
    # Equal ones count half.
    assert foreign._score("noise", np.array([0.5]), np.array([0.5]), 0).auroc == 0.5


def test_the_interval_ends_where_the_area_is_1_96_standard_errors_away():
    low, high = statistics.auroc_interval(0.8, 50, 30)
    for end in (low, high):
        # Hanley and McNeil 1982 at that area, with (50 + 30) / 2 - 1 for both numbers less one.
        q1, q2 = end / (2 - end), 2 * end**2 / (1 + end)
        variance = (end * (1 - end) + 39 * (q1 - end**2) + 39 * (q2 - end**2)) / (50 * 30)
        assert abs(end - 0.8) == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-6)
    assert low < 0.8 < high
    # Of a perfect order, and of the reverse one, it has a width.
    assert statistics.auroc_interval(1.0, 20, 20)[1] == 1.0
    assert 0.8 < statistics.auroc_interval(1.0, 20, 20)[0] < 0.95
    low, high = statistics.auroc_interval(0.0, 20, 20)
    assert low == 0.0 and high == pytest.approx(1 - statistics.auroc_interval(1.0, 20, 20)[0])


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_95_percent_of_intervals_hold_the_true_area(shift):
    random = np.random.default_rng(0)
    true = 0.5 * (1 + math.erf(shift / 2))  # of two normal distributions
    held = 0
    for _ in range(2000):
        test, other = random.normal(shift, 1, 40), random.normal(0, 1, 60)
        area = float((test[:, None] > other).mean())
        low, high = statistics.auroc_interval(area, 40, 60)
        held += low <= true <= high
    assert 0.935 < held / 2000 < 0.985


def test_noise_is_uniform_and_shuffled_images_have_the_same_pixels():
    rows = np.array([4, 9])
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    noise = foreign.noise(pixels, rows, 0)
    assert noise.shape == pixels.shape and noise.dtype == np.uint8
    assert noise.mean() == pytest.approx(127.5, abs=4 * 73.9 / math.sqrt(noise.size))
    assert noise.std() == pytest.approx(73.9, rel=0.03)  # sqrt((256^2 - 1) / 12)
    shuffled = foreign.shuffle(pixels, rows, 0)
    for before, after in zip(pixels, shuffled, strict=True):
        assert (before != after).any()
        assert sorted(map(tuple, before.reshape(-1, 3))) == sorted(map(tuple, after.reshape(-1, 3)))
    np.testing.assert_array_equal(foreign.noise(pixels[1:], rows[1:], 0), noise[1:])
    np.testing.assert_array_equal(foreign.shuffle(pixels[1:], rows[1:], 0), shuffled[1:])
