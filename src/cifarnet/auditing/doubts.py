"""Labels that a trained network believes least.

Self-confidence, the probability of the given label (Northcutt et al. 2021, "Confident Learning",
arXiv 1911.00068), is only of use on images that the network was not trained on.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from cifarnet import artifacts, runs
from cifarnet.artifacts import Artifact
from cifarnet.callbacks import Callback
from cifarnet.data import Dataset
from cifarnet.errors import CifarnetError
from cifarnet.runs import Evaluation, documents
from cifarnet.runs.audits import Doubt

HELD_OUT = ("validation", "test")
MOST = 40


def doubts(artifact: Artifact, dataset: Dataset, callback: Callback) -> list[Doubt]:
    """Rank the wrongly predicted validation and test images by their label's probability.

    Predictions that `evaluate` stored for these images and weights are used; others are made.

    Returns:
        The least believed first, at most 40.
    """
    found: list[tuple[float, float, Doubt]] = []
    for split in HELD_OUT:
        images = dataset.images(split)
        if not len(images.labels):
            continue
        probabilities = _stored(artifact, dataset, split)
        if probabilities is None:
            callback.on_stage(f"predicting {len(images.labels):,} {split} images")
            probabilities = _predicted(artifact, dataset, split)
        given = probabilities[np.arange(len(images.labels)), images.labels]
        highest = probabilities.max(axis=1)
        wrong = np.flatnonzero(probabilities.argmax(axis=1) != images.labels)
        for row in wrong[np.lexsort((-highest[wrong], given[wrong]))][:MOST]:
            one = Doubt(
                split=split,
                index=int(row),
                file=images.files[row].name if images.files else "",
                label=dataset.classes[int(images.labels[row])],
                label_confidence=float(given[row]),
                predicted=dataset.classes[int(probabilities[row].argmax())],
                confidence=float(highest[row]),
            )
            found.append((float(given[row]), -float(highest[row]), one))
    return [one for _, _, one in sorted(found, key=lambda x: x[:2])[:MOST]]


def _predicted(artifact: Artifact, dataset: Dataset, split: str) -> np.ndarray:
    predict, _ = artifacts.align(artifact.load(), dataset.classes)
    return predict(dataset.images(split).pixels)


def _stored(artifact: Artifact, dataset: Dataset, split: str) -> np.ndarray | None:
    """Return the stored predictions of a run's own network, if they are of these images."""
    if artifact.run is None or not artifact.is_run_model:
        return None
    with suppress(CifarnetError, FileNotFoundError):
        record = documents.read(artifact.evaluation_folder() / f"{split}.json", Evaluation)
        about = record.about
        weights = runs.weights_digest(artifact.run)
        if about.digest == dataset.digest(split) and about.weights_sha256 == weights != "":
            return runs.read_arrays(record.predictions_file)["probabilities"]
    return None
