"""Parity and its limits, on probabilities by hand."""

from contextlib import nullcontext

import numpy as np
import pytest

from cifarnet import config
from cifarnet.errors import GateError
from cifarnet.exporters import parity
from cifarnet.runs.results import Parity


def measured(**values: float) -> Parity:
    """Make the parity of an artifact that predicts what the network does but for `values`."""
    same = {"agreement": 0.9, "accuracy": 0.5, "reference_accuracy": 0.5, "max_difference": 0.5}
    scores = dict.fromkeys(
        ("loss", "reference_loss", "calibration_error", "reference_calibration_error"), 0.5
    )
    return Parity(runtime="x", split="validation", images=300, **{**same, **scores, **values})


@pytest.mark.parametrize(
    "key", ["max_accuracy_loss", "max_loss_increase", "max_calibration_increase"]
)
def test_a_quantized_artifact_may_lose_just_what_is_allowed(key):
    same = {"max_accuracy_loss": 0.25, "max_loss_increase": 0.25, "max_calibration_increase": 0.25}
    found = measured(
        accuracy=0.5,
        reference_accuracy=0.75,
        loss=1.25,
        reference_loss=1.0,
        calibration_error=0.5,
        reference_calibration_error=0.25,
    )
    parity.check(found, True, config.ExportConfig(**same))
    with pytest.raises(GateError, match=rf"export\.{key}"):
        parity.check(found, True, config.ExportConfig(**{**same, key: 0.2}))


@pytest.mark.parametrize(("right", "allowed"), [(195, True), (194, False)])
def test_the_allowed_loss_is_counted_in_images(right, allowed):
    """Of 198 of 300, 0.01 allows three; in floats, 0.66 - 0.65 > 0.01."""
    found = measured(accuracy=right / 300, reference_accuracy=198 / 300)
    with nullcontext() if allowed else pytest.raises(GateError, match=r"loses 1\.33 points"):
        parity.check(found, True, config.ExportConfig(max_accuracy_loss=0.01))


@pytest.mark.parametrize(("after", "more"), [(0.50, False), (0.49, True)])
def test_a_loss_of_just_what_is_allowed_is_no_more_than_that(after, more):
    assert parity.loses_more(0.51, after, 0.01, images=100) == more


DEFAULT = config.ExportConfig()


@pytest.mark.parametrize(
    ("difference", "allowed"), [(0.0, True), (1e-4, True), (1.01e-4, False), (1e-2, False)]
)
def test_a_float_artifact_differs_by_a_ten_thousandth_at_most(difference, allowed):
    found = measured(max_difference=difference)
    with nullcontext() if allowed else pytest.raises(GateError, match="differs from Keras' by"):
        parity.check(found, False, DEFAULT)
    parity.check(found, True, DEFAULT)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"accuracy": 0.49}, None),
        ({"accuracy": 146 / 300}, r"loses 1\.33 points .*export\.max_accuracy_loss"),
        ({"loss": 0.5999}, None),
        ({"loss": 0.6001}, r"its loss .* allowed 0\.1 more \(export\.max_loss_increase"),
        ({"calibration_error": 0.5499}, None),
        ({"calibration_error": 0.5501}, r"calibration error .* allowed 0\.05 more"),
        ({"loss": 0.0, "calibration_error": 0.0, "accuracy": 1.0}, None),
    ],
    ids=str,
)
def test_the_default_limits_of_a_quantized_artifact(values, message):
    found = measured(**values)
    with nullcontext() if message is None else pytest.raises(GateError, match=message):
        parity.check(found, True, DEFAULT)
    parity.check(measured(**{**values, "max_difference": 0.0}), False, DEFAULT)


def test_extreme_images_are_noise_black_and_white():
    pixels = np.zeros((5, 8, 8, 3), np.uint8)
    found = parity.images(pixels)
    assert found.pixels is pixels
    assert (found.extremes.shape, found.extremes.dtype) == ((66, 8, 8, 3), np.uint8)
    assert (found.extremes[64] == 0).all() and (found.extremes[65] == 255).all()
    assert len({one.tobytes() for one in found.extremes}) == 66
    assert found.extremes[:64].min() == 0 and found.extremes[:64].max() == 255


def test_what_is_measured_by_hand():
    """Five images, and 66 extreme ones of which only the difference counts."""
    expected = np.full((71, 2), 0.5, np.float32)
    expected[:5] = [[0.75, 0.25]] * 2 + [[0.25, 0.75]] * 3
    predicted = expected.copy()
    predicted[0] = [0.25, 0.75]
    predicted[70] = [1.0, 0.0]  # an extreme image
    labels = np.array([0, 1, 1, 1, 1])
    found = parity.measure(expected, predicted, "some runtime", "validation", labels)
    assert (found.runtime, found.split, found.images) == ("some runtime", "validation", 5)
    assert found.max_difference == 0.5
    assert (found.agreement, found.accuracy, found.reference_accuracy) == (0.8, 0.6, 0.8)
    assert found.loss == pytest.approx(-np.log([0.25, 0.25, 0.75, 0.75, 0.75]).mean())
    assert found.reference_loss == pytest.approx(-np.log([0.75, 0.25, 0.75, 0.75, 0.75]).mean())
    # All are sure by 3/4.
    assert found.calibration_error == pytest.approx(0.15)
    assert found.reference_calibration_error == pytest.approx(0.05)
    predicted[1] = [1.0, 0.0]
    found = parity.measure(expected, predicted, "x", "validation", labels)
    likelihoods = [0.25, 1 / 512, 0.75, 0.75, 0.75]
    assert found.loss == pytest.approx(-np.log(likelihoods).mean())


@pytest.mark.parametrize("image", [1, 70])
def test_one_probability_that_is_not_finite_proves_nothing(image):
    expected = np.full((71, 2), 0.5, np.float32)
    predicted = expected.copy()
    predicted[image, 0] = np.nan
    found = parity.measure(expected, predicted, "x", "validation", np.zeros(5, int))
    assert found.max_difference is None
    assert (found.loss is None) == (found.calibration_error is None) == (image < 5)
    assert found.reference_loss == pytest.approx(np.log(2))
    for quantized in (False, True):
        with pytest.raises(GateError, match="not finite"):
            parity.check(found, quantized, DEFAULT)


def test_networks_see_the_images_then_the_extremes():
    seen = []

    def network(pixels):
        seen.append(len(pixels))
        return pixels[:, 0, 0, :2] / np.float32(255)

    images = parity.images(np.full((5, 8, 8, 3), 51, np.uint8))
    found = parity.predict(network, images)
    assert seen == [5, 66]
    np.testing.assert_allclose(found[:5], 0.2, atol=1e-6)
    np.testing.assert_array_equal(found[-2:], [[0, 0], [1, 1]])
