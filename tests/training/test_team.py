"""One training on two and three replicas in one process: each step is that of one process."""

import pytest
from helpers.logical import CASES, Remote

# bfloat16 rounds to 8 bits: sums in another order differ in their last one.
TOLERANCE = {"bfloat16": 1e-3, "float16": 2e-4, "clipped float16": 2e-4}
# Of three replicas, which have 16, 17 and 17 rows.
UNEVEN = ["together", "plain", "augmented", "dropout", "dense norm", "regularized", "float16"]
QUICK = ["together", "clipped float16", "dense norm", "regularized", "alpha dropout"]


def marked(cases):
    return [one if one in QUICK else pytest.param(one, marks=pytest.mark.slow) for one in cases]


@pytest.fixture(scope="module")
def two():
    remote = Remote(2)
    yield remote
    remote.close()


@pytest.fixture(scope="module")
def three():
    remote = Remote(3)
    yield remote
    remote.close()


@pytest.mark.parametrize("case", marked(CASES))
def test_a_step_on_two_replicas_is_that_of_one_process(two, case):
    assert two.call("difference", case) < TOLERANCE.get(case, 1e-4)


@pytest.mark.parametrize("case", marked(UNEVEN))
def test_a_step_on_three_replicas_of_unequal_rows_is_that_of_one_process(three, case):
    assert three.call("difference", case) < TOLERANCE.get(case, 1e-4)


def test_the_comparison_sees_statistics_and_masks_of_each_replica_alone(two):
    assert two.call("unsynchronized") > 1e-3
    assert two.call("own_masks") > 1e-3
