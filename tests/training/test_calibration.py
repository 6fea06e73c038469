"""`train.calibrate`: the temperature in the saved network, its record, and what stays equal."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

from cifarnet import (
    artifacts,
    config,
    data,
    evaluation,
    exporters,
    load_predictor,
    runs,
    scores,
    training,
)
from cifarnet.callbacks import Callback
from cifarnet.errors import ConfigError, RunError, TrainingError
from cifarnet.evaluation import confidence
from cifarnet.training.calibration import calibrate

SMOOTHED = {
    "name": "smoothed",
    "data": {"source": "synthetic", "limit": 1500, "validation_fraction": 0.3},
    "model": {
        "layers": [
            {"Conv2D": {"filters": 8, "kernel_size": 5, "activation": "relu"}},
            {"MaxPooling2D": {"pool_size": 4}},
            {"BatchNormalization": {"momentum": 0.9}},
            "Flatten",
            # The name of the layer that calibration appends.
            {"Dense": {"units": 10, "name": "temperature"}},
        ]
    },
    "train": {
        "epochs": 4,
        "batch_size": 50,
        "learning_rate": 0.03,
        "momentum": 0.9,
        "label_smoothing": 0.5,
        "precision": "float32",
        "select": "best",
    },
    "export": {"calibration_images": 100, "max_accuracy_loss": 0.05},
}


def smoothed(**train) -> config.Config:
    """`SMOOTHED` with keys of `train` replaced."""
    return config.parse({**SMOOTHED, "train": {**SMOOTHED["train"], **train}})


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> runs.Run:
    return training.train(smoothed(), tmp_path_factory.mktemp("plain"), callbacks=[])


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory) -> runs.Run:
    folder = tmp_path_factory.mktemp("calibrated")
    return training.train(smoothed(calibrate=True), folder, callbacks=[])


@pytest.fixture(scope="module")
def images() -> data.Dataset:
    return data.load(smoothed().data, smoothed().seed)


def network(run: runs.Run) -> keras.Model:
    return keras.models.load_model(run.model_file)


def logits(run: runs.Run, images: data.Images) -> np.ndarray:
    return np.asarray(network(run)(images.pixels.astype(np.float32)))


def test_logits_are_divided_by_the_recorded_temperature(plain, calibrated, images):
    record = calibrated.read_record().calibration
    before = logits(plain, images.validation)
    expected = scores.fit_temperature(before, images.validation.labels)
    assert record.temperature == pytest.approx(expected.value, rel=1e-4)
    assert record.temperature < 0.9  # label smoothing leaves too little confidence
    assert (record.images, record.at_bound) == (450, False)
    np.testing.assert_allclose(
        logits(calibrated, images.test), logits(plain, images.test) / record.temperature, rtol=1e-4
    )
    assert network(calibrated).layers[-1].name == "temperature_"
    assert plain.read_record().calibration is None


def test_no_decision_changes_and_confidence_improves(plain, calibrated, images):
    for split in (images.validation, images.test):
        before, after = (logits(run, split) for run in (plain, calibrated))
        np.testing.assert_array_equal(before.argmax(axis=1), after.argmax(axis=1))
    record = calibrated.read_record().calibration
    assert record.decisions_changed == 0
    assert record.loss < record.loss_before
    assert record.calibration_error < record.calibration_error_before / 2
    found = evaluation.evaluate(calibrated, "validation", callbacks=[])
    assert found.loss == pytest.approx(record.loss, rel=1e-5)
    assert found.expected_calibration_error == pytest.approx(record.calibration_error, abs=0.003)


def test_the_same_weights_are_trained_and_checkpointed(plain, calibrated):
    for a, b in zip(network(plain).get_weights(), network(calibrated).get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    states = [runs.read_arrays(run.checkpoints()[-1]) for run in (plain, calibrated)]
    for name in states[0].keys() - {"about"}:
        np.testing.assert_array_equal(states[0][name], states[1][name], err_msg=name)


def test_order_of_logits_is_never_reversed():
    """Of neighboring float32 numbers, times any factor."""
    random = np.random.default_rng(0)
    low = random.normal(0, 4, 100_000).astype(np.float32)
    high = np.nextafter(low, np.float32(np.inf))
    for factor in np.float32(1 / random.uniform(0.05, 20, 50)):
        layer = keras.layers.Rescaling(factor, dtype="float32")
        assert (np.asarray(layer(high)) >= np.asarray(layer(low))).all()


@pytest.mark.parametrize("epochs", [4, 5])
def test_a_finished_run_is_calibrated_by_resuming_it(plain, calibrated, epochs, tmp_path):
    run = runs.Run(shutil.copytree(plain.path, tmp_path / "run"))
    more = [f"train.epochs={epochs}"] if epochs != 4 else []
    training.resume(run, ["train.calibrate=true", *more], callbacks=[])
    record = run.read_record()
    assert (record.status, record.epochs_done) == ("finished", epochs)
    assert record.calibration.temperature < 0.9
    if epochs == 4:
        assert record.calibration == calibrated.read_record().calibration
        assert network(run).layers[-1].scale == network(calibrated).layers[-1].scale
        training.resume(run, ["train.calibrate=false"], callbacks=[])
        assert run.read_record().calibration is None
        with pytest.raises(RunError, match="has finished"):
            training.resume(run, callbacks=[])


def test_a_run_without_checkpoints_is_not_trained_again_to_calibrate_it(plain, tmp_path):
    run = runs.Run(shutil.copytree(plain.path, tmp_path / "run"))
    shutil.rmtree(run.path / "checkpoint")
    with pytest.raises(RunError, match="has finished"):
        training.resume(run, ["train.calibrate=true"], callbacks=[])
    assert network(run).layers[-1].name == "temperature"


def test_a_stopped_run_is_calibrated_and_its_continuation_is_exact(calibrated, tmp_path):
    class Stops(Callback):
        def on_epoch_end(self, result, best):
            self._done = result.epoch == 2

        def stop_reason(self):
            return "enough" if getattr(self, "_done", False) else None

    run = training.train(smoothed(calibrate=True), tmp_path, callbacks=[Stops()])
    record = run.read_record()
    assert (record.status, record.epochs_done) == ("stopped", 2)
    assert record.calibration.calibration_error < record.calibration.calibration_error_before
    training.resume(run, callbacks=[])
    assert run.read_record().calibration == calibrated.read_record().calibration
    for a, b in zip(network(run).get_weights(), network(calibrated).get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_validation_images_it_is_a_config_error(tmp_path):
    document = {**SMOOTHED, "data": {**SMOOTHED["data"], "validation_fraction": 0.0}}
    document["train"] = {**SMOOTHED["train"], "select": "last", "calibrate": True}
    with pytest.raises(ConfigError, match=r"train.calibrate: true needs a validation set"):
        config.parse(document)


def test_logits_that_are_not_finite_end_the_training(images):
    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Dense(10, kernel_initializer=keras.initializers.Constant(np.nan))(
        keras.layers.GlobalAveragePooling2D()(inputs)
    )
    with pytest.raises(TrainingError, match="cannot be calibrated"):
        calibrate(keras.Model(inputs, outputs), images.validation)


# --- evaluation and exports -----------------------------------------------------------


def test_evaluate_foretells_what_calibration_gives(plain, calibrated, images, tmp_path):
    before = evaluation.evaluate(plain, output=tmp_path / "before", callbacks=[])
    after = evaluation.evaluate(calibrated, output=tmp_path / "after", callbacks=[])
    record = calibrated.read_record().calibration
    assert before.temperature.temperature == pytest.approx(record.temperature, rel=1e-3)
    assert before.temperature.images == 450
    assert before.temperature.digest == images.digests()["validation"]
    assert before.temperature.calibrated_loss == pytest.approx(after.loss, rel=1e-4)
    error = after.expected_calibration_error
    assert before.temperature.calibrated_error == pytest.approx(error, abs=0.003)
    assert after.temperature.temperature == pytest.approx(1, abs=1e-3)
    assert before.accuracy == after.accuracy
    # Ranking by confidence is another matter, which one temperature moves little.
    assert before.advice == f"cifarnet train --resume {plain.path} -o train.calibrate=true"
    assert after.advice == ""


def test_evaluate_fits_nothing_without_other_images(plain, tmp_path):
    found = evaluation.evaluate(plain, "validation", output=tmp_path, callbacks=[])
    assert found.temperature is None
    assert "train.calibrate=true" in found.advice
    shutil.copy(plain.model_file, tmp_path / "alone.keras")
    options = ["data.source=synthetic", "data.limit=1500"]
    alone = evaluation.evaluate(tmp_path / "alone.keras", overrides=options, callbacks=[])
    assert (alone.temperature, alone.advice) == (None, "")


def test_without_validation_images_the_advice_is_to_hold_some_out(plain, images):
    artifact = artifacts.resolve(plain)
    found = evaluation.compute_metrics(np.float32([[0.5, 0.5]]), np.array([0]), ("a", "b"))
    assert found.expected_calibration_error == 0.5
    none = dataclasses.replace(images, validation=images.validation.take(np.arange(0)))
    text = confidence.advice(found, artifact, none)
    assert "-o data.validation_fraction=0.1 -o train.calibrate=true" in text
    calibrated = found.model_copy(update={"expected_calibration_error": 0.05})
    assert confidence.advice(calibrated, artifact, none) == ""


def test_exports_have_the_calibrated_confidence(calibrated, images, tmp_path):
    run = runs.Run(shutil.copytree(calibrated.path, tmp_path / "run"))
    pixels, labels = images.test.pixels, images.test.labels
    ours = load_predictor(run)(pixels)
    found = exporters.export(run, ["litert", "onnx"], ["none", "int8"], callbacks=[])
    assert len(found) == 4
    for export in found:
        exported = load_predictor(export.path)(pixels)
        if export.quantization == "none":
            np.testing.assert_allclose(exported, ours, atol=1e-4)
        error = scores.calibration_error(scores.calibration_bins(exported, labels))
        assert error < calibrated.read_record().calibration.calibration_error_before / 2


@pytest.mark.slow
def test_a_pruned_network_is_calibrated_anew(calibrated, images, tmp_path):
    run = runs.Run(shutil.copytree(calibrated.path, tmp_path / "run"))
    (export,) = exporters.export(run, ["keras"], prune=0.3, callbacks=[])
    network = keras.models.load_model(export.path)
    kernels = [w for w in network.weights if len(w.shape) > 1]
    assert all((np.asarray(w) == 0).mean() >= 0.29 for w in kernels)
    first, second = (load_predictor(path)(images.test.pixels) for path in (export.path, run.path))
    for found in (first, second):
        error = scores.calibration_error(scores.calibration_bins(found, images.test.labels))
        assert error < calibrated.read_record().calibration.calibration_error_before / 2
    parity = json.loads((export.path.parent / "export.json").read_text())["parity"]
    assert parity["calibration_error"] < parity["reference_calibration_error"] + 0.05
