"""Measure a network on a split and store what was found."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet import runs
from cifarnet.evaluation.metrics import metrics
from cifarnet.predictors import Predict


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
    runs.write_arrays(folder / f"{stem}-predictions.npz", arrays)
    runs.write_json(folder / f"{stem}.json", found)
