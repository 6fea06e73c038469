"""Exports of a run: which artifacts, their parity and records, and the command."""

import json
from pathlib import Path

import click
import numpy as np
import pytest
from helpers.commands import cifarnet

from cifarnet import config, data, evaluation, exporters, predictors, runs
from cifarnet.cli import export_table
from cifarnet.errors import GateError
from cifarnet.exporters import formats, parity
from cifarnet.exporters.run import _calibration

pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")


def test_a_run_is_exported_with_its_parity(run):
    wanted = exporters.targets(["onnx", "litert"], ["none", "int8"])
    found = exporters.export(run, ["onnx", "litert"], ["none", "int8"], callbacks=[])
    for target, record in zip(wanted, found, strict=True):
        folder = run.path / "exports" / target.name
        stored = json.loads((folder / "export.json").read_text())
        assert stored.items() <= record.to_json().items()
        assert (record.name, record.path) == (target.name, folder / record.artifact)
        assert record.bytes == record.path.stat().st_size
        assert 0 < record.cost.wall_seconds < 3600 and record.cost.processor_seconds > 0
        about = predictors.load(record.path).metadata
        assert about["run"] == stored["run"] == run.path.name
        assert about["classes"] == list(run.read_record().data.classes)
        assert (record.calibration is None) == (target.quantization == "none")
        one = record.parity
        assert (one.split, one.images) == ("validation", 300)
        if target.quantization == "none":
            assert one.max_difference < 1e-5
            assert one.agreement == 1.0
        assert one.accuracy == pytest.approx(one.reference_accuracy, abs=0.05)
    assert [path.name for path in (run.path / "exports").iterdir() if path.name[0] == "."] == []


@pytest.fixture(scope="module")
def validation(run):
    """Images and labels of the run's validation split, and what the network predicts."""
    settings = config.load(run.config_file)
    images = data.load(settings.data, settings.seed).validation
    expected = parity.predict(predictors.load(run.model_file), parity.images(images.pixels))
    return images, expected


def test_parity_measures_what_evaluate_measures(validation):
    images, expected = validation
    found = parity.measure(expected, expected, "x", "validation", images.labels)
    count = len(images.labels)
    classes = tuple("abcdefghij")
    measured = evaluation.compute_metrics(expected[:count], images.labels, classes)
    assert len(expected) == count + 66
    assert found.accuracy == found.reference_accuracy == measured.accuracy
    # `compute_metrics` normalizes the rows, which sum to 1 within the rounding of float32.
    error = pytest.approx(measured.expected_calibration_error, abs=1e-6)
    assert found.calibration_error == found.reference_calibration_error == error
    likelihood = expected[np.arange(count), images.labels]
    assert found.loss == pytest.approx(-np.log(np.maximum(likelihood, 1 / 512)).mean())
    assert found.loss == found.reference_loss == pytest.approx(measured.loss, rel=0.05)
    assert found.max_difference == 0.0


def test_eight_bit_outputs_lose_little_by_rounding_to_zero(validation):
    images, expected = validation
    rounded = np.round(expected * 256) / 256
    found = parity.measure(expected, rounded, "x", "validation", images.labels)
    assert (rounded[np.arange(len(images.labels)), images.labels] == 0).any()
    assert found.loss == pytest.approx(found.reference_loss, abs=0.01)
    parity.check(found, True, config.ExportConfig())


@pytest.mark.parametrize(
    ("power", "limits", "message"),
    [
        (None, {}, r"its loss on 300 images is .*, the Keras model's is .*max_loss_increase"),
        (None, {"max_loss_increase": 9.0}, r"its calibration error .*max_calibration_increase"),
        (0.1, {}, r"its loss on 300 images"),
        (9.0, {"max_loss_increase": 9.0}, r"its calibration error .*max_calibration_increase"),
    ],
)
def test_accuracy_alone_proves_no_quantized_artifact(power, limits, message, validation):
    """Softmaxed twice (None), nearly uniform or too sure, all classes are still right."""
    images, expected = validation
    wrong = np.exp(expected) if power is None else expected**power
    wrong /= wrong.sum(axis=1, keepdims=True)
    found = parity.measure(expected, wrong, "x", "validation", images.labels)
    assert (found.agreement, found.accuracy) == (1.0, found.reference_accuracy)
    with pytest.raises(GateError, match=message):
        parity.check(found, True, config.ExportConfig(**limits))


