"""Metrics of hand-computed examples; views of test-time augmentation; files; requirements."""

import json
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image

from cifarnet import config, data, evaluation, requirements, scores, training
from cifarnet.errors import ArtifactError, ConfigError, DataError, GateError
from cifarnet.predictors import load
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
    requirements.check("balanced_accuracy>=0.7222", found)
    with pytest.raises(GateError, match=r"required macro_f1 >= 0[.]66, measured 0[.]6556"):
        requirements.check("macro_f1>=0.66", found)


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
    with pytest.raises(ConfigError, match="has no macro_f1: it was not measured"):
        requirements.check("macro_f1>=0.5", older)


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


def test_intervals_of_none_and_all_right_end_at_0_and_1():
    # Wilson 1927 with z = 1.959964: z^2 / (n + z^2) = 0.2775 of 10.
    sure = np.tile(np.float32([[1.0, 0.0, 0.0]]), (10, 1))
    for label, expected in ((1, (0.0, 0.2775)), (0, (0.7225, 1.0))):
        interval = evaluation.compute_metrics(sure, np.full(10, label), CLASSES).accuracy_interval
        assert interval == pytest.approx(expected, abs=1e-4)
        assert interval[0] >= 0.0 and interval[1] <= 1.0


def test_forty_mistakes_at_most_are_listed():
    confidence = np.linspace(0.6, 0.9, 50, dtype=np.float32)
    probabilities = np.stack([confidence, 1 - confidence, 0 * confidence], axis=1)
    found = evaluation.compute_metrics(probabilities, np.ones(50, int), CLASSES)
    assert [one.index for one in found.mistakes] == list(range(49, 9, -1))


@pytest.mark.parametrize(("classes", "expected"), [(5, 1.0), (6, 0.0), (7, 0.0)])
def test_the_label_is_among_five_classes_at_most(classes, expected):
    """The least probable class of five is among the first five, that of six is not."""
    rising = np.arange(1, classes + 1, dtype=np.float32)[None]
    names = [str(i) for i in range(classes)]
    found = evaluation.compute_metrics(rising / rising.sum(), np.array([0]), names)
    assert found.top5_accuracy == expected


def test_rows_of_other_sums_are_normalized_and_zeros_are_uniform():
    rows = np.float32([[0.2, 0.2, 0.0], [0.0, 0.0, 0.0]])
    found = evaluation.compute_metrics(rows, np.array([1, 2]), CLASSES)
    assert found.loss == pytest.approx(-np.log([1 / 2, 1 / 3]).mean())


def test_confidences_on_an_edge_are_of_the_lower_bin():
    edges = np.linspace(0, 1, 16)
    rows = np.stack([edges[9:15], 1 - edges[9:15]], axis=1)
    bins = scores.calibration_bins(rows, np.zeros(6, int))
    assert [one.count for one in bins] == [0] * 8 + [1] * 6 + [0]
    assert [one.low for one in bins] == edges[:-1].tolist()
    assert [one.high for one in bins] == edges[1:].tolist()
    # Certain, and not even that.
    certain = scores.calibration_bins(np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([0, 0]))
    assert [one.count for one in certain] == [1] + [0] * 13 + [1]
    assert scores.log_loss(np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([0, 0]), 0.125) == (
        pytest.approx(-np.log([0.5, 0.125]).mean())
    )


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


def test_the_time_is_of_the_predictions(monkeypatch):
    now = [7.0]

    def predict(pixels):
        now[0] += 0.75
        return PROBABILITIES

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    about = EvaluationSource(split="test")
    found, _ = evaluation.measure(predict, images(6), LABELS, CLASSES, about)
    assert (found.about.seconds, found.about.images_per_second) == (0.75, 8.0)


@pytest.mark.parametrize(
    "requirement",
    ["accuracy>=0.6", "loss < 2", " top5_accuracy >= 1", "expected_calibration_error<=0.3"],
)
def test_requirements_that_hold(found, requirement):
    requirements.check(requirement, found)


