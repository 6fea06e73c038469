"""Measure whether confidence tells test images from out-of-distribution images.

The score is the largest probability (Hendrycks and Gimpel 2017, arXiv 1610.02136).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cifarnet import data, scores, statistics
from cifarnet.errors import DataError
from cifarnet.robustness.budget import chunks
from cifarnet.robustness.streams import generators
from cifarnet.robustness.subject import Subject
from cifarnet.runs.robustness import DetectionScore

_NOISE, _SHUFFLE = 100, 101  # of random numbers, beside the corruptions'
_LARGEST = 500  # images of a part
_ENOUGH = 2_000  # images within a budget: an interval of about 0.03


def measure(
    subject: Subject, folder: str | Path | None, seconds: float | None
) -> list[DetectionScore]:
    """Compare the confidence on test images with that on noise, shuffled pixels and given files.

    Args:
        subject: what to measure.
        folder: of out-of-distribution images; None: there are none.
        seconds: time to take; None: no limit.

    Raises:
        DataError: the folder has no image that can be read.
    """
    subject.callback.on_stage("out-of-distribution images")
    files = [] if folder is None else data.image_files([Path(folder)])
    files = [files[i] for i in np.random.default_rng(subject.seed).permutation(len(files))]
    found: dict[str, list[np.ndarray]] = {"test": [], "noise": [], "shuffled": [], "given": []}
    unreadable: list[str] = []
    done = 0
    order = subject.order if seconds is None else subject.order[:_ENOUGH]
    for rows in chunks(order, seconds, subject.budget.clock, largest=_LARGEST):
        pixels = subject.images.pixels[rows]
        read, failed = data.read_images(files[done : done + len(rows)], pixels.shape[1])
        unreadable += [reason for _, reason in failed]
        done += len(rows)
        for name, images in (
            ("test", pixels),
            ("noise", noise(pixels, rows, subject.seed)),
            ("shuffled", shuffle(pixels, rows, subject.seed)),
            ("given", np.array([*read.values()])),
        ):
            if len(images):
                found[name].append(scores.normalized(subject.predict(images)).max(axis=1))
    if folder is not None and not found["given"]:
        raise DataError(f"{folder} has no image that can be read: {'; '.join(unreadable[:5])}")
    test = np.concatenate(found.pop("test"))
    return [
        _score(name, test, np.concatenate(parts), len(unreadable) if name == "given" else 0)
        for name, parts in found.items()
        if parts
    ]


def noise(pixels: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """Return uniform noise of the shape of the images at `rows`."""
    streams = generators(rows, (seed, _NOISE))
    return np.stack([one.integers(0, 256, pixels.shape[1:], np.uint8) for one in streams])


def shuffle(pixels: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """Return the images at `rows` with the pixels of each in random order."""
    flat = pixels.reshape(len(pixels), -1, 3)
    streams = generators(rows, (seed, _SHUFFLE))
    return np.stack(
        [one[stream.permutation(len(one))] for one, stream in zip(flat, streams, strict=True)]
    ).reshape(pixels.shape)


def _score(name: str, test: np.ndarray, other: np.ndarray, unreadable: int) -> DetectionScore:
    from sklearn.metrics import roc_auc_score

    is_test = np.repeat([True, False], [len(test), len(other)])
    auroc = float(roc_auc_score(is_test, np.concatenate([test, other])))
    return DetectionScore(
        against=name,
        images=len(other),
        test_images=len(test),
        auroc=auroc,
        auroc_interval=list(statistics.auroc_interval(auroc, len(test), len(other))),
        confidence=float(other.mean()),
        test_confidence=float(test.mean()),
        unreadable=unreadable,
    )
