"""What a network is worth: metrics of its probabilities, and test-time augmentation."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet import rundir
from cifarnet.errors import ArtifactError, ConfigError, GateError
from cifarnet.predictors import Predict

_BINS = 15  # as in Guo et al. 2017
_MISTAKES = 40
_OPERATORS = {
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
}
SCALARS = ("accuracy", "top5_accuracy", "loss", "expected_calibration_error")


# --- test-time augmentation -----------------------------------------------------------


def tta(predict: Predict, kind: str) -> Predict:
    """A predict function that averages over views of each image.

    Logits are averaged, as in Jordan 2024, arXiv 2404.00498, section 3.5. Log-probabilities are
    logits less a number an image and view, which the final softmax takes out again, so averaging
    them is the same.

    Args:
        predict: probabilities of plain images.
        kind: `none`; `mirror`: the image and its mirror image; `mirror_translate`: those two
            with weight 1/4 each, and both shifted by one pixel (reflected border) up-left and
            down-right with weight 1/8 each.
    """
    if kind == "none":
        return predict

    def averaged(pixels: np.ndarray) -> np.ndarray:
        total = sum(weight * _log(predict(view)) for weight, view in _views(pixels, kind))
        scaled = np.exp(total - total.max(axis=1, keepdims=True))
        return (scaled / scaled.sum(axis=1, keepdims=True)).astype(np.float32)

    return averaged


def _views(pixels: np.ndarray, kind: str) -> list[tuple[float, np.ndarray]]:
    if kind == "mirror":
        return [(0.5, view) for view in (pixels, pixels[:, :, ::-1])]
    size = pixels.shape[1]
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    shifted = [padded[:, at : at + size, at : at + size] for at in (0, 2)]
    weighted = [(0.5, pixels), *((0.25, view) for view in shifted)]
    return [(w / 2, view) for w, one in weighted for view in (one, one[:, :, ::-1])]


def _log(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))


# --- metrics --------------------------------------------------------------------------


def metrics(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """All figures of a set of predictions.

    Args:
        probabilities: float32 [N, K], N at least 1.
        labels: int [N], 0 to K - 1.
        classes: K names.

    Returns:
        JSON-able: `count`; `loss`, mean negative log-likelihood in nats; `accuracy` and
        `top5_accuracy`, 0 to 1; `accuracy_interval`, 95 %; `expected_calibration_error`, 0 to
        1, and its `calibration` bins; `per_class` precision, recall, F1 (0 where undefined) and
        support; `confusion_matrix`, rows true, columns predicted; `mistakes`, the most
        confident ones first.

    Raises:
        ArtifactError: the network has another number of classes than the data.
    """
    from sklearn.metrics import (
        confusion_matrix,
        log_loss,
        precision_recall_fscore_support,
        top_k_accuracy_score,
    )

    count, width = probabilities.shape
    if width != len(classes):
        raise ArtifactError(
            f"the network gives {width} classes, the data has {len(classes)}: "
            f"{', '.join(classes[:5])}, ..."
        )
    every = np.arange(width)
    predicted = probabilities.argmax(axis=1)
    right = predicted == labels
    # log_loss wants rows that sum to 1 more exactly than float32 does.
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    top5 = 1.0 if width <= 5 else top_k_accuracy_score(labels, exact, k=5, labels=every)
    scores = precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    per_class = [
        {
            "class": name,
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "support": int(support),
        }
        for name, precision, recall, f1, support in zip(classes, *scores, strict=True)
    ]
    calibration = _calibration(probabilities.max(axis=1), right)
    error = sum(b["count"] * abs(b["confidence"] - b["accuracy"]) for b in calibration) / count
    return {
        "count": count,
        "loss": float(log_loss(labels, exact, labels=every)),
        "accuracy": float(right.mean()),
        "accuracy_interval": _wilson(int(right.sum()), count),
        "top5_accuracy": float(top5),
        "expected_calibration_error": error,
        "calibration": calibration,
        "per_class": per_class,
        "classes": list(classes),
        "confusion_matrix": confusion_matrix(labels, predicted, labels=every).tolist(),
        "mistakes": _mistakes(probabilities, labels, classes),
    }


def _calibration(confidence: np.ndarray, right: np.ndarray) -> list[dict[str, float | int]]:
    """Equal-width bins of confidence: Guo et al. 2017, arXiv 1706.04599, equations 2 to 5."""
    edges = np.linspace(0, 1, _BINS + 1)
    # Bin m holds confidences in (edge m, edge m + 1].
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, _BINS - 1)
    bins: list[dict[str, float | int]] = []
    for m in range(_BINS):
        inside = place == m
        number = int(inside.sum())
        bins.append(
            {
                "from": float(edges[m]),
                "to": float(edges[m + 1]),
                "count": number,
                "confidence": float(confidence[inside].mean()) if number else 0.0,
                "accuracy": float(right[inside].mean()) if number else 0.0,
            }
        )
    return bins


def _wilson(right: int, count: int, z: float = 1.959964) -> list[float]:
    """95 % interval of a share: Wilson 1927, the score interval."""
    share, spread = right / count, z * z / count
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return [max(0.0, centre - half), min(1.0, centre + half)]


def _mistakes(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> list[dict[str, Any]]:
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:_MISTAKES]
    return [
        {
            "index": int(i),
            "true": classes[labels[i]],
            "predicted": classes[predicted[i]],
            "confidence": float(confidence[i]),
        }
        for i in worst
    ]


# --- evaluating -----------------------------------------------------------------------


def measure(
    predict: Predict,
    pixels: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    about: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Predict a set and judge it.

    Args:
        predict: the network.
        pixels: uint8 [N, S, S, 3].
        labels: uint8 [N].
        classes: names, by label.
        about: noted under `about`, with the time taken.

    Returns:
        The metrics, JSON-able; and arrays: `probabilities` float32 [N, classes], `labels`, and
        the pixels of the listed `mistakes`, from which pictures are drawn.
    """
    start = time.perf_counter()
    probabilities = predict(pixels)
    seconds = time.perf_counter() - start
    found = metrics(probabilities, labels, classes)
    found["about"] = {
        **about,
        "seconds": round(seconds, 3),
        "images_per_second": round(len(pixels) / seconds, 1),
    }
    rows = [mistake["index"] for mistake in found["mistakes"]]
    return found, {"probabilities": probabilities, "labels": labels, "mistakes": pixels[rows]}


