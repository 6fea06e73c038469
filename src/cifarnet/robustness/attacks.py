"""Measure worst-case accuracy under L-infinity attacks, on Keras networks.

The figures are upper bounds of robust accuracy: a stronger attack may find more. This is not
AutoAttack, which runs more attacks for longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cifarnet import artifacts, statistics
from cifarnet.predictors.gradients import Differentiable
from cifarnet.robustness import attacks_search as search
from cifarnet.robustness.attacks_losses import Losses
from cifarnet.robustness.attacks_search import Ball
from cifarnet.robustness.budget import at_once, chunks
from cifarnet.robustness.streams import generators
from cifarnet.robustness.subject import Subject
from cifarnet.runs.robustness import AttackRecord, AttackScore

EPSILONS = (0.5, 1.0, 2.0, 8.0)  # of 255
# Of random numbers, beside the corruptions'.
_STREAMS = {"pgd": 200, "apgd_dlr": 201, "square": 202}
# Square finds what the gradient attacks do not: this share of the images, and at least so many.
_MASKED_SHARE, _MASKED_IMAGES = 0.01, 3


@dataclass(frozen=True)
class Survival:
    """Which images are classified rightly, bool; an image broken at one epsilon stays broken.

    Attributes:
        clean: before any attack, [N].
        pgd, apgd_dlr: after this attack alone, [epsilons, N].
        every: after both and then Square on what they left, [epsilons, N].
    """

    clean: np.ndarray
    pgd: np.ndarray
    apgd_dlr: np.ndarray
    every: np.ndarray

    @property
    def gradients(self) -> np.ndarray:
        """Which images both gradient attacks left right, [epsilons, N]."""
        return self.pgd & self.apgd_dlr


def measure(subject: Subject, seconds: float | None) -> AttackRecord:
    """Measure worst-case accuracy on as many images as time allows.

    Args:
        subject: what to measure, a Keras file.
        seconds: time to take; None: no limit.

    Raises:
        ArtifactError: it is not a Keras file.
    """
    order, _ = artifacts.class_order(subject.predictor, subject.classes)
    losses = Losses(Differentiable(subject.predictor, order))
    pixels, labels = subject.images.pixels, subject.images.labels
    smallest = at_once(len(subject.classes), pixels.shape[1])
    largest = max(smallest, 200 * 32**2 // pixels.shape[1] ** 2)
    found: list[Survival] = []
    for rows in chunks(subject.order, seconds, subject.budget.clock, smallest, largest):
        done = sum(len(one.clean) for one in found)
        subject.callback.on_stage(f"attacks of {len(EPSILONS)} sizes: {done:,} images done")
        found.append(attack(losses, pixels[rows], labels[rows], rows, subject.seed))
    survived = _joined(found)
    count = len(survived.clean)
    return AttackRecord(
        images=count,
        of=len(labels),
        chosen=subject.budget.chosen(count, len(labels)),
        seed=subject.seed,
        clean_accuracy=float(survived.clean.mean()),
        scores=_scores(survived, EPSILONS),
        notes=_notes(survived, EPSILONS, len(subject.classes)),
    )


def attack(
    losses: Losses,
    pixels: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    seed: int,
    epsilons: Sequence[float] = EPSILONS,
) -> Survival:
    """Attack images with PGD, APGD-DLR, and Square where both fail.

    An image that is already wrong is not attacked, one that an attack broke is not attacked by it
    with a larger epsilon. What an attack finds counts only if the network is wrong on it once more
    and if it is within epsilon and 0 to 255.

    Args:
        losses: of the network.
        pixels: uint8 [N, S, S, 3].
        labels: integers [N].
        rows: of the images in their split, [N]: each has its own random numbers.
        seed: of the random numbers.
        epsilons: ascending, of 255.
    """
    images, labels = pixels.astype(np.float32), labels.astype(np.int32)
    clean = losses.right(images, labels)
    pgd, apgd, every = clean.copy(), clean.copy(), clean.copy()
    stages: list[tuple[np.ndarray, ...]] = []
    for epsilon in epsilons:

        def left(name: str, right: np.ndarray, epsilon: float = epsilon) -> np.ndarray:
            return _attacked(losses, name, images, labels, right, rows, seed, epsilon)

        pgd, apgd = left("pgd", pgd), left("apgd_dlr", apgd)
        every = left("square", every & pgd & apgd)
        stages.append((pgd, apgd, every))
    return Survival(clean, *(np.stack(one) for one in zip(*stages, strict=True)))


def _attacked(
    losses: Losses,
    name: str,
    images: np.ndarray,
    labels: np.ndarray,
    right: np.ndarray,
    rows: np.ndarray,
    seed: int,
    epsilon: float,
) -> np.ndarray:
    """Return which of the images that are `right` are so after an attack; bool [N]."""
    places = np.flatnonzero(right)
    if not len(places):
        return right
    ball, known = Ball(images[places], epsilon), labels[places]
    streams = generators(rows[places], (seed, _STREAMS[name]))
    if name == "square":
        found = search.square(losses.margin, ball, known, streams)
    elif name == "pgd":
        found = search.pgd(losses.cross_entropy, ball, known, ball.random(streams))
    else:
        found = search.apgd(losses.dlr, ball, known, ball.random(streams))
    broken = ~losses.right(found, known) & ball.contains(found)
    left = right.copy()
    left[places[broken]] = False
    return left


def _joined(parts: Sequence[Survival]) -> Survival:
    names = ("clean", "pgd", "apgd_dlr", "every")
    return Survival(*(np.concatenate([getattr(x, name) for x in parts], -1) for name in names))


def _scores(survived: Survival, epsilons: Sequence[float]) -> list[AttackScore]:
    count = len(survived.clean)
    only_square = survived.gradients & ~survived.every
    return [
        AttackScore(
            epsilon=epsilon,
            accuracy=float(survived.every[i].mean()),
            accuracy_interval=list(statistics.wilson(int(survived.every[i].sum()), count)),
            pgd=float(survived.pgd[i].mean()),
            apgd_dlr=float(survived.apgd_dlr[i].mean()),
            only_square=int(only_square[i].sum()),
        )
        for i, epsilon in enumerate(epsilons)
    ]


def _notes(survived: Survival, epsilons: Sequence[float], classes: int) -> list[str]:
    notes = []
    only_square = (survived.gradients & ~survived.every).sum(axis=1)
    worst, count = int(only_square.argmax()), len(survived.clean)
    if only_square[worst] >= max(_MASKED_IMAGES, _MASKED_SHARE * count):
        notes.append(
            f"at epsilon {epsilons[worst]:g}, Square, which uses no gradient, broke "
            f"{only_square[worst]:,} of {count:,} images that both gradient attacks left right: "
            "the network's gradients may be masked, and its true robustness far lower"
        )
    if classes == 2:
        notes.append("the DLR loss needs three classes; with two APGD raised the margin instead")
    return notes
