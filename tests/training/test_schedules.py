"""Schedules as tables of values, worked out by hand."""

import numpy as np
import pytest

from cifarnet import config
from cifarnet.training import schedules


def rates(schedule: dict, total: int = 8, steps_per_epoch: int = 2, peak: float = 2.0) -> list:
    train = config.TrainConfig(
        epochs=total / steps_per_epoch, learning_rate=peak, schedule=schedule
    )
    return schedules.build(train, steps_per_epoch, total)(np.arange(total)).tolist()


def test_constant():
    assert rates({"kind": "constant"}) == [2.0] * 8


def test_step_falls_at_each_epoch_named():
    table = rates({"kind": "step", "at": [1, 3], "factor": 0.5})
    assert table == [2, 2, 1, 1, 1, 1, 0.5, 0.5]


def test_cosine_is_half_a_cosine_down_to_its_end():
    table = rates({"kind": "cosine", "end": 0.5})
    assert table[0] == 2.0
    assert table[4] == pytest.approx(2.0 * 0.75)  # half-way between peak and end
    assert table[2] == pytest.approx(2.0 * (0.5 + 0.5 * (1 + np.sqrt(0.5)) / 2))


def test_triangle_rises_to_its_peak_and_falls():
    table = rates({"kind": "triangle", "start": 0.5, "peak_at": 0.25, "end": 0.0})
    assert table == pytest.approx([1.0, 1.5, 2.0, 2 * 5 / 6, 2 * 4 / 6, 1.0, 2 * 2 / 6, 2 / 6])


def test_warm_up_multiplies_the_first_steps():
    table = rates({"kind": "constant", "warmup_epochs": 2})
    assert table == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0])


@pytest.mark.parametrize(
    "schedule",
    [
        {"kind": "constant"},
        {"kind": "cosine"},
        {"kind": "triangle"},
        {"kind": "step", "at": [1, 2]},
    ],
)
def test_a_single_step_gives_the_tables_value(schedule):
    train = config.TrainConfig(epochs=4, learning_rate=1.0, schedule=schedule)
    rate = schedules.build(train, 2, 8)
    assert [float(rate(np.asarray(step))) for step in range(8)] == rate(np.arange(8)).tolist()