@pytest.mark.parametrize(
    ("operator", "holding"), [(">=", "=<"), ("<=", "=>"), (">", "<"), ("<", ">")]
)
def test_each_comparison_at_its_bound(operator, holding, found):
    """`holding`: where bounds may lie beside the accuracy of 0.5."""
    half = found.model_copy(update={"accuracy": 0.5})
    for where, bound in (("<", "0.4999"), ("=", "0.5"), (">", "0.5001")):
        holds = where in holding
        with nullcontext() if holds else pytest.raises(GateError, match=r"measured 0\.5000"):
            requirements.check(f"accuracy{operator}{bound}", half)


def test_a_requirement_that_does_not_hold_states_bound_and_value(found):
    with pytest.raises(GateError, match=r"required accuracy >= 0\.7, measured 0\.6667"):
        requirements.check("accuracy>=0.7", found)
    with pytest.raises(GateError):
        requirements.check("accuracy>0.99", found)
    with pytest.raises(GateError):
        requirements.check("loss<=0.01", found)


@pytest.mark.parametrize("text", ["accuracy", "accuracy=0.5", ">=0.5", "accuracy>=high", ""])
def test_requirements_of_another_form(text):
    with pytest.raises(ConfigError, match=r'such as "accuracy>=0\.9"'):
        requirements.parse(text, Evaluation)


def test_requirements_of_unknown_metrics():
    with pytest.raises(ConfigError, match="expected one of accuracy, balanced_accuracy, macro_f1"):
        requirements.parse("acuracy>=0.5", Evaluation)


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


def test_predictions_are_ranked_and_what_cannot_be_read_is_listed(run, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    (tmp_path / "folder").mkdir()
    files = [tmp_path / "folder" / f"{i}.png" for i in range(6)]
    for file, image in zip(files, pixels, strict=True):
        Image.fromarray(image).save(file)
    files[1].write_bytes(b"nothing")
    absent = tmp_path / "absent.png"
    expected = load(run.model_file)(pixels)
    names = run.read_record().data.classes
    found = evaluation.predict(run, [files[5], absent, tmp_path / "folder"])
    assert [one.image for one in found.images] == [files[i] for i in (5, 0, 2, 3, 4)]
    assert [path for path, _ in found.unreadable] == [absent, files[1]]
    for one in found.images:
        row = expected[int(one.image.stem)]
        ranked = sorted(zip(names, row.tolist(), strict=True), key=lambda pair: -pair[1])
        assert [name for name, _ in one.classes] == [name for name, _ in ranked[:3]]
        assert [p for _, p in one.classes] == pytest.approx([p for _, p in ranked[:3]], abs=1e-6)
    for top in (1, 4):
        (one,) = evaluation.predict(run, [files[0]], top=top).images
        assert len(one.classes) == top
    with pytest.raises(DataError, match=r"at least one image, received none: .*absent"):
        evaluation.predict(run, [absent, files[1]])


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_runs_evaluation_is_of_its_split_and_lies_in_the_run(split, run, tmp_path):
    images = data.load(config.load(run.config_file).data, 0).split(split)
    expected = load(run.model_file)(images.pixels).argmax(axis=1)
    found = evaluation.evaluate(run, split, callbacks=[])
    assert (found.count, found.about.split) == (len(images.labels), split)
    assert found.accuracy == pytest.approx((expected == images.labels).mean())
    assert found.path == run.evaluation_folder / f"{split}.json"
    assert found.about.digest == run.read_record().data.digests[split]
    viewed = evaluation.evaluate(run, split, tta="mirror", callbacks=[], output=tmp_path)
    assert (viewed.path, viewed.about.tta) == (tmp_path / f"{split}-mirror.json", "mirror")
    copy = tmp_path / "copy.keras"
    copy.write_bytes(run.model_file.read_bytes())
    with pytest.raises(DataError, match="only a run knows its validation images"):
        evaluation.evaluate(copy, "validation", callbacks=[])
    shutil.rmtree(run.evaluation_folder)  # other tests look for it


def test_a_requirement_needs_a_finite_number():
    for text in ("accuracy>=nan", "loss<=inf"):
        with pytest.raises(ConfigError, match="expected a metric, a comparison and a number"):
            requirements.parse(text, Evaluation)
