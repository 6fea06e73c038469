"""Calibrate a trained network: divide its logits by a temperature fitted on validation images."""

from __future__ import annotations

import numpy as np

from cifarnet import scores
from cifarnet.backend import keras
from cifarnet.data import Images, Pixels, images_per_batch
from cifarnet.data.stored_pixels import blocks
from cifarnet.errors import TrainingError
from cifarnet.runs.records import TemperatureRecord

_LAYER = "temperature"
_BATCH = 500


def calibrate(model: keras.Model, images: Images) -> tuple[keras.Model, TemperatureRecord]:
    """Append a layer that divides the logits by the temperature of the smallest log loss.

    The layer reverses no two logits, because rounding a product with one factor keeps the order;
    two neighboring floats can become equal, and then the first of them is decided for. The same
    division inside the weights of the last layer would round each sum anew, and could reverse two
    nearly equal logits. It also has no weights: those of the network stay what was trained.

    Args:
        model: float32, without such a layer, logits out.
        images: at least one image, none of them trained on.

    Returns:
        A model that shares the layers of `model`; and what was fitted and measured.

    Raises:
        TrainingError: the network gives a logit that is not finite.
    """
    before = _logits(model, images.pixels)
    try:
        fitted = scores.fit_temperature(before, images.labels)
    except ValueError as error:
        raise TrainingError(
            "the network gives logits that are not finite for validation images, so it cannot be "
            "calibrated; train with a lower learning rate, or with -o train.calibrate=false"
        ) from error
    layer = keras.layers.Rescaling(1 / fitted.value, name=_unused_name(model), dtype="float32")
    calibrated = keras.Model(model.input, layer(model.output))
    after = _logits(calibrated, images.pixels)
    return calibrated, _record(before, after, images, fitted)


def _record(
    before: np.ndarray, after: np.ndarray, images: Images, fitted: scores.Temperature
) -> TemperatureRecord:
    labels = images.labels
    (loss_before, error_before), (loss, error) = (
        (
            scores.log_loss(probabilities, labels, np.finfo(np.float64).tiny),
            scores.calibration_error(scores.calibration_bins(probabilities, labels)),
        )
        for probabilities in (scores.softmax(before), scores.softmax(after))
    )
    return TemperatureRecord(
        temperature=fitted.value,
        at_bound=fitted.at_bound,
        images=len(labels),
        loss_before=loss_before,
        loss=loss,
        calibration_error_before=error_before,
        calibration_error=error,
        decisions_changed=int((before.argmax(axis=1) != after.argmax(axis=1)).sum()),
    )


def _logits(model: keras.Model, pixels: Pixels) -> np.ndarray:
    """Return the logits of uint8 pixels [N, S, S, 3], float32 [N, K]."""
    size = images_per_batch(pixels.shape[1], _BATCH)
    parts = [model(x.astype(np.float32), training=False) for x in blocks(pixels, size)]
    return np.concatenate([np.asarray(part) for part in parts])


def _unused_name(model: keras.Model) -> str:
    names = {layer.name for layer in model.layers}
    name = _LAYER
    while name in names:
        name += "_"
    return name