def write(found: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path, stem: str) -> None:
    """Write what `measure` found to `<stem>.json` and `<stem>-predictions.npz`.

    Raises:
        RunError: they cannot be written.
    """
    rundir.write_arrays(folder / f"{stem}-predictions.npz", arrays)
    rundir.write_json(folder / f"{stem}.json", found)


def parse_requirement(text: str) -> tuple[str, str, float]:
    """`accuracy>=0.9` -> its metric, operator and value.

    Raises:
        ConfigError: another form, or a metric that does not exist.
    """
    match = re.fullmatch(r"\s*(\w+)\s*(>=|<=|>|<)\s*(\S+)\s*", text)
    try:
        metric, operator, value = match.groups() if match else ("", "", "")
        wanted = float(value)
    except ValueError:
        raise ConfigError(
            f"requirement {text!r}: expected a metric, a comparison and a number, such as "
            '"accuracy>=0.9"'
        ) from None
    if metric not in SCALARS:
        raise ConfigError(f"requirement {text!r}: expected one of {', '.join(SCALARS)}")
    return metric, operator, wanted


def check(found: dict[str, Any], requirement: str) -> None:
    """Hold metrics against a requirement such as `accuracy>=0.9`.

    Raises:
        GateError: it is not met.
        ConfigError: as for `parse_requirement`.
    """
    metric, operator, wanted = parse_requirement(requirement)
    if not _OPERATORS[operator](found[metric], wanted):
        raise GateError(f"required {metric} {operator} {wanted:g}, measured {found[metric]:.4f}")
