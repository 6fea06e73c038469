"""Three searches for a misclassified image near a given one: PGD, APGD and Square.

Each stops working on an image when it is misclassified, and returns for every image the last or
best one found. Pixels are not rounded to whole levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cifarnet.robustness.attacks_losses import Evaluated
from cifarnet.robustness.streams import Generators

# Of Losses: pixels float32 [N, S, S, 3], labels [N] -> the loss, which is raised; or the margin,
# which is lowered, and which images are right.
Loss = Callable[[np.ndarray, np.ndarray], Evaluated]
Margin = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

PGD_STEPS = 20
APGD_STEPS = 50
SQUARE_QUERIES = 200
# The step of PGD is this times epsilon / steps: far enough to reach the border from any start
# (Madry et al. 2018, arXiv 1706.06083, MNIST challenge).
_PGD_REACH = 2.5
# Croce & Hein 2020, arXiv 2003.01690, section 3.
_MOMENTUM, _RISES = 0.75, 0.75
_FIRST_WINDOW, _SHORTER, _LAST_WINDOW = 0.22, 0.03, 0.06
# Andriushchenko et al. 2020, arXiv 1912.00049: the share of pixels in the first square, and after
# which of 10,000 queries it is halved.
_SHARE, _HALVED = 0.8, (10, 50, 200, 500, 1_000, 2_000, 4_000, 6_000, 8_000)
# Of rounding to float32 near 255, where its step is 1.5e-5.
_ROUNDING = 1.6e-5


@dataclass(frozen=True)
class Ball:
    """What an attack may change images to: at most `epsilon` in each channel, within 0 to 255.

    Attributes:
        center: the images, float32 [N, S, S, 3].
        epsilon: levels of 255.
    """

    center: np.ndarray
    epsilon: float

    def __getitem__(self, rows: np.ndarray) -> Ball:
        return Ball(self.center[rows], self.epsilon)

    def project(self, images: np.ndarray) -> np.ndarray:
        """Return the nearest images of the ball."""
        near = np.clip(images, self.center - self.epsilon, self.center + self.epsilon)
        return np.clip(near, 0, 255).astype(np.float32, copy=False)

    def contains(self, images: np.ndarray) -> np.ndarray:
        """Return which images are in the ball, within the rounding of float32; bool [N]."""
        distance = np.abs(images.astype(np.float64) - self.center)
        inside = (distance <= self.epsilon + _ROUNDING) & (images >= 0) & (images <= 255)
        return np.asarray(inside.all(axis=(1, 2, 3)))

    def random(self, generators: Generators) -> np.ndarray:
        """Return an image of the ball for each center, uniformly distributed before 0 to 255."""
        shape = self.center.shape[1:]
        draws = np.stack([one.uniform(-1, 1, shape) for one in generators])
        return self.project(self.center + np.float32(self.epsilon) * draws.astype(np.float32))


def pgd(
    loss: Loss, ball: Ball, labels: np.ndarray, start: np.ndarray, steps: int = PGD_STEPS
) -> np.ndarray:
    """Follow the sign of a loss' gradient (Madry et al. 2018, arXiv 1706.06083).

    Every step is 2.5 x epsilon / steps long. With one step from the center this is the fast
    gradient sign method (Goodfellow et al. 2015, arXiv 1412.6572).

    Args:
        loss: to raise, such as `Losses.cross_entropy`.
        ball: of N images.
        labels: int32 [N].
        start: images of the ball.
        steps: at most so many gradients per image.

    Returns:
        Images of the ball.
    """
    length = np.float32(_PGD_REACH * ball.epsilon / steps)
    found, rows = start.copy(), np.arange(len(labels))
    for _ in range(steps):
        _, right, gradient = loss(found[rows], labels[rows])
        rows = rows[right]
        if not len(rows):
            break
        found[rows] = ball[rows].project(found[rows] + length * np.sign(gradient[right]))
    return found


@dataclass
class _Climb:
    """The state of `apgd` of the images that are still classified rightly; arrays of one length."""

    rows: np.ndarray
    images: np.ndarray
    before: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    best: np.ndarray
    best_loss: np.ndarray
    best_gradient: np.ndarray
    length: np.ndarray
    rises: np.ndarray
    checked_loss: np.ndarray
    halved: np.ndarray

    def select(self, kept: np.ndarray) -> None:
        if not kept.all():
            for name, values in vars(self).items():
                setattr(self, name, values[kept])

    def step(self, ball: Ball, momentum: float) -> None:
        ahead = ball.project(self.images + self.length * np.sign(self.gradient))
        moved = self.images + momentum * (ahead - self.images)
        moved += (1 - momentum) * (self.images - self.before)
        self.before, self.images = self.images, ball.project(moved)

    def take(self, found: Evaluated) -> None:
        self.rises += found.loss > self.loss
        better = found.loss > self.best_loss
        self.loss, self.gradient = found.loss.copy(), found.gradient.copy()
        self.best[better], self.best_loss[better] = self.images[better], found.loss[better]
        self.best_gradient[better] = found.gradient[better]

    def check(self, window: int) -> None:
        """Halve the step where the last `window` steps gained little; go on from the best image."""
        stalled = ~self.halved & (self.checked_loss == self.best_loss)
        self.halved = (self.rises < _RISES * window) | stalled
        rows = self.halved
        self.length[rows] /= 2
        self.images[rows], self.loss[rows] = self.best[rows], self.best_loss[rows]
        self.gradient[rows] = self.best_gradient[rows]
        self.checked_loss = self.best_loss.copy()
        self.rises[:] = 0


def apgd(
    loss: Loss, ball: Ball, labels: np.ndarray, start: np.ndarray, steps: int = APGD_STEPS
) -> np.ndarray:
    """Follow the sign of a loss' gradient with momentum and a step that adapts.

    Algorithm 1 of Croce & Hein 2020, arXiv 2003.01690: from a step of 2 x epsilon, halved at a
    checkpoint if the loss rose in fewer than 75 % of the steps since the last one, or if neither
    the best loss nor the step has changed; then the search goes on from the best image.

    Args:
        loss: to raise, such as `Losses.dlr`.
        ball, labels, start, steps: as for `pgd`.

    Returns:
        Images of the ball.
    """
    found, first = start.copy(), loss(start, labels)
    count, shape = len(labels), (len(labels), 1, 1, 1)
    state = _Climb(
        rows=np.arange(count),
        images=start.copy(),
        before=start.copy(),
        loss=first.loss.copy(),
        gradient=first.gradient.copy(),
        best=start.copy(),
        best_loss=first.loss.copy(),
        best_gradient=first.gradient.copy(),
        length=np.full(shape, 2 * ball.epsilon, np.float32),
        rises=np.zeros(count, int),
        checked_loss=first.loss.copy(),
        halved=np.zeros(count, bool),
    )
    state.select(first.right)
    windows = dict(_windows(steps))
    for step in range(1, steps + 1):
        if not len(state.rows):
            break
        state.step(ball[state.rows], momentum=1.0 if step == 1 else _MOMENTUM)
        result = loss(state.images, labels[state.rows])
        state.take(result)
        wrong = ~result.right
        found[state.rows[wrong]] = state.images[wrong]
        state.select(result.right)
        if step in windows:
            state.check(windows[step])
    found[state.rows] = state.best
    return found


def _windows(steps: int) -> list[tuple[int, int]]:
    """Return after which steps of `apgd` it checks, and how many steps after the last check."""
    shares = [0.0, _FIRST_WINDOW]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - _SHORTER, _LAST_WINDOW))
    # 0.41 x 100 is 41, whatever the last digit of the sum is.
    places = [math.ceil(round(share * steps, 6)) for share in shares if share <= 1]
    return [(b, b - a) for a, b in pairwise(places) if b > a]


def square(
    margin: Margin,
    ball: Ball,
    labels: np.ndarray,
    generators: Generators,
    queries: int = SQUARE_QUERIES,
) -> np.ndarray:
    """Change squares of pixels at random, and keep what lowers the margin; no gradient is used.

    Andriushchenko et al. 2020, arXiv 1912.00049, the attack for L-infinity: from vertical stripes,
    with squares that shrink by the published schedule, scaled to `queries`.

    Args:
        margin: to lower, such as `Losses.margin`.
        ball, labels: as for `pgd`.
        generators: one per image.
        queries: at most so many evaluations per image.

    Returns:
        Images of the ball.
    """
    side, epsilon = ball.center.shape[1], np.float32(ball.epsilon)
    # Per image: the signs of the stripes, and of each query a place (2) and the signs (3).
    numbers = np.stack([one.random(3 * side + 5 * queries, np.float32) for one in generators])
    stripes = numbers[:, : 3 * side].reshape(-1, 1, side, 3)
    draws = numbers[:, 3 * side :].reshape(-1, queries, 5)
    found = ball.project(ball.center + epsilon * _signs(stripes))
    lowest, right = (one.copy() for one in margin(found, labels))
    rows = np.flatnonzero(right)
    for query in range(1, queries):
        if not len(rows):
            break
        inside = _squares(draws[rows, query, :2], side, _side(side, query, queries))
        signs = _signs(draws[rows, query, 2:])[:, None, None]
        near = ball[rows]
        changed = near.project(np.where(inside, near.center + epsilon * signs, found[rows]))
        value, right = margin(changed, labels[rows])
        better = (value < lowest[rows]) | ~right
        found[rows[better]], lowest[rows[better]] = changed[better], value[better]
        rows = rows[right]
    return found


def _side(side: int, query: int, queries: int) -> int:
    """Return the side of the square of a query, pixels."""
    halvings = sum(10_000 * query / queries > limit for limit in _HALVED)
    return max(1, round(side * math.sqrt(_SHARE / 2**halvings)))


def _squares(places: np.ndarray, side: int, inner: int) -> np.ndarray:
    """Return which pixels are in the squares at places, 0 to 1, [N, 2]; bool [N, S, S, 1]."""
    first = np.floor(places * (side - inner + 1)).astype(int)[..., None]
    covered = (np.arange(side) >= first) & (np.arange(side) < first + inner)
    return (covered[:, 0, :, None] & covered[:, 1, None, :])[..., None]


def _signs(draws: np.ndarray) -> np.ndarray:
    return np.where(draws < 0.5, np.float32(-1), np.float32(1))
