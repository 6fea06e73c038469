"""What confidence is worth: temperature scaling, selective prediction, and advice."""

from __future__ import annotations

import math

import numpy as np

from cifarnet import scores
from cifarnet.artifacts import Artifact
from cifarnet.data import Dataset
from cifarnet.predictors import Predict
from cifarnet.runs import Evaluation
from cifarnet.runs.confidence import RiskPoint, SelectivePrediction, TemperatureScaling
from cifarnet.statistics import bootstrap, wilson

_COVERAGE = 0.8
_POINTS = 100
_HIGH_ERROR = 0.05


def calibration_interval(probabilities: np.ndarray, labels: np.ndarray) -> list[float]:
    """Return the 95 % interval of the expected calibration error, [low, high].

    The basic bootstrap interval, from 0, and up to the error itself at least. Gaps that are chance
    add up instead of canceling, so a small error is estimated too high: by the bootstrap once more,
    which the basic interval subtracts (Davison and Hinkley 1997, section 5.2).

    Args:
        probabilities: float [N, K], rows that sum to 1.
        labels: int [N].
    """
    confidence = probabilities.max(axis=1)
    gaps = confidence - (probabilities.argmax(axis=1) == labels)
    place = scores.bin_indices(confidence)

    def error(rows: np.ndarray) -> np.ndarray:
        return np.array([np.abs(np.bincount(place[rows], gaps[rows])).sum() / len(rows)])

    found = float(error(np.arange(len(labels)))[0])
    low, high = (float(end[0]) for end in bootstrap(error, len(labels)))
    return [max(0.0, 2 * found - high), max(found, 2 * found - low)]


def selective_prediction(probabilities: np.ndarray, labels: np.ndarray) -> SelectivePrediction:
    """Measure how well confidence tells right decisions from wrong ones.

    Args:
        probabilities: float [N, K], rows that sum to 1.
        labels: int [N].
    """
    wrong = probabilities.argmax(axis=1) != labels
    _, level = np.unique(-probabilities.max(axis=1), return_inverse=True)
    levels = int(level.max()) + 1

    def ranking(rows: np.ndarray) -> scores.Ranking:
        counts = np.bincount(level[rows], minlength=levels)
        return scores.Ranking(counts, np.bincount(level[rows], wrong[rows], minlength=levels))

    ranked = ranking(np.arange(len(labels)))
    risks, auroc = ranked.risks(), ranked.auroc()
    low, high = bootstrap(lambda rows: _figures(ranking(rows), auroc is not None), len(labels))
    intervals = np.stack([low, high], axis=1).tolist()
    decided, accuracy = math.ceil(_COVERAGE * len(labels)), ranked.accuracy(_COVERAGE)
    shown = np.linspace(1, len(risks), min(len(risks), _POINTS)).round().astype(int)
    return SelectivePrediction(
        aurc=float(risks.mean()),
        aurc_interval=intervals[0],
        accuracy_at_80_coverage=accuracy,
        accuracy_at_80_coverage_interval=list(wilson(round(accuracy * decided), decided)),
        error_auroc=auroc,
        error_auroc_interval=None if auroc is None else intervals[1],
        risk_coverage=[
            RiskPoint(coverage=n / len(risks), risk=float(risks[n - 1])) for n in shown.tolist()
        ],
    )


def _figures(ranking: scores.Ranking, both: bool) -> np.ndarray:
    """Return the area, and the AUROC if there are `both`, right and wrong decisions.

    A resample may lack one of them; its AUROC is NaN.
    """
    figures = [float(ranking.risks().mean())]
    if both:
        auroc = ranking.auroc()
        figures.append(math.nan if auroc is None else auroc)
    return np.array(figures)


def temperature_scaling(
    predict: Predict, dataset: Dataset, probabilities: np.ndarray, labels: np.ndarray
) -> TemperatureScaling:
    """Fit a temperature on a dataset's validation images, and apply it to other predictions.

    Args:
        predict: pixels to probabilities.
        dataset: has validation images.
        probabilities, labels: of the other images, [N, K] and [N].
    """
    images = dataset.validation
    known = scores.log_probabilities(scores.normalized(predict(images.pixels)))
    fitted = scores.fit_temperature(known, images.labels)
    logits = scores.log_probabilities(scores.normalized(probabilities))
    scaled = scores.softmax(logits, fitted.value)
    return TemperatureScaling(
        temperature=fitted.value,
        at_bound=fitted.at_bound,
        images=len(images.labels),
        digest=dataset.digest("validation"),
        calibrated_error=scores.calibration_error(scores.calibration_bins(scaled, labels)),
        calibrated_error_interval=calibration_interval(scaled, labels),
        calibrated_loss=scores.log_loss(scaled, labels, np.finfo(np.float64).tiny),
    )


def advice(found: Evaluation, artifact: Artifact, dataset: Dataset) -> str:
    """Say what would lower a calibration error above 5 %; empty: it is lower, or nothing known."""
    if found.expected_calibration_error <= _HIGH_ERROR or artifact.run is None:
        return ""
    if len(dataset.validation.labels) == 0:
        return (
            "hold out validation images and calibrate on them in a new training: "
            "-o data.validation_fraction=0.1 -o train.calibrate=true"
        )
    if artifact.run.read_record().status != "finished":
        return ""  # resuming it would train on, too
    scaled = found.temperature
    if artifact.config.train.calibrate or (
        scaled is not None and scaled.calibrated_error >= found.expected_calibration_error
    ):
        return ""
    return f"cifarnet train --resume {artifact.run.path} -o train.calibrate=true"
