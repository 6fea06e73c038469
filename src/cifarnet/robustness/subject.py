"""What robustness is measured of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cifarnet import data
from cifarnet.artifacts import Artifact
from cifarnet.callbacks import Callback
from cifarnet.predictors import Predict, Predictor
from cifarnet.robustness.budget import Budget
from cifarnet.runs.results import EvaluationSource


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        artifact: the model file.
        predictor: its network.
        about: the artifact and the images, for the record.
        predict: pixels to probabilities, in the order of `classes`.
        images: the test images.
        order: their rows, shuffled by `seed`, even over the classes in every beginning.
        classes: names, by label.
        seed: of all that is random.
        budget: the time there is.
        callback: notified of each stage.
    """

    artifact: Artifact
    predictor: Predictor
    about: EvaluationSource
    predict: Predict
    images: data.Images
    order: np.ndarray
    classes: tuple[str, ...]
    seed: int
    budget: Budget
    callback: Callback
