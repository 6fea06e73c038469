"""Exports of a run: which artifacts, their parity and records, and the command."""

import json
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers.commands import cifarnet

from cifarnet import config, data, evaluation, exporters, predictors
from cifarnet.errors import ConfigError, GateError
from cifarnet.exporters import formats, parity
from cifarnet.exporters.run import _calibration
from cifarnet.runs.results import Parity

pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")


def test_targets_are_formats_with_what_fits_them():
    found = exporters.targets(["keras", "litert", "c"], ["none", "int8"])
    assert [t.name for t in found] == ["keras", "litert", "litert-int8", "c"]
    with pytest.raises(ConfigError, match="onnx: expected quantization none or int8, received fl"):
        exporters.targets(["litert", "onnx"], ["float16"])


@pytest.mark.parametrize(
    ("names", "quantizations", "message"),
    [
        (["tflite"], ["none"], "formats: .* some of keras, savedmodel, onnx, litert, c, .* 'tfl"),
        ("onnx", ["none"], "formats: expected a list of .*, received 'onnx'"),
        (["onnx"], ["int4"], "quantize: .* some of none, float16, dynamic, int8, received 'int4'"),
    ],
)
def test_unknown_names_list_the_known_ones(names, quantizations, message):
    with pytest.raises(ConfigError, match=message):
        exporters.targets(names, quantizations)


def test_a_run_is_exported_with_its_parity(run):
    wanted = exporters.targets(["onnx", "litert"], ["none", "int8"])
    found = exporters.export(run, ["onnx", "litert"], ["none", "int8"], callbacks=[])
    for target, record in zip(wanted, found, strict=True):
        folder = run.path / "exports" / target.name
        stored = json.loads((folder / "export.json").read_text())
        assert stored.items() <= record.to_json().items()
        assert (record.name, record.path) == (target.name, folder / record.artifact)
        assert record.bytes == record.path.stat().st_size
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


def test_parity_measures_what_evaluate_measures(run):
    settings = config.load(run.config_file)
    images = data.load(settings.data, settings.seed).validation
    predict = predictors.load(run.model_file)
    found = parity.measure(predict, predict, "validation", images.pixels, images.labels)
    classes = tuple("abcdefghij")
    measured = evaluation.compute_metrics(predict(images.pixels), images.labels, classes)
    assert found.accuracy == found.reference_accuracy == measured.accuracy
    assert found.max_difference == 0.0


def test_an_artifact_that_fails_its_check_does_not_get_its_name(run):
    folder = run.path / "exports"
    broken = [np.roll(w, 1, axis=-1) for w in keras.models.load_model(run.model_file).get_weights()]
    original = formats.write

    def write_other(format_, quantization, model, *rest):
        copy = keras.models.clone_model(model)
        copy.set_weights(broken)
        return original(format_, quantization, copy, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "write", write_other)
        with pytest.raises(GateError, match=r"litert-float16: it loses .* points of accuracy"):
            exporters.export(run, ["litert"], ["float16"], callbacks=[])
    assert not (folder / "litert-float16").exists()
    assert (folder / "litert-float16.failed" / "export.json").is_file()
    # A good one takes the failed one's place.
    exporters.export(run, ["litert"], ["float16"], callbacks=[])
    assert (folder / "litert-float16" / "model.tflite").is_file()
    assert not (folder / "litert-float16.failed").exists()


def test_a_float_artifact_must_agree_closely(with_options):
    other = with_options("export.max_difference=0.0")
    with pytest.raises(GateError, match=r"differs from Keras' by .*, allowed 0 \(export\.max_d"):
        exporters.export(other, ["onnx"], ["none"], callbacks=[])


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
    none = cifarnet("export", str(run.path), cwd=tmp_path, code=2)
    assert "nothing to export: give --format" in none.stderr
    bad = cifarnet("export", str(run.path), "--format", "tflite", cwd=tmp_path, code=2)
    assert "expected some of keras, savedmodel" in bad.stderr


def test_evaluate_takes_any_artifact(run, tmp_path):
    (record,) = exporters.export(run, ["litert"], ["int8"], callbacks=[])
    arguments = ("evaluate", str(record.path), "--split", "validation", "--json")
    found = json.loads(cifarnet(*arguments, cwd=tmp_path).stdout)
    assert found["accuracy"] == record.parity.accuracy
    assert Path(found["folder"]).name == "model.tflite.evaluation"


@pytest.mark.parametrize(("right", "allowed"), [(195, True), (194, False)])
def test_the_allowed_loss_is_counted_in_images(right, allowed):
    """Of 198 of 300, 0.01 allows three; in floats, 0.66 - 0.65 > 0.01."""
    measured = Parity(
        runtime="x",
        split="validation",
        images=300,
        max_difference=0.5,
        agreement=0.9,
        accuracy=right / 300,
        reference_accuracy=198 / 300,
    )
    with nullcontext() if allowed else pytest.raises(GateError, match=r"loses 1\.33 points"):
        parity.check(measured, quantized=True, max_difference=1e-4, max_accuracy_loss=0.01)
