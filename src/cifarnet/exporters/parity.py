"""Parity: how closely an artifact, in its own runtime, predicts what the network predicts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cifarnet import config as cfg
from cifarnet import scores
from cifarnet.errors import GateError
from cifarnet.predictors import Predict
from cifarnet.runs.results import Parity

# Half a step of 8-bit probabilities: smaller ones are indistinguishable from 0 there.
_FLOOR = 1 / 512


class Images(NamedTuple):
    """Images on which two networks are compared, uint8 [N, S, S, 3].

    Attributes:
        pixels: of a split.
        extremes: 64 images of random pixels, a black one and a white one.
    """

    pixels: np.ndarray
    extremes: np.ndarray


def images(pixels: np.ndarray) -> Images:
    """Add extreme images to those of a split."""
    size = pixels.shape[1]
    random = np.random.default_rng(0).integers(0, 256, (64, size, size, 3), np.uint8)
    flat = np.stack([np.full((size, size, 3), value, np.uint8) for value in (0, 255)])
    return Images(pixels, np.concatenate([random, flat]))


def predict(network: Predict, images: Images) -> np.ndarray:
    """Return the probabilities of all images, in the same batches for every network.

    On some processors results depend on the size of a batch.
    """
    return np.concatenate([network(part) for part in images])


def measure(
    expected: np.ndarray, predicted: np.ndarray, runtime: str, split: str, labels: np.ndarray
) -> Parity:
    """Compare an artifact's probabilities with those of the Keras model it was made from.

    Args:
        expected: of the Keras model, as `predict` returns them, float32 [N + 66, K].
        predicted: of the artifact, reloaded from its file.
        runtime: of the artifact, name and version.
        split: name of the split, never `test`.
        labels: of its images, [N]; the extreme images only count for `max_difference`.
    """
    count = len(labels)
    difference = float(np.abs(predicted - expected).max())
    top, expected_top = (rows[:count].argmax(axis=1) for rows in (predicted, expected))
    loss, error = _scores(predicted[:count], labels)
    reference_loss, reference_error = _scores(expected[:count], labels)
    return Parity(
        runtime=runtime,
        split=split,
        images=count,
        max_difference=difference if np.isfinite(difference) else None,
        agreement=float((top == expected_top).mean()),
        accuracy=float((top == labels).mean()),
        reference_accuracy=float((expected_top == labels).mean()),
        loss=loss,
        reference_loss=reference_loss,
        calibration_error=error,
        reference_calibration_error=reference_error,
    )


def check(parity: Parity, quantized: bool, limits: cfg.ExportConfig) -> None:
    """Check that an artifact's parity is within the limits.

    Args:
        quantized: compare accuracy, loss and calibration; otherwise every probability.
        limits: the `export.max_...` keys.

    Raises:
        GateError: it is not.
    """
    difference = parity.max_difference
    if difference is None:
        raise GateError("some of its probabilities are not finite")
    if quantized:
        _check_accuracy(parity, limits.max_accuracy_loss)
        _check_scores(parity, limits)
    elif difference > limits.max_difference:
        raise GateError(
            f"a probability differs from Keras' by {difference:.2g}, allowed "
            f"{limits.max_difference:.2g} (export.max_difference); top-1 agrees on "
            f"{100 * parity.agreement:.2f} % of {parity.images:,} images"
        )


def loses_more(before: float, after: float, allowed: float, images: int) -> bool:
    """Return whether an accuracy falls by more than `allowed`.

    In images, because 0.66 - 0.65 is more than 0.01.
    """
    return round((before - after) * images) > round(allowed * images, 6)


def _check_accuracy(parity: Parity, allowed: float) -> None:
    before, after = parity.reference_accuracy, parity.accuracy
    if loses_more(before, after, allowed, parity.images):
        raise GateError(
            f"it loses {100 * (before - after):.2f} points of accuracy on {parity.images:,} images "
            f"({100 * before:.2f} % to {100 * after:.2f} %), allowed {100 * allowed:.2f} "
            "(export.max_accuracy_loss)"
        )


def _check_scores(parity: Parity, limits: cfg.ExportConfig) -> None:
    scores = (
        ("loss", parity.reference_loss, parity.loss, "max_loss_increase"),
        (
            "calibration error",
            parity.reference_calibration_error,
            parity.calibration_error,
            "max_calibration_increase",
        ),
    )
    for name, before, after, key in scores:
        allowed = getattr(limits, key)
        if before is not None and after is not None and after - before > allowed:
            raise GateError(
                f"its {name} on {parity.images:,} images is {after:.3f}, the Keras model's is "
                f"{before:.3f}, allowed {allowed:g} more (export.{key}): its probabilities are "
                "not the trained network's"
            )


def _scores(
    probabilities: np.ndarray, labels: np.ndarray
) -> tuple[float, float] | tuple[None, None]:
    """Return log loss (nats) and expected calibration error; None if one is not finite."""
    if not np.isfinite(probabilities).all():
        return None, None
    bins = scores.calibration_bins(probabilities, labels)
    return scores.log_loss(probabilities, labels, _FLOOR), scores.calibration_error(bins)
