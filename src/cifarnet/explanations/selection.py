"""Which images are explained, and on which a method is checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarnet import data, runs
from cifarnet.artifacts import Artifact
from cifarnet.data import Dataset
from cifarnet.errors import DataError, RunError
from cifarnet.formatting import printable
from cifarnet.predictors import Predict
from cifarnet.runs import Evaluation, documents
from cifarnet.runs.results import EvaluationSource

_CHECKED = 200
_SEED = 0


@dataclass(frozen=True)
class Chosen:
    """Images to explain.

    Attributes:
        names: of each.
        pixels: uint8 [N, S, S, 3].
        labels: true classes, int [N]; None: unknown.
        unreadable: image files that could not be read, with the reason.
    """

    names: Sequence[str]
    pixels: np.ndarray
    labels: np.ndarray | None = None
    unreadable: Sequence[str] = ()


def read(paths: Sequence[Path], size: int) -> Chosen:
    """Read image files, and those in folders.

    Raises:
        DataError: none can be read.
    """
    pixels, unreadable = data.read_images(paths, size)
    reasons = [reason for _, reason in unreadable]
    if not pixels:
        raise DataError(
            "expected image files or folders of images, received none that can be read: "
            f"{'; '.join(reasons[:5])}. Check the paths, or explain mistakes of the test set"
        )
    names = [printable(str(file)) for file in pixels]
    return Chosen(names, np.stack([*pixels.values()]), None, reasons)


def mistakes(
    artifact: Artifact, predict: Predict, dataset: Dataset, about: EvaluationSource, number: int
) -> Chosen:
    """Choose the most confident mistakes on the test set.

    The stored predictions of `evaluate` are used, if they are of these weights and images.

    Args:
        artifact, predict, dataset: what is explained.
        about: describes it, with the digest of the test images.
        number: at most so many.

    Raises:
        DataError: there are no test images or no mistakes.
    """
    test = dataset.split("test")
    rows = _stored(artifact, about)
    rows = predict(test.pixels) if rows is None else rows
    wrong = np.flatnonzero(rows.argmax(axis=1) != test.labels)
    if len(wrong) == 0:
        raise DataError(
            f"all {len(test.labels):,} test images are classified correctly; name images instead"
        )
    chosen = wrong[np.argsort(-rows[wrong].max(axis=1), kind="stable")[:number]]
    names = [f"test[{row}]" for row in chosen]
    return Chosen(names, test.pixels[chosen], test.labels[chosen].astype(int))


def _stored(artifact: Artifact, about: EvaluationSource) -> np.ndarray | None:
    """Return stored probabilities of the test images, if they are of these weights and images."""
    file = artifact.evaluation_folder() / "test.json"
    try:
        stored = documents.read(file, Evaluation).about
        rows = runs.read_arrays(file.with_name("test-predictions.npz"))["probabilities"]
    except (RunError, FileNotFoundError):
        return None
    known = bool(about.weights_sha256) and artifact.is_run_model
    same = (stored.weights_sha256, stored.digest) == (about.weights_sha256, about.digest)
    return rows if known and same else None


def checked(artifact: Artifact, dataset: Dataset) -> tuple[str, np.ndarray]:
    """Choose the images that a method is checked on: of each class alike, at most 200.

    Returns:
        The split's name, and pixels: validation images; of a run without them training images; of
        a file outside any run test images, since its training images are unknown.

    Raises:
        DataError: there are fewer than 2 images.
    """
    split = "test" if artifact.run is None else dataset.comparison_split
    images = dataset.split(split)
    if len(images.labels) < 2:
        raise DataError(
            f"expected at least 2 {split} images to check the method on, received "
            f"{len(images.labels)}"
        )
    rows = data.balanced_order(images.labels, _SEED)[:_CHECKED]
    return split, images.pixels[rows]
