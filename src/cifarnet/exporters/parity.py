"""Parity: how closely an artifact, in its own runtime, predicts what the network predicts."""

from __future__ import annotations

import time

import numpy as np

from cifarnet.errors import GateError
from cifarnet.predictors import Predict, Predictor
from cifarnet.runs.results import Parity


def measure(
    reference: Predict, artifact: Predictor, split: str, pixels: np.ndarray, labels: np.ndarray
) -> Parity:
    """Compare an artifact with the Keras model it was made from.

    Args:
        reference: the Keras model, float32.
        artifact: reloaded from its file.
        split: name of the split, never `test`.
        pixels, labels: uint8 [N, S, S, 3] and [N]. For `max_difference`, random, black and white
            images are added.
    """
    extremes = _extreme_images(pixels.shape[1])
    # The same batches for both: on some processors results depend on the size of a batch.
    expected = np.concatenate([reference(pixels), reference(extremes)])
    start = time.perf_counter()
    predicted = artifact(pixels)
    seconds = time.perf_counter() - start
    whole = np.concatenate([predicted, artifact(extremes)])
    count = len(labels)
    top, expected_top = predicted.argmax(axis=1), expected[:count].argmax(axis=1)
    difference = np.abs(whole - expected)
    return Parity(
        runtime=artifact.runtime,
        split=split,
        images=count,
        max_difference=float(difference.max()) if np.isfinite(whole).all() else None,
        agreement=float((top == expected_top).mean()),
        accuracy=float((top == labels).mean()),
        reference_accuracy=float((expected_top == labels).mean()),
        seconds=round(seconds, 3),
    )


def check(parity: Parity, quantized: bool, max_difference: float, max_accuracy_loss: float) -> None:
    """Check that an artifact's parity is within the limits.

    Args:
        quantized: compare accuracies; otherwise every probability.
        max_difference: of a probability.
        max_accuracy_loss: 0 to 1.

    Raises:
        GateError: it is not.
    """
    difference = parity.max_difference
    # In images, because 0.66 - 0.65 is more than 0.01.
    lost = round((parity.reference_accuracy - parity.accuracy) * parity.images)
    if difference is None:
        raise GateError("some of its probabilities are not finite")
    if not quantized and difference > max_difference:
        raise GateError(
            f"a probability differs from Keras' by {difference:.2g}, allowed {max_difference:.2g} "
            f"(export.max_difference); top-1 agrees on {100 * parity.agreement:.2f} % of "
            f"{parity.images:,} images"
        )
    if quantized and lost > round(max_accuracy_loss * parity.images, 6):
        raise GateError(
            f"it loses {100 * lost / parity.images:.2f} points of accuracy on "
            f"{parity.images:,} images ({100 * parity.reference_accuracy:.2f} % to "
            f"{100 * parity.accuracy:.2f} %), "
            f"allowed {100 * max_accuracy_loss:.2f} (export.max_accuracy_loss)"
        )


def _extreme_images(size: int) -> np.ndarray:
    """Return 64 images of random pixels, a black one and a white one."""
    random = np.random.default_rng(0).integers(0, 256, (64, size, size, 3), np.uint8)
    flat = np.stack([np.full((size, size, 3), value, np.uint8) for value in (0, 255)])
    return np.concatenate([random, flat])
