"""One training on two and three replicas in one process: each step is that of one process."""

import threading

import numpy as np
import pytest
from helpers.logical import CASES, Remote

from cifarnet.errors import TrainingError
from cifarnet.training.team import Team
from cifarnet.training.workers import Workers

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


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("renormalized", "several workers cannot share the statistics of renorm"),
        ("single images", "train.batch_size: expected at least 2"),
    ],
)
def test_what_replicas_cannot_train_is_refused(two, case, message):
    assert message in two.call("refused", case)


class InThreads(Team):
    """A worker in a thread; `exchange` holds what each has to sum."""

    def __init__(self, index: int, exchange: list, barrier: threading.Barrier) -> None:
        super().__init__(workers=Workers(("first:1", "second:1", "third:1"), index))
        self._exchange, self._barrier = exchange, barrier

    def sum(self, values: np.ndarray) -> np.ndarray:
        self._exchange[self.index] = values
        self._barrier.wait(10)
        total = np.sum(self._exchange, axis=0)
        self._barrier.wait(10)
        return total


@pytest.mark.parametrize(
    ("wrong", "named"),
    [(None, ""), (2, "worker 2 (third:1)"), (0, "worker 1 (second:1), worker 2 (third:1)")],
)
def test_weights_that_differ_in_one_bit_end_the_training_of_all(wrong, named):
    exchange, barrier, ends = [None] * 3, threading.Barrier(3), {}

    def work(index: int) -> None:
        team = InThreads(index, exchange, barrier)
        weights = np.ones(5, np.float32)
        if index == wrong:
            weights[3] = np.nextafter(np.float32(1), np.float32(2))
        try:
            team.compare({"model/0": weights, "step": np.asarray(7)}, 7)
            ends[index] = ""
        except TrainingError as error:
            team.fail()  # waits for none of the others, which end too
            ends[index] = str(error)

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    start = f"after step 7 the weights of {named} differ from those of worker 0 (first:1)"
    assert len(ends) == 3
    assert all(end.startswith(start) if named else end == "" for end in ends.values())
