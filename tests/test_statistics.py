"""Intervals and tests against hand-computed cases, statsmodels, SciPy and simulations."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as exact_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from cifarnet import statistics

FIRST = [0.5380, 0.5275, 0.5250, 0.5232]
SECOND = [0.5512, 0.5309, 0.5333]


# --- several values -------------------------------------------------------------------


def test_the_t_interval_of_a_mean_by_hand():
    # Mean 2, deviation 1, t(0.975, 2) = 4.302653: half width 4.302653 / sqrt(3).
    assert statistics.mean_interval([1, 2, 3]) == pytest.approx((-0.484138, 4.484138), abs=1e-6)
    assert statistics.mean_interval([0.5]) is None


def test_the_chi_square_interval_of_a_deviation_by_hand():
    # Chi-square(2) is 7.377759 at 0.975 and 0.050636 at 0.025.
    expected = (np.sqrt(2 / 7.377759), np.sqrt(2 / 0.050636))
    assert statistics.std_interval([1, 2, 3]) == pytest.approx(expected, rel=1e-5)
    assert statistics.std_interval([0.5]) is None


def test_the_deviation_of_independent_flips_by_hand():
    # p is 1, 1/2, 0, 0: mean of p (1 - p) 1/16, times 2 / 1, over 4 images.
    correct = np.array([[1, 1, 0, 0], [1, 0, 0, 0]], bool)
    assert statistics.flip_std(correct) == pytest.approx(np.sqrt(1 / 32))
    assert statistics.flip_std(correct[:1]) is None


def test_the_deviation_of_independent_flips_is_that_of_simulated_trainings():
    rng = np.random.default_rng(0)
    share = rng.beta(2, 0.7, 500)
    expected = np.sqrt((share * (1 - share)).mean() / 500)
    trainings = rng.random((2_000, 3, 500)) < share
    assert trainings.mean(axis=2).std() == pytest.approx(expected, rel=0.03)
    squares = [statistics.flip_std(correct) ** 2 for correct in trainings]
    assert np.sqrt(np.mean(squares)) == pytest.approx(
        expected, rel=0.01
    )  # without k / (k - 1): 18 %


def test_welch_is_that_of_statsmodels():
    found = statistics.welch(FIRST, SECOND)
    other = CompareMeans(DescrStatsW(FIRST), DescrStatsW(SECOND))
    assert found.difference == pytest.approx(np.mean(FIRST) - np.mean(SECOND))
    assert found.p == pytest.approx(other.ttest_ind(usevar="unequal")[1])
    assert found[1:3] == pytest.approx(other.tconfint_diff(usevar="unequal"))


def test_welch_without_variance_or_values_is_unknown():
    assert statistics.welch([0.5, 0.5], [0.4, 0.4]) is None
    assert statistics.welch([0.5], [0.4, 0.3]) is None


@pytest.mark.filterwarnings("error")
def test_welch_of_one_constant_side():
    # t = 0.05 / sqrt(0.01 / 2) with one degree of freedom: p = 1 - 2 atan(t) / pi.
    found = statistics.welch([0.5, 0.5], [0.35, 0.55])
    assert found.p == pytest.approx(1 - 2 * np.arctan(0.05 / 0.1) / np.pi)


@pytest.mark.parametrize(("first", "second"), [(0.002, 0.002), (0.006, 0.001), (0.0001, 0.0)])
def test_seeds_needed_are_those_of_statsmodels(first, second):
    effect = 0.002 / np.sqrt((first**2 + second**2) / 2)
    power = TTestIndPower()
    needed = statistics.seeds_needed(first, second, 0.002)
    assert power.power(effect, needed, 0.05) >= 0.8
    assert needed == 2 or power.power(effect, needed - 1, 0.05) < 0.8


def test_seeds_needed_at_the_ends():
    assert statistics.seeds_needed(0.0, 0.0, 0.002) == 2
    rounding = float(np.std([0.1, 0.1, 0.1], ddof=1))
    assert 0 < rounding < 1e-16 and statistics.seeds_needed(rounding, rounding, 0.002) == 2
    assert statistics.seeds_needed(5.0, 5.0, 0.002) is None


def test_holm_is_that_of_statsmodels():
    p_values = [0.04, 0.001, 0.03, 0.03, 0.9]
    expected = multipletests(p_values, method="holm")[1]
    assert statistics.holm(p_values) == pytest.approx(list(expected))


# --- the bootstrap over seeds and images ----------------------------------------------


def test_bootstrap_of_trainings_that_are_right_on_all_images_or_none():
    # Images then do not matter: the mean of 4 draws from 1, 1, 1, 0 has variance 3/16 / 4.
    group = np.repeat([[True], [True], [True], [False]], 50, axis=1)
    (means,) = statistics.bootstrap_accuracies([group])
    assert means.mean() == pytest.approx(0.75, abs=0.02)
    assert means.std() == pytest.approx(np.sqrt(3 / 64), rel=0.05)


def test_bootstrap_of_single_trainings_is_paired_over_the_images():
    rng = np.random.default_rng(1)
    first = rng.random((1, 1_000)) < 0.7
    second = np.where(rng.random((1, 1_000)) < 0.1, ~first, first)
    means = statistics.bootstrap_accuracies([first, second, first])
    assert (means[0] == means[2]).all()
    difference = first.astype(float) - second
    assert (means[0] - means[1]).std() == pytest.approx(difference.std() / np.sqrt(1_000), rel=0.05)
    cells = int((difference > 0).sum()), int((difference < 0).sum())
    interval = np.percentile(means[0] - means[1], [2.5, 97.5])
    assert statistics.paired_interval(*cells, 1_000) == pytest.approx(interval, abs=0.003)


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [1.0, 2.4])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_wider_one_of_welch_and_the_bootstrap_covers(seeds, ratio):
    """Seeds of two equal configs; `ratio` is their deviation, by that of independent flips."""
    rng = np.random.default_rng(4)
    share = rng.beta(2, 0.7, 500)
    extra = np.sqrt((share * (1 - share)).mean() / 500 * (ratio**2 - 1))
    covered = []
    for _ in range(200):
        moved = np.clip(share + rng.normal(0, extra, (2, seeds, 1)), 0, 1)
        first, second = rng.random((2, seeds, 500)) < moved
        means = statistics.bootstrap_accuracies([first, second])
        low, high = np.percentile(means[0] - means[1], [2.5, 97.5])
        found = statistics.welch(first.mean(axis=1), second.mean(axis=1))
        covered.append(min(low, found.low) <= 0 <= max(high, found.high))
    assert np.mean(covered) > 0.93


# --- paired answers -------------------------------------------------------------------


def test_mcnemar_by_hand():
    # Of 8 images, 1 against 7: 2 x P(0) + P(1) = (2 x 1 + 8) / 256. Fagerland 2013 prints 0.039.
    assert statistics.mcnemar(1, 7) == statistics.mcnemar(7, 1) == pytest.approx(10 / 256)
    assert statistics.mcnemar(0, 0) == statistics.mcnemar(5, 5) == pytest.approx(1)


@pytest.mark.parametrize(("first", "second"), [(1, 7), (12, 30), (410, 475), (0, 3)])
def test_mcnemar_is_the_exact_test_of_statsmodels_less_the_probability_of_this_table(first, second):
    exact = exact_mcnemar([[0, first], [second, 0]], exact=True).pvalue
    of_this = stats.binom.pmf(min(first, second), first + second, 0.5)
    assert statistics.mcnemar(first, second) == pytest.approx(exact - of_this)


def pairs(images: int, seed: int) -> np.ndarray:
    """Discordant images of 20,000 pairs of classifiers of equal accuracy that differ on 4 %."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(images, [0.02, 0.02, 0.96], 20_000)[:, :2]


