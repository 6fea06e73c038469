"""Temperature scaling and selective prediction, against hand-computed cases and scikit-learn."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss, roc_auc_score

from cifarnet import evaluation, requirements, scores
from cifarnet.evaluation.confidence import calibration_interval, selective_prediction
from cifarnet.runs import Evaluation

LOG = np.log


def drawn(temperature: float, count: int = 10_000, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return logits of ten classes, and labels drawn from softmax(logits / temperature)."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (count, 10))
    # The Gumbel-max trick: the argmax of logits plus Gumbel noise is a draw from their softmax.
    return logits, (logits / temperature + random.gumbel(size=logits.shape)).argmax(axis=1)


# --- temperature ----------------------------------------------------------------------


def test_a_temperature_by_hand():
    # Two classes, logits 2 and 0, three of four right: the loss is smallest where
    # 1 / (1 + exp(-2 / T)) = 3/4, so 2 / T = log 3.
    logits, labels = np.tile([2.0, 0.0], (4, 1)), np.array([0, 0, 0, 1])
    fitted = scores.fit_temperature(logits, labels)
    assert fitted.value == pytest.approx(2 / LOG(3), rel=1e-6)
    assert not fitted.at_bound
    np.testing.assert_allclose(scores.softmax(logits, fitted.value)[0], [0.75, 0.25], rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_a_known_temperature_is_found(temperature):
    logits, labels = drawn(temperature)
    fitted = scores.fit_temperature(logits, labels)
    assert fitted.value == pytest.approx(temperature, rel=0.03)
    # SciPy's minimum of scikit-learn's loss is the same.
    found = minimize_scalar(
        lambda t: log_loss(labels, scores.softmax(logits, t), labels=range(10)),
        bounds=(0.1, 10),
        method="bounded",
        options={"xatol": 1e-8},
    )
    assert fitted.value == pytest.approx(found.x, rel=1e-5)


def test_log_probabilities_serve_as_logits():
    logits, labels = drawn(0.5, 2_000)
    probabilities = scores.softmax(logits).astype(np.float32)
    by_logits = scores.fit_temperature(logits, labels).value
    by_logs = scores.fit_temperature(scores.log_probabilities(probabilities), labels).value
    assert by_logs == pytest.approx(by_logits, rel=1e-5)
    shifted = scores.fit_temperature(logits + np.arange(2_000)[:, None], labels).value
    assert shifted == pytest.approx(by_logits, rel=1e-6)


@pytest.mark.parametrize(
    ("logits", "label", "expected"),
    [
        ([3.0, 0.0], 0, (0.05, True)),  # all right: the loss falls to the lower bound
        ([3.0, 0.0], 1, (20.0, True)),  # all wrong: the more uniform the better
        ([0.0, 0.0], 0, (1.0, False)),  # every temperature gives the same
        ([1e6, 0.0], 0, (0.05, True)),
    ],
)
def test_one_image_is_fitted_to_a_bound(logits, label, expected):
    fitted = scores.fit_temperature(np.array([logits]), np.array([label]))
    assert (fitted.value, fitted.at_bound) == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        scores.fit_temperature(np.array([[0.0, bad]]), np.array([0]))


def test_zeros_of_8_bit_probabilities_count_as_half_a_step():
    rounded = np.array([[255, 1, 0], [128, 128, 0]]) / 256
    np.testing.assert_allclose(
        np.exp(scores.log_probabilities(rounded)),
        [[255 / 256, 1 / 256, 1 / 512], [1 / 2, 1 / 2, 1 / 512]],
    )
    # Of float32, half the smallest there is.
    tiny = np.float32([[1.0, 1e-30, 0.0]])
    np.testing.assert_allclose(np.exp(scores.log_probabilities(tiny))[0, 2], 5e-31, rtol=1e-6)
    sure = scores.log_probabilities(np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(sure, [[0.0, LOG(1 / 512)]])


def test_8_bit_probabilities_give_nearly_the_same_temperature():
    logits, labels = drawn(1.5)
    rounded = np.round(scores.softmax(logits) * 256) / 256
    fitted = scores.fit_temperature(scores.log_probabilities(scores.normalized(rounded)), labels)
    # What is below 1/512 is no longer told apart.
    assert fitted.value == pytest.approx(1.5, rel=0.1)


# --- selective prediction -------------------------------------------------------------


def predictions(confidence: list[float], right: list[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities of two classes and labels."""
    rows = np.stack([confidence, 1 - np.array(confidence)], axis=1)
    return rows, np.where(right, 0, 1)


def test_risk_coverage_by_hand():
    # In the order of confidence: right, wrong, right, right, wrong.
    rows, labels = predictions([0.6, 0.9, 0.8, 0.7, 0.55], [True, True, False, True, False])
    found = selective_prediction(rows, labels)
    risks = [0, 1 / 2, 1 / 3, 1 / 4, 2 / 5]
    assert [one.risk for one in found.risk_coverage] == pytest.approx(risks)
    assert [one.coverage for one in found.risk_coverage] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    assert found.aurc == pytest.approx(sum(risks) / 5)
    assert found.accuracy_at_80_coverage == pytest.approx(3 / 4)
    # Of 6 pairs of a right and a wrong one the wrong one is less confident in 1 + 3.
    assert found.error_auroc == pytest.approx(4 / 6)


