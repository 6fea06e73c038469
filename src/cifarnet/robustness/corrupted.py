"""Measure accuracy under the common corruptions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cifarnet import scores, statistics
from cifarnet.robustness import published
from cifarnet.robustness.budget import at_once, chunks
from cifarnet.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from cifarnet.robustness.subject import Subject
from cifarnet.runs.robustness import CorruptionRecord, CorruptionScore, SeverityScore

GENERATED = "generated with CIFAR-10-C's parameters and own noise; frost is computed"
_SIDE = 32  # pixels, for which the parameters are meant

# Rows of the test split, name of the corruption, severity -> uint8 [n, S, S, 3].
_Corrupted = Callable[[np.ndarray, str, int], np.ndarray]


def measure(
    subject: Subject, cifar10c: str | Path | None, seconds: float | None
) -> CorruptionRecord:
    """Measure accuracy under 15 corruptions at 5 severities, on as many images as time allows.

    Args:
        subject: what to measure.
        cifar10c: folder of the published images; None: generate them.
        seconds: time to take; None: no limit.

    Raises:
        DataError: the folder does not belong to the test images.
    """
    images, seed = subject.images, subject.seed

    def generated(rows: np.ndarray, name: str, severity: int) -> np.ndarray:
        return corrupt(images.pixels[rows], name, severity, rows, seed)

    corrupted: _Corrupted = generated
    source = GENERATED
    if cifar10c is not None:
        corrupted = published.load(Path(cifar10c), images.pixels.shape, images.labels)
        source = "the published CIFAR-10-C"
    confidence, correct = _predict(subject, corrupted, seconds)
    count = confidence.shape[-1]
    low, high = statistics.bootstrap_mean(correct[1:].mean(axis=(0, 1)))
    return CorruptionRecord(
        images_from=source,
        images=count,
        of=len(images.labels),
        chosen=subject.budget.chosen(count, len(images.labels)),
        seed=seed,
        accuracy=float(correct[1:].mean()),
        accuracy_interval=[low, high],
        clean=_severity(0, confidence[0], correct[0]),
        scores=[
            CorruptionScore(corruption=name, accuracy=rights.mean(axis=1).tolist())
            for name, rights in zip(CORRUPTIONS, correct[1:], strict=True)
        ],
        severities=[
            _severity(severity, confidence[1:, severity - 1], correct[1:, severity - 1])
            for severity in SEVERITIES
        ],
        notes=_notes(subject),
    )


def _predict(
    subject: Subject, corrupted: _Corrupted, seconds: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return confidence and whether it is right, [16, 5, n]: clean images (5 times the same) first.

    Images are in the order of `subject.order`, and each is under all corruptions.
    """
    pixels, labels = subject.images.pixels, subject.images.labels
    classes = len(subject.classes)
    smallest = at_once(classes * max(1, 20 // classes), pixels.shape[1])
    largest = max(smallest, 200 * _SIDE**2 // pixels.shape[1] ** 2)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for rows in chunks(subject.order, seconds, subject.budget.clock, smallest, largest):
        done = sum(one[0].shape[-1] for one in found)
        subject.callback.on_stage(f"15 corruptions at 5 severities: {done:,} images done")
        batches = [np.concatenate([pixels[rows]] * len(SEVERITIES))]
        batches += [
            np.concatenate([corrupted(rows, name, severity) for severity in SEVERITIES])
            for name in CORRUPTIONS
        ]
        probabilities = [scores.normalized(subject.predict(batch)) for batch in batches]
        shape = (len(batches), len(SEVERITIES), len(rows))
        confidence = np.stack([one.max(axis=1) for one in probabilities]).reshape(shape)
        predicted = np.stack([one.argmax(axis=1) for one in probabilities]).reshape(shape)
        found.append((confidence, predicted == labels[rows]))
    confidences, corrects = zip(*found, strict=True)
    return np.concatenate(confidences, axis=2), np.concatenate(corrects, axis=2)


def _severity(severity: int, confidence: np.ndarray, correct: np.ndarray) -> SeverityScore:
    bins = scores.confidence_bins(confidence.ravel(), correct.ravel())
    return SeverityScore(
        severity=severity,
        accuracy=float(correct.mean()),
        confidence=float(confidence.mean()),
        calibration_error=scores.calibration_error(bins),
    )


def _notes(subject: Subject) -> list[str]:
    notes = []
    kinds = {one.kind for one in subject.artifact.config.data.augment}
    known = sorted(kinds & set(CORRUPTIONS))
    if known and subject.artifact.run is not None:
        notes.append(
            f"the training used {' and '.join(known)}, which is also a test corruption: accuracy "
            "under it does not show how the network meets an unknown change"
        )
    if (side := subject.images.pixels.shape[1]) != _SIDE:
        notes.append(
            f"the parameters are meant for images of {_SIDE} x {_SIDE} pixels; these have "
            f"{side} x {side}"
        )
    return notes
