"""Metrics of hand-computed examples; views of test-time augmentation; files; requirements."""

import json
import subprocess
import sys

import numpy as np
import pytest

from cifarnet import config, evaluation, training
from cifarnet.errors import ArtifactError, ConfigError, DataError, GateError
from cifarnet.runs import Evaluation, documents
from cifarnet.runs.results import EvaluationSource

CLASSES = ("ant", "bee", "cow")
# True class per row, and the predictions.
LABELS = np.array([0, 0, 0, 1, 1, 2])
PROBABILITIES = np.array(
    [
        [0.8, 0.1, 0.1],
        [0.6, 0.3, 0.1],
        [0.2, 0.7, 0.1],  # wrong
        [0.1, 0.8, 0.1],
        [0.1, 0.3, 0.6],  # wrong
        [0.1, 0.0, 0.9],
    ],
    np.float32,
)


@pytest.fixture(scope="module")
def found() -> Evaluation:
    return evaluation.compute_metrics(PROBABILITIES, LABELS, CLASSES)


def test_accuracy_and_loss(found):
    assert found.count == 6
    assert found.accuracy == pytest.approx(4 / 6)
    expected = -np.log([0.8, 0.6, 0.2, 0.8, 0.3, 0.9]).mean()
    assert found.loss == pytest.approx(expected, rel=1e-6)
    assert found.top5_accuracy == 1.0  # of three classes


def test_precision_recall_f1_and_confusion(found):
    assert found.confusion_matrix == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    ant, bee, cow = found.per_class
    assert (ant.precision, ant.recall, ant.support) == (1.0, pytest.approx(2 / 3), 3)
    assert (bee.precision, bee.recall, bee.f1) == (0.5, 0.5, 0.5)
    assert (cow.precision, cow.recall, cow.f1) == (0.5, 1.0, pytest.approx(2 / 3))


def test_balanced_accuracy_and_macro_f1_by_hand(found):
    # Recalls 2/3, 1/2, 1; F1 of ant 2 x 1 x 2/3 / (1 + 2/3) = 0.8, of bee 0.5, of cow 2/3.
    assert found.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert found.macro_f1 == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    evaluation.check(found, "balanced_accuracy>=0.7222")
    with pytest.raises(GateError, match=r"required macro_f1 >= 0[.]66, measured 0[.]6556"):
        evaluation.check(found, "macro_f1>=0.66")


@pytest.mark.filterwarnings("error")
def test_a_class_without_images_counts_in_no_mean_and_one_without_predictions_as_0():
    # True ant, ant, ant, bee; predicted ant, ant, cow, ant: cow has no image, bee is never right.
    predicted = np.eye(3, dtype=np.float32)[[0, 0, 2, 0]] * 0.8 + 0.2 / 3
    metrics = evaluation.compute_metrics(predicted, np.array([0, 0, 0, 1]), CLASSES)
    assert metrics.balanced_accuracy == pytest.approx((2 / 3 + 0) / 2)
    assert metrics.macro_f1 == pytest.approx((2 / 3 + 0) / 2)  # ant: precision and recall 2/3
    assert metrics.accuracy == 0.5


def test_a_requirement_on_what_an_older_record_lacks_is_refused(found):
    older = found.model_copy(update={"macro_f1": None})
    with pytest.raises(ConfigError, match="has no macro_f1; evaluate again"):
        evaluation.check(older, "macro_f1>=0.5")


def test_calibration_error_by_hand(found):
    # Bins of 1/15: (0.533, 0.6] two at 0.6, one right; (0.667, 0.733] one at 0.7, wrong;
    # (0.733, 0.8] two at 0.8, right; (0.867, 0.933] one at 0.9, right.
    expected = (2 * 0.1 + 1 * 0.7 + 2 * 0.2 + 1 * 0.1) / 6
    assert found.expected_calibration_error == pytest.approx(expected, abs=1e-6)
    assert sum(one.count for one in found.calibration) == 6