@pytest.mark.parametrize(("images", "size"), [(10_000, 0.0498), (300, 0.0433)])
def test_mcnemar_keeps_its_size(images, size):
    """Of the exact test, by enumeration: 0.0445 and 0.0243."""
    tables, counts = np.unique(np.sort(pairs(images, 2), axis=1), axis=0, return_counts=True)
    rejected = [statistics.mcnemar(*map(int, table)) <= 0.05 for table in tables]
    assert np.average(rejected, weights=counts) == pytest.approx(size, abs=0.005)


def test_the_interval_of_paired_accuracies_by_hand():
    # 21 images, 1 against 7: cells 1.5 and 7.5 of 23; -6/23 and sqrt((9/23 - 36/529) / 23).
    half = 1.959964 * np.sqrt((9 / 23 - 36 / 529) / 23)
    expected = (-6 / 23 - half, -6 / 23 + half)
    assert statistics.paired_interval(1, 7, 21) == pytest.approx(expected)
    low, high = statistics.paired_interval(0, 1, 1)
    assert low == -1.0 and high <= 1.0


@pytest.mark.parametrize("images", [10_000, 100])
def test_the_interval_of_paired_accuracies_covers(images):
    rng = np.random.default_rng(3)
    cells = rng.multinomial(images, [0.06, 0.03, 0.91], 4_000)[:, :2]
    intervals = [statistics.paired_interval(*map(int, cell), images) for cell in cells]
    covered = [low <= 0.03 <= high for low, high in intervals]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)