def test_ties_count_as_the_mean_of_all_orders():
    # One at 0.9, right; three at 0.6, one of them wrong, at any place: with k of the three, the
    # expected number of errors is k / 3.
    risks = [0, (1 / 3) / 2, (2 / 3) / 3, 1 / 4]
    for right in ([True, False, True, True], [True, True, True, False]):
        found = selective_prediction(*predictions([0.9, 0.6, 0.6, 0.6], right))
        assert [one.risk for one in found.risk_coverage] == pytest.approx(risks)
        assert found.aurc == pytest.approx(sum(risks) / 4)
        assert found.error_auroc == pytest.approx((1 + 2 * 0.5) / 3)


def test_the_auroc_is_scikit_learns():
    random = np.random.default_rng(0)
    confidence = random.integers(50, 100, 500) / 100  # with ties
    right = random.random(500) < confidence
    rows, labels = predictions(confidence.tolist(), right.tolist())
    found = selective_prediction(rows, labels)
    wrong = rows.argmax(axis=1) != labels
    assert found.error_auroc == pytest.approx(roc_auc_score(wrong, -rows.max(axis=1)))
    low, high = found.error_auroc_interval
    # Hanley and McNeil 1982, equation 1.
    a, n, m = found.error_auroc, wrong.sum(), (~wrong).sum()
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    error = ((a * (1 - a) + (n - 1) * (q1 - a * a) + (m - 1) * (q2 - a * a)) / (n * m)) ** 0.5
    assert (low, high) == pytest.approx((a - 1.96 * error, a + 1.96 * error), abs=0.01)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("right", "risk"), [(True, 0.0), (False, 1.0)])
def test_all_right_and_all_wrong_have_no_auroc(right, risk):
    found = selective_prediction(*predictions([0.9, 0.8, 0.8], [right] * 3))
    assert (found.error_auroc, found.error_auroc_interval) == (None, None)
    assert (found.aurc, found.aurc_interval) == (risk, [risk, risk])
    assert found.accuracy_at_80_coverage == 1 - risk


def test_the_curve_has_at_most_100_points_and_ends_at_all_images():
    random = np.random.default_rng(0)
    confidence, right = random.uniform(0.5, 1, 1_234), random.random(1_234) < 0.7
    found = selective_prediction(*predictions(confidence.tolist(), right.tolist()))
    coverages = [one.coverage for one in found.risk_coverage]
    assert len(coverages) == 100
    assert coverages == sorted(set(coverages))
    assert coverages[-1] == 1.0
    assert found.risk_coverage[-1].risk == pytest.approx(1 - right.mean())


@pytest.mark.parametrize(("count", "surest"), [(35, 28), (1, 1), (6, 5)])
def test_80_percent_of_the_images_are_rounded_up(count, surest):
    confidence = np.linspace(0.9, 0.6, count).tolist()
    right = [i < surest for i in range(count)]
    found = selective_prediction(*predictions(confidence, right))
    assert found.accuracy_at_80_coverage == 1.0


def test_the_interval_of_a_large_calibration_error_is_that_of_the_mean_gap():
    # All at 0.9 and 60 % right: the error is the gap 0.3, with the interval of the share of right
    # ones, 1.96 sqrt(0.6 x 0.4 / 1,000).
    rows, labels = predictions([0.9] * 1_000, [True] * 600 + [False] * 400)
    half = 1.96 * math.sqrt(0.24 / 1_000)
    assert calibration_interval(rows, labels) == pytest.approx([0.3 - half, 0.3 + half], abs=0.003)


def test_the_interval_of_a_calibrated_network_begins_at_0_and_has_the_error():
    for seed in (1, 2):
        logits, labels = drawn(1.0, 2_000, seed)
        rows = scores.softmax(logits)
        error = scores.calibration_error(scores.calibration_bins(rows, labels))
        low, high = calibration_interval(rows, labels)
        assert error > 0.01  # by chance alone
        assert low == 0.0
        assert high >= error
        assert seed == 1 or high == pytest.approx(error)  # 2 x error - low is less


# --- the record -----------------------------------------------------------------------


def test_new_numbers_can_be_required_and_old_records_lack_them():
    rows, labels = predictions([0.6, 0.9, 0.8, 0.7, 0.55], [True, True, False, True, False])
    found = evaluation.compute_metrics(rows.astype(np.float32), labels, ("a", "b"))
    values = found.scalars()
    assert values["aurc"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4 + 2 / 5) / 5)
    assert values["error_auroc"] == pytest.approx(4 / 6)
    assert values["calibrated_error"] is None  # without a run there are no validation images
    requirements.check("accuracy_at_80_coverage>=0.75", found)
    older = Evaluation.model_validate(
        {
            key: value
            for key, value in found.to_json().items()
            if key not in ("selective", "expected_calibration_error_interval", "temperature")
        }
    )
    assert set(older.scalars()) == set(Evaluation.SCALARS)
    assert older.scalars()["aurc"] is None
    assert older.scalars()["accuracy"] == found.accuracy