def test_the_most_confident_mistake_comes_first(found):
    first, second = found.mistakes
    assert (first.index, first.true, first.predicted) == (2, "ant", "bee")
    assert first.confidence == pytest.approx(0.7)
    assert second.index == 4


def test_interval_is_wilsons(found):
    # 9,000 of 10,000: Wilson's 95 % interval, 0.8940 to 0.9057.
    probabilities = np.tile(np.float32([[0.9, 0.1, 0.0]]), (10_000, 1))
    labels = np.repeat([0, 1], [9000, 1000])
    low, high = evaluation.compute_metrics(probabilities, labels, CLASSES).accuracy_interval
    assert (round(low, 4), round(high, 4)) == (0.894, 0.9057)


def test_top5_of_ten_classes():
    probabilities = np.tile(np.arange(10, 0, -1, dtype=np.float32) / 55, (10, 1))
    found = evaluation.compute_metrics(probabilities, np.arange(10), [str(i) for i in range(10)])
    assert (found.accuracy, found.top5_accuracy) == (0.1, 0.5)


def test_classes_that_do_not_occur_are_zero_and_no_warning():
    found = evaluation.compute_metrics(PROBABILITIES[:2], np.array([0, 0]), CLASSES)
    assert found.per_class[2].to_json() == {
        "class": "cow",
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "support": 0,
    }
    assert found.accuracy == 1.0
    assert found.mistakes == []


def test_another_number_of_classes_is_refused():
    with pytest.raises(ArtifactError, match="gives 3 classes, the data has 2"):
        evaluation.compute_metrics(PROBABILITIES, LABELS, ("a", "b"))


@pytest.mark.parametrize("name", ["cifarnet.evaluation.metrics", "cifarnet.evaluation"])
def test_metrics_need_no_tensorflow(name):
    code = f"import sys, {name}; assert not {{'tensorflow', 'keras'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- test-time augmentation -----------------------------------------------------------


def images(count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)


WEIGHTS = np.random.default_rng(1).normal(0, 0.002, (8 * 8 * 3, 3))


def logits(pixels: np.ndarray) -> np.ndarray:
    """A linear network."""
    return pixels.reshape(len(pixels), -1) @ WEIGHTS


def softmax(values: np.ndarray) -> np.ndarray:
    scaled = np.exp(values - values.max(axis=1, keepdims=True))
    return (scaled / scaled.sum(axis=1, keepdims=True)).astype(np.float32)


def predict(pixels: np.ndarray) -> np.ndarray:
    return softmax(logits(pixels))


def mirrored(pixels: np.ndarray) -> np.ndarray:
    return 0.5 * logits(pixels) + 0.5 * logits(pixels[:, :, ::-1])


def test_mirror_averages_logits_of_both_ways():
    given = evaluation.with_tta(predict, "mirror")(images())
    np.testing.assert_allclose(given, softmax(mirrored(images())), atol=1e-6)
    assert given.dtype == np.float32
    flipped = evaluation.with_tta(predict, "mirror")(images()[:, :, ::-1])
    np.testing.assert_allclose(given, flipped, atol=1e-6)