def test_probabilities_that_are_not_finite_fail(validation):
    images, expected = validation
    broken = expected.copy()
    broken[3, 0] = np.nan
    found = parity.measure(expected, broken, "x", "validation", images.labels)
    assert (found.max_difference, found.loss, found.calibration_error) == (None, None, None)
    for quantized in (False, True):
        with pytest.raises(GateError, match="not finite"):
            parity.check(found, quantized, config.ExportConfig(max_accuracy_loss=1.0))


def test_an_artifact_that_fails_its_check_does_not_get_its_name(with_options):
    other = with_options("export.max_difference=0.0")
    folder = other.exports_folder
    with pytest.raises(GateError, match=r"onnx: .* differs from Keras' by .*, allowed 0 \(expor"):
        exporters.export(other, ["onnx"], ["none"], callbacks=[])
    assert not (folder / "onnx").exists()
    assert (folder / "onnx.failed" / "export.json").is_file()
    assert runs.exports(other) == []
    assert [one.name for one in runs.exports(other, failed=True)] == ["onnx.failed"]
    # A good one takes the failed one's place.
    with runs.changing(other, other.config_file):
        settings = config.load(other.config_file, ["export.max_difference=1e-4"])
        other.config_file.write_text(config.dump(settings))
    exporters.export(other, ["onnx"], ["none"], callbacks=[])
    assert (folder / "onnx" / "model.onnx").is_file()
    assert not (folder / "onnx.failed").exists()


def test_calibration_is_of_training_images_and_class_balanced(run):
    settings = config.load(run.config_file)
    dataset = data.load(settings.data, settings.seed)
    chosen = _calibration(dataset, 100, settings.seed)
    train = dataset.train
    training = {
        image.tobytes(): label for image, label in zip(train.pixels, train.labels, strict=True)
    }
    labels = [training[image.tobytes()] for image in chosen]
    assert np.bincount(labels).tolist() == [10] * 10


def test_the_command_exports_and_says_what_to_do_next(run, tmp_path):
    done = cifarnet("export", str(run.path), "--format", "litert,c", "--json", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert [(one["format"], one["quantization"]) for one in document] == [
        ("litert", "none"),
        ("c", "int8"),
    ]
    assert document[1]["micro"]["checked_by"]
    none = cifarnet("export", str(run.path), cwd=tmp_path, code=2)
    assert "nothing to export: give --format" in none.stderr
    bad = cifarnet("export", str(run.path), "--format", "tflite", cwd=tmp_path, code=2)
    assert "expected some of keras, savedmodel" in bad.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--all", "--format", "onnx"], "--all is every format"),
        (["--all", "--quantize", "int8"], "--all is every format"),
        (["--format", "c", "--quantize", "none"], "c: expected --quantize int8, received none"),
        (["--format", "onnx,c", "--quantize", "none"], "c: expected --quantize int8, rec"),
        (["--format", "onnx", "--quantize", "dynamic,float16"], "onnx: expected --quantize none "),
    ],
)
def test_options_that_do_not_fit_are_wrong_usage(options, message, tmp_path):
    done = cifarnet("export", "latest", *options, cwd=tmp_path, code=2)
    assert message in " ".join(done.stderr.split())


def test_all_leaves_out_what_this_machine_lacks_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CIFARNET_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with click.Context(click.Command("export")):
        possible = export_table.possible_formats()
    assert possible == tuple(name for name in formats.FORMATS if name != "web")
    assert "left out: web needs ONNX Runtime Web, which the command npm" in capsys.readouterr().out
    found = formats.Format(formats.FORMATS["onnx"].write, ("tf2onnx", "no_such"), "onnx")
    assert found.problem("onnx").startswith("onnx needs the packages no_such; install them with: ")


def test_evaluate_takes_any_artifact(run, tmp_path):
    (record,) = exporters.export(run, ["litert"], ["int8"], callbacks=[])
    arguments = ("evaluate", str(record.path), "--split", "validation", "--json")
    found = json.loads(cifarnet(*arguments, cwd=tmp_path).stdout)
    assert found["accuracy"] == record.parity.accuracy
    assert Path(found["folder"]).name == "model.tflite.evaluation"
