"""How many images a time is enough for, with a clock that the test turns."""

import numpy as np
import pytest

from cifarnet import data
from cifarnet.robustness.budget import Budget, at_once, chunks


class Clock:
    """Its time passes only when the test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def used(seconds: float | None, per_image: float, first: float = 0.0, count: int = 10_000):
    """Return the rows of each part, and the time taken, where an image takes `per_image`."""
    clock, parts = Clock(), []
    for part in chunks(np.arange(count), seconds, clock):
        clock.now += per_image * len(part) + (first if not parts else 0)
        parts.append(part)
    return parts, clock.now - 1000


@pytest.mark.parametrize("per_image", [0.01, 0.05, 0.3, 1.0])
def test_the_time_is_used_and_not_exceeded(per_image):
    parts, seconds = used(100, per_image)
    # Parts have 20 images or more: as many seconds may be left.
    assert 100 - 20 * per_image < seconds <= 100 + 1e-9
    assert all(len(part) % 20 == 0 and len(part) <= 200 for part in parts)
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(sum(map(len, parts))))


def test_a_slow_first_part_does_not_decide_that_it_is_the_last():
    parts, seconds = used(100, 0.05, first=60)
    assert seconds == pytest.approx(100, abs=1)
    assert sum(map(len, parts)) == pytest.approx((100 - 60) / 0.05, abs=20)


def test_one_part_is_measured_whatever_the_time():
    parts, _ = used(0.001, 10)
    assert [len(part) for part in parts] == [20]
    assert [len(part) for part in used(-5, 10)[0]] == [20]


def test_all_images_are_used_if_there_is_time_or_no_limit():
    assert sum(map(len, used(100, 0.05, count=333)[0])) == 333
    assert [len(part) for part in used(None, 99, count=450)[0]] == [200, 200, 50]


def test_a_speed_that_falls_is_noticed():
    clock, parts = Clock(), []
    for part in chunks(np.arange(10_000), 100, clock):
        clock.now += (0.05 if clock.now < 1050 else 0.4) * len(part)
        parts.append(part)
    # What was begun at the old speed, up to 200 images, is finished.
    assert clock.now - 1000 < 100 + 200 * (0.4 - 0.05)


def test_the_shares_of_a_budget_add_up_and_pass_on_what_is_unused():
    clock = Clock()
    budget = Budget(120, clock)
    assert (budget.used, budget.left(0.25), budget.left()) == (0, 30, 120)
    clock.now += 12
    assert (budget.used, budget.left(0.25), budget.left(0.5)) == (12, 18, 48)
    clock.now += 100
    assert budget.left(0.5) == -52
    assert Budget(None, clock).left(0.5) is None


def test_what_was_chosen_is_said_with_its_reason():
    assert Budget(120).chosen(1250, 10_000) == (
        "1,250 of 10,000 images: what 120 s allow at the measured speed"
    )
    assert Budget(120).chosen(300, 300) == Budget(None).chosen(300, 300) == "all 300 images"


def test_every_beginning_of_the_order_is_balanced_and_seeded():
    labels = np.repeat(np.arange(4), 25)
    order = data.balanced_order(labels, 7)
    assert sorted(order) == list(range(100))
    for end in (4, 20, 60):
        assert np.bincount(labels[order[:end]]).tolist() == [end // 4] * 4
    np.testing.assert_array_equal(data.balanced_order(labels, 7), order)
    assert (data.balanced_order(labels, 8) != order).any()
    # A class that has no more images is left out.
    few = data.balanced_order(np.array([0, 0, 0, 0, 1]), 0)
    assert 4 in few[:2]


@pytest.mark.parametrize(
    ("images", "side", "expected"),
    [(20, 32, 20), (20, 512, 20), (1_000, 64, 1_000), (1_000, 128, 250), (1_000, 512, 100)],
)
def test_parts_of_many_large_images_are_smaller(images, side, expected):
    assert at_once(images, side) == expected
