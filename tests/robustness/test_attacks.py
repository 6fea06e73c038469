"""Attacks on networks whose worst case is known, and searches on losses that are known."""

import keras
import numpy as np
import pytest

from cifarnet.predictors.gradients import Differentiable
from cifarnet.predictors.keras_file import from_model
from cifarnet.robustness import attacks
from cifarnet.robustness import attacks_search as search
from cifarnet.robustness.attacks_losses import Evaluated, Losses
from cifarnet.robustness.attacks_search import Ball
from cifarnet.robustness.streams import generators

SIDE, COUNT = 6, 200


def images(count: int = COUNT, seed: int = 0) -> np.ndarray:
    """Pixels of which a tenth is 0 or 255, where attacks have less room."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, SIDE, SIDE, 3))
    extreme = random.random(pixels.shape) < 0.1
    return np.where(extreme, np.where(pixels < 128, 0, 255), pixels).astype(np.uint8)


class Linear:
    """A network with the logits W x + b, and its worst case by hand; `first` come before W."""

    def __init__(self, classes: int, scale: float = 0.002, first: list | None = None) -> None:
        dense = keras.layers.Dense(classes)
        keras.utils.set_random_seed(0)
        layers = [keras.Input((SIDE, SIDE, 3)), *(first or []), keras.layers.Flatten(), dense]
        self.model = model = keras.Sequential(layers)
        random = np.random.default_rng(1)
        shape = dense.kernel.shape
        self.weights = random.normal(0, scale, shape).astype(np.float32)
        self.bias = random.normal(0, scale, classes).astype(np.float32)
        dense.set_weights([self.weights, self.bias])
        self.losses = Losses(Differentiable(from_model(model)))

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        flat = pixels.reshape(len(pixels), -1).astype(np.float64)
        return flat @ self.weights.astype(np.float64) + self.bias

    def predicted(self, pixels: np.ndarray) -> np.ndarray:
        """What Keras predicts, of any layers."""
        return np.asarray(self.model(pixels.astype(np.float32))).argmax(axis=1)

    def survive(self, pixels: np.ndarray, labels: np.ndarray, epsilon: float) -> np.ndarray:
        """Which images stay right, whatever is changed.

        For each other class j, the lowest difference of logits is that at x, less what each pixel
        may move against w_y - w_j: epsilon, or to 0 or 255.
        """
        flat, logits = pixels.reshape(len(pixels), -1).astype(np.float64), self.logits(pixels)
        robust = np.ones(len(pixels), bool)
        for i, y in enumerate(labels):
            for j in set(range(logits.shape[1])) - {y}:
                against = self.weights[:, j].astype(np.float64) - self.weights[:, y]
                room = np.where(against > 0, 255 - flat[i], flat[i])
                gained = (np.abs(against) * np.minimum(room, epsilon)).sum()
                robust[i] &= logits[i, y] - logits[i, j] - gained > 0
        return robust


def attacked(network: Linear, labels: np.ndarray, pixels: np.ndarray, **options):
    options = {"seed": 0, **options}
    return attacks.attack(network.losses, pixels, labels, np.arange(len(pixels)), **options)


# --- the worst case is known ----------------------------------------------------------


def test_two_classes_of_a_linear_network_reach_the_worst_case_exactly():
    network, pixels = Linear(2), images()
    labels = network.logits(pixels).argmax(axis=1)
    labels[:20] = 1 - labels[:20]  # already wrong
    found = attacked(network, labels, pixels)
    assert not found.clean[:20].any() and found.clean[20:].all()
    for i, epsilon in enumerate(attacks.EPSILONS):
        expected = network.survive(pixels, labels, epsilon) & found.clean
        for name in ("pgd", "apgd_dlr", "every"):
            np.testing.assert_array_equal(getattr(found, name)[i], expected, f"{name} {epsilon}")
    shares = found.every.mean(axis=1)
    assert 0.9 > shares[0] > shares[1] > shares[2] > shares[3]  # the cases are not all alike


def test_more_classes_never_exceed_the_worst_case_and_nearly_reach_it():
    network, pixels = Linear(5), images()
    labels = network.logits(pixels).argmax(axis=1)
    found = attacked(network, labels, pixels)
    for i, epsilon in enumerate(attacks.EPSILONS):
        robust = network.survive(pixels, labels, epsilon)
        assert found.every[i][robust].all(), epsilon
        assert (found.every[i] & ~robust).sum() <= 1, epsilon


def test_a_larger_epsilon_and_more_attacks_never_give_more_accuracy():
    hidden = [keras.layers.Rescaling(1, -128), keras.layers.Dense(8, activation="relu")]
    network, pixels = Linear(4, first=hidden), images(50)
    labels = network.predicted(pixels)
    labels[::5] = (labels[::5] + 1) % 4
    found = attacked(network, labels, pixels, epsilons=[2.0, 12.0, 40.0])
    stages = np.concatenate([found.clean[None], found.every])
    assert (stages[1:] <= stages[:-1]).all()
    assert (found.pgd[1:] <= found.pgd[:-1]).all()
    assert (found.apgd_dlr[1:] <= found.apgd_dlr[:-1]).all()
    assert (found.every <= (found.pgd & found.apgd_dlr)).all()
    assert found.clean.sum() == 40
    assert found.every[2].sum() < found.every[1].sum() < 40, found.every.sum(axis=1)


# --- gradients that are masked --------------------------------------------------------


def test_a_saturated_softmax_hides_its_gradient_from_pgd_alone():
    network, pixels = Linear(3, scale=2e3), images()
    labels = network.logits(pixels).argmax(axis=1)
    found = attacked(network, labels, pixels, epsilons=[2.0])
    robust = network.survive(pixels, labels, 2.0)
    assert (found.apgd_dlr[0] & ~robust).sum() <= 1
    assert (found.pgd[0] & ~robust).sum() > 0.5 * (~robust).sum()


def rounded() -> Linear:
    """A linear network that rounds pixels to multiples of 8 first: its gradients are 0."""
    steps = keras.layers.Lambda(lambda pixels: 8 * keras.ops.round(pixels / 8))
    return Linear(3, first=[steps])


def test_square_finds_what_masked_gradients_hide_and_the_note_says_it():
    network, pixels = rounded(), images()
    labels = network.predicted(pixels)
    found = attacked(network, labels, pixels, epsilons=[8.0, 0.01])
    only_square = found.pgd[0] & found.apgd_dlr[0] & ~found.every[0]
    assert only_square.sum() > 10
    [note] = attacks._notes(found, [8.0, 0.01], 3)
    assert f"at epsilon 8, Square, which uses no gradient, broke {only_square.sum()} of 200" in note
    score, after = attacks._scores(found, [8.0, 0.01])
    assert score.only_square == only_square.sum()
    # What Square broke stays broken, though 0.01 reaches no border of the rounding.
    assert (found.every[1] <= found.every[0]).all()
    assert after.accuracy == score.accuracy


def survival(only_square: int, count: int) -> attacks.Survival:
    right = np.ones((1, count), bool)
    every = right.copy()
    every[0, :only_square] = False
    return attacks.Survival(right[0], right, right, every)


@pytest.mark.parametrize(
    ("only_square", "count", "noted"),
    [(0, 10, False), (2, 10, False), (3, 10, True), (3, 300, True), (3, 301, False)],
)
def test_the_note_needs_a_margin(only_square, count, noted):
    assert bool(attacks._notes(survival(only_square, count), [1.0], 10)) is noted


def test_scores_are_shares_with_wilsons_interval():
    right = np.arange(10) < 8
    found = attacks.Survival(right, *(np.array([np.arange(10) < n]) for n in (6, 7, 5)))
    [score] = attacks._scores(found, [0.5])
    assert (score.epsilon, score.accuracy, score.pgd, score.apgd_dlr) == (0.5, 0.5, 0.6, 0.7)
    assert score.only_square == 1
    # 5 of 10: statsmodels 0.14, proportion_confint(5, 10, method="wilson")
    assert score.accuracy_interval == pytest.approx([0.236593, 0.763407], abs=1e-6)


def test_two_classes_are_noted():
    assert "needs three classes" in attacks._notes(survival(0, 10), [1.0], 2)[0]


# --- bounds, random numbers -----------------------------------------------------------


def starts(ball: Ball, seed: int = 0) -> np.ndarray:
    return ball.random(generators(np.arange(len(ball.center)), (seed, 1)))


@pytest.mark.parametrize("epsilon", [0.3, 1.0, 8.0])  # 0.3 is not a float32
def test_every_search_stays_in_its_bounds(epsilon):
    network, pixels = Linear(3), images(60)
    center = pixels.astype(np.float32)
    labels = network.logits(pixels).argmax(axis=1).astype(np.int32)
    ball = Ball(center, epsilon)
    streams = generators(np.arange(60), (0, 2))
    for found in (
        starts(ball),
        search.pgd(network.losses.cross_entropy, ball, labels, starts(ball)),
        search.apgd(network.losses.dlr, ball, labels, starts(ball)),
        search.square(network.losses.margin, ball, labels, streams),
    ):
        distance = np.abs(found.astype(np.float64) - center)
        assert found.dtype == np.float32
        assert found.min() == 0 and found.max() == 255
        assert 0.9 * epsilon < distance.max() <= epsilon + 2**-17 * 2
        assert ball.contains(found).all()


def test_what_is_outside_the_bounds_is_seen():
    ball = Ball(np.full((4, 2, 2, 3), 254, np.float32), 1.0)
    found = ball.center.copy()
    found[0, 0, 0, 0] = 252.999
    found[1, 0, 0, 0] = 255.001
    found[2, 0, 0, 0] = np.nan
    assert ball.contains(found).tolist() == [False, False, False, True]


def test_random_numbers_are_of_the_seed_and_the_image():
    network, pixels = Linear(3), images(30)
    labels = network.logits(pixels).argmax(axis=1).astype(np.int32)

    def found(rows: np.ndarray, seed: int) -> np.ndarray:
        streams = generators(rows, (seed, 2))
        ball = Ball(pixels[rows].astype(np.float32), 2.0)
        return search.square(network.losses.margin, ball, labels[rows], streams)

    every = np.arange(30)
    np.testing.assert_array_equal(found(every, 0), found(every, 0))
    np.testing.assert_array_equal(found(every[10:20], 0), found(every, 0)[10:20])
    assert (found(every, 1) != found(every, 0)).any()


def test_a_random_start_is_uniform():
    ball = Ball(np.full((400, SIDE, SIDE, 3), 100, np.float32), 4.0)
    moved = starts(ball) - 100
    assert moved.mean() == pytest.approx(0, abs=4 * 4 / np.sqrt(3 * moved.size))
    assert moved.std() == pytest.approx(4 / np.sqrt(3), rel=0.01)


# --- losses by hand -------------------------------------------------------------------


def test_losses_and_gradients_are_those_by_hand():
    network, pixels = Linear(4), images(8).astype(np.float32)
    labels = np.array([0, 1, 2, 3, 0, 1, 2, 3], np.int32)
    logits, weights = network.logits(pixels), network.weights.astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = network.losses.cross_entropy(pixels, labels)
    mine = probabilities[np.arange(8), labels]
    np.testing.assert_allclose(found.loss, -np.log(mine), rtol=1e-4)
    by_hand = (probabilities - np.eye(4)[labels]) @ weights.T
    np.testing.assert_allclose(found.gradient.reshape(8, -1), by_hand, rtol=1e-3, atol=1e-6)
    assert (found.right == (logits.argmax(axis=1) == labels)).all()

    dlr, (margin, _) = network.losses.dlr(pixels, labels), network.losses.margin(pixels, labels)
    for i, (row, y) in enumerate(zip(logits, labels, strict=True)):
        others = [j for j in range(4) if j != y]
        j = max(others, key=lambda k, row=row: row[k])
        first, _, third = np.argsort(-row)[:3]
        width = row[first] - row[third]
        assert margin[i] == pytest.approx(row[y] - row[j], rel=1e-3)
        assert dlr.loss[i] == pytest.approx(-(row[y] - row[j]) / width, rel=1e-3)
        above, below = weights[:, y] - weights[:, j], weights[:, first] - weights[:, third]
        by_hand = -above / width + (row[y] - row[j]) * below / width**2
        np.testing.assert_allclose(dlr.gradient[i].ravel(), by_hand, rtol=1e-2, atol=1e-4)
    assert ((dlr.loss > 0) == ~dlr.right).all()


def test_with_two_classes_the_margin_stands_for_the_dlr_loss():
    network, pixels = Linear(2), images(8).astype(np.float32)
    labels = np.zeros(8, np.int32)
    logits = network.logits(pixels)
    found = network.losses.dlr(pixels, labels).loss
    np.testing.assert_allclose(found, logits[:, 1] - logits[:, 0], rtol=1e-3)


# --- searches -------------------------------------------------------------------------


def test_one_step_from_the_image_is_the_fast_gradient_sign_method():
    network, pixels = Linear(2), images(20)
    labels = network.logits(pixels).argmax(axis=1).astype(np.int32)
    center = pixels.astype(np.float32)
    found = search.pgd(network.losses.cross_entropy, Ball(center, 2.0), labels, center, steps=1)
    away = np.sign(network.weights[:, 1 - labels] - network.weights[:, labels]).T
    expected = np.clip(center + 2 * away.reshape(center.shape), 0, 255)
    np.testing.assert_allclose(found, expected)


def hill(pixels: np.ndarray, labels: np.ndarray) -> Evaluated:
    """A loss with its top 0.37 above 100 in every channel; no image is ever wrong."""
    away = pixels.astype(np.float64) - 100.37
    loss = -np.abs(away).sum(axis=(1, 2, 3))
    right = np.ones(len(pixels), bool)
    return Evaluated(loss.astype(np.float32), right, -np.sign(away).astype(np.float32))


def test_the_step_of_apgd_adapts_where_that_of_pgd_does_not():
    ball = Ball(np.full((3, 2, 2, 3), 100, np.float32), 8.0)
    labels, start = np.zeros(3, np.int32), starts(ball)
    distance = {
        name: np.abs(method(hill, ball, labels, start, 50) - 100.37).mean()
        for name, method in (("pgd", search.pgd), ("apgd", search.apgd))
    }
    assert 0.1 < distance["pgd"] < 0.4  # a step is 0.4
    # A step of 16, halved at 7 checkpoints, is 0.125.
    assert distance["apgd"] < 16 / 2**7


def test_apgd_returns_to_the_best_image_where_the_loss_rises_without_exceeding_it():
    ball = Ball(np.full((1, 2, 2, 3), 100, np.float32), 8.0)
    seen = []

    def loss(pixels: np.ndarray, labels: np.ndarray) -> Evaluated:
        seen.append(pixels.copy())
        value = np.array([100 if len(seen) == 1 else len(seen)], np.float32)
        return Evaluated(value, np.array([True]), np.ones_like(pixels))

    search.apgd(loss, ball, np.zeros(1, np.int32), ball.center.copy(), 50)
    assert (seen[11] == 108).all()
    # After step 11 from the start, 100, with a step of 8 and momentum: 0.75 x 8 - 0.25 x 8.
    assert (seen[12] == 104).all()


def test_what_a_search_finds_outside_the_bounds_does_not_count(monkeypatch):
    network, pixels = Linear(3), images(30)
    labels = network.predicted(pixels)
    for name in ("pgd", "apgd", "square"):
        monkeypatch.setattr(search, name, lambda _, ball, *__: 255 - ball.center)
    assert attacked(network, labels, pixels, epsilons=[1.0]).every.all()
    assert not attacked(network, labels, pixels, epsilons=[255.0]).every.all()


def test_checkpoints_are_the_published_ones():
    # Croce & Hein 2020, section 3: 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99 of the steps.
    ends = [22, 41, 57, 70, 80, 87, 93, 99]
    windows = [22, 19, 16, 13, 10, 7, 6, 6]
    assert search._windows(100) == list(zip(ends, windows, strict=True))
    assert [end for end, _ in search._windows(50)] == [11, 21, 29, 35, 40, 44, 47, 50]


def test_squares_shrink_by_the_published_schedule():
    # sqrt(0.8 / 2^k) x 32 pixels.
    expected = {1: 29, 10: 29, 11: 20, 51: 14, 201: 10, 501: 7, 1001: 5, 2001: 4, 4001: 3, 6001: 2}
    assert {query: search._side(32, query, 10_000) for query in expected} == expected
    assert search._side(32, 8001, 10_000) == 1
    assert search._side(32, 1, 200) == 20  # the 50th of 10,000


def test_squares_cover_what_they_should():
    places = np.array([[0.0, 0.999], [0.5, 0.0]])
    covered = search._squares(places, 5, 2)[..., 0]
    expected = np.zeros((2, 5, 5), bool)
    expected[0, :2, 3:] = expected[1, 2:4, :2] = True
    np.testing.assert_array_equal(covered, expected)