def test_mirror_translate_has_the_six_views():
    padded = np.pad(images(), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    shifted = mirrored(padded[:, 0:8, 0:8]) + mirrored(padded[:, 2:10, 2:10])
    expected = softmax(0.5 * mirrored(images()) + 0.5 * shifted / 2)
    given = evaluation.with_tta(predict, "mirror_translate")(images())
    np.testing.assert_allclose(given, expected, atol=1e-6)


def test_none_is_the_function_itself():
    assert evaluation.with_tta(predict, "none") is predict


def test_a_probability_of_zero_stays_finite():
    sure = evaluation.with_tta(lambda pixels: np.float32([[1, 0, 0]] * len(pixels)), "mirror")
    np.testing.assert_allclose(sure(images()), [[1, 0, 0]] * 5, atol=1e-6)


# --- files and gates ------------------------------------------------------------------


def test_written_files_hold_the_metrics_and_what_pictures_need(tmp_path):
    pixels = images(6)
    about = EvaluationSource(data="three animals", split="test", tta="none")
    found, arrays = evaluation.measure(lambda x: PROBABILITIES, pixels, LABELS, CLASSES, about)
    written = evaluation.write(found, arrays, tmp_path, "test")
    stored = json.loads((tmp_path / "test.json").read_text())
    assert stored == written.to_json()
    assert written.path == tmp_path / "test.json"
    assert documents.read(written.path, Evaluation) == written
    stamps = {"format_version": written.format_version, "written_by": written.written_by}
    assert stored == {**found.to_json(), **stamps}
    assert all(picture.is_file() for picture in evaluation.pictures(written))
    assert stored["about"]["data"] == "three animals"
    assert stored["about"]["images_per_second"] > 0
    with np.load(tmp_path / "test-predictions.npz") as file:
        np.testing.assert_array_equal(file["probabilities"], PROBABILITIES)
        np.testing.assert_array_equal(file["labels"], LABELS)
        np.testing.assert_array_equal(file["mistakes"], pixels[[2, 4]])


@pytest.mark.parametrize("requirement", ["accuracy>=0.6", "loss < 2", " top5_accuracy >= 1"])
def test_requirements_that_hold(found, requirement):
    evaluation.check(found, requirement)


def test_a_requirement_that_does_not_hold_states_bound_and_value(found):
    with pytest.raises(GateError, match=r"required accuracy >= 0\.7, measured 0\.6667"):
        evaluation.check(found, "accuracy>=0.7")
    with pytest.raises(GateError):
        evaluation.check(found, "accuracy>0.99")
    with pytest.raises(GateError):
        evaluation.check(found, "loss<=0.01")


@pytest.mark.parametrize("text", ["accuracy", "accuracy=0.5", ">=0.5", "accuracy>=high", ""])
def test_requirements_of_another_form(text):
    with pytest.raises(ConfigError, match=r'such as "accuracy>=0\.9"'):
        evaluation.parse_requirement(text)


def test_requirements_of_unknown_metrics():
    with pytest.raises(ConfigError, match="expected one of accuracy, top5_accuracy, loss"):
        evaluation.parse_requirement("acuracy>=0.5")


# --- arguments ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    settings = {
        "data": {"source": "synthetic", "limit": 100, "validation_fraction": 0.2},
        "model": {"layers": ["Flatten", {"Dense": {"units": 10}}]},
        "train": {"epochs": 1, "batch_size": 20, "learning_rate": 0.01, "precision": "float32"},
    }
    return training.train(config.parse(settings), tmp_path_factory.mktemp("runs"), callbacks=[])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"tta": "miror"}, "tta: expected one of none, mirror, mirror_translate; received 'miror'"),
        ({"tta": "x/../../y"}, "tta: expected one of"),
        ({"tta": ""}, "tta: expected one of"),
        ({"split": "train"}, "split: expected one of test, validation; received 'train'"),
    ],
    ids=str,
)
def test_unknown_views_and_splits_are_refused_and_nothing_is_written(arguments, says, run):
    with pytest.raises(ConfigError, match=says):
        evaluation.evaluate(run, callbacks=[], **arguments)
    assert not run.evaluation_folder.exists()
    assert not list(run.path.parent.glob("**/y*"))


def test_predict_states_what_is_wrong_with_its_arguments(run):
    with pytest.raises(ConfigError, match="top: expected at least 1, received 0"):
        evaluation.predict(run, ["a.png"], top=0)
    with pytest.raises(DataError, match=r"expected a list of paths, received the text 'a\.png'"):
        evaluation.predict(run, "a.png")
    with pytest.raises(DataError, match="at least one image"):
        evaluation.predict(run, [])


def test_a_requirement_needs_a_finite_number():
    for text in ("accuracy>=nan", "loss<=inf"):
        with pytest.raises(ConfigError, match="expected a metric, a comparison and a number"):
            evaluation.parse_requirement(text)
