"""Which network is exported, which artifacts are tried, and what becomes of those that fail."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from cifarnet import config, data
from cifarnet.callbacks import Callback
from cifarnet.cost import Meter
from cifarnet.errors import ArtifactError, ConfigError, ExportError, GateError, RunError
from cifarnet.exporters import run
from cifarnet.exporters.conversion import Converted
from cifarnet.exporters.targets import Target
from cifarnet.runs.results import Parity

INT8, FLOAT16 = Target("litert", "int8"), Target("litert", "float16")
# Lost by an accuracy of 0, so that the difference is this very number.
HALF_A_POINT = 0.005


def parity(accuracy: float, reference: float) -> Parity:
    return Parity(
        runtime="x",
        split="validation",
        images=1000,
        max_difference=0.0,
        agreement=1.0,
        accuracy=accuracy,
        reference_accuracy=reference,
    )


class Exporter(run._Exporter):
    """Writes no file: the network `trained` or `for_int8` gives an accuracy."""

    def __init__(self, reference: float, trained: float, for_int8: float | None = None) -> None:
        self._accuracies = {"trained": trained, "for_int8": for_int8}
        self._reference = reference
        self._callback = Callback()
        self._options = config.ExportConfig(max_accuracy_loss=1.0)
        self._network = "trained"
        self._network_for_int8 = lambda _: "for_int8"
        self.written: list[str] = []

    def _write(self, target, model, folder):
        self.written.append(model)
        converted = Converted(Path(model), "x", np.zeros((1, 2)), 0.0, None)
        return converted, parity(self._accuracies[model], self._reference)


@pytest.mark.parametrize(
    ("target", "reference", "trained"),
    [
        (INT8, HALF_A_POINT, 0.0),
        (INT8, 0.5, 0.75),
        (FLOAT16, 0.75, 0.25),
        (Target("onnx", "none"), 0.75, 0.25),
    ],
)
def test_a_network_that_loses_half_a_point_at_most_is_not_trained(target, reference, trained):
    exporter = Exporter(reference, trained)
    converted, measured, note = exporter._write_best(target, Path())
    assert (exporter.written, converted.path) == (["trained"], Path("trained"))
    assert (measured.accuracy, note) == (trained, None)


@pytest.mark.parametrize("reference", [HALF_A_POINT * 1.01, 0.3])
@pytest.mark.parametrize("for_int8", [0.0, 0.25])
def test_a_network_that_loses_more_is_trained_for_int8(reference, for_int8):
    exporter = Exporter(reference, 0.0, for_int8)
    converted, measured, note = exporter._write_best(INT8, Path())
    assert (exporter.written, converted.path) == (["trained", "for_int8"], Path("for_int8"))
    assert (measured.accuracy, note.accuracy_before) == (for_int8, 0.0)


def test_the_trained_network_is_written_again_if_it_was_better():
    exporter = Exporter(0.75, 0.5, 0.25)
    converted, measured, note = exporter._write_best(INT8, Path())
    assert exporter.written == ["trained", "for_int8", "trained"]
    assert (converted.path, measured.accuracy, note) == (Path("trained"), 0.5, None)


def test_a_network_that_passes_its_check_is_better_than_one_that_is_only_more_accurate():
    exporter = Exporter(0.75, 0.5, 0.7)
    scores = {"reference_loss": 0.5, "calibration_error": 0.0, "reference_calibration_error": 0.0}

    def write(target, model, folder):
        loss = 0.5 if model == "trained" else 1.0
        converted, measured = Exporter._write(exporter, target, model, folder)
        return converted, measured.model_copy(update={"loss": loss, **scores})

    exporter._write = write
    converted, _, note = exporter._write_best(INT8, Path())
    assert (converted.path, note) == (Path("trained"), None)


def test_a_missing_extra_is_one_of_the_failures(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    exporter = Exporter(0.75, 0.5)
    for name, extra in (("onnx", "onnx"), ("litert", "litert")):
        with pytest.raises(ConfigError, match=rf"pip install 'cifarnet\[{extra}\]'"):
            exporter.export(Target(name, "none"), Meter())
    with pytest.raises(ExportError) as caught:
        targets = [Target("onnx", "none"), Target("litert", "none")]
        run._export_all(targets, exporter, Meter(), None)
    assert [one.name for one in caught.value.failures] == ["onnx", "litert"]


# --- several artifacts ----------------------------------------------------------------


class Failing:
    """An exporter whose artifacts have their names, but for some that fail."""

    def __init__(self, **errors: Exception) -> None:
        self._errors = errors

    def export(self, target, meter):
        if target.format in self._errors:
            raise self._errors[target.format]
        return target.name


def test_all_artifacts_are_tried_and_failures_listed():
    wanted = [Target(name, "none") for name in ("keras", "onnx", "litert", "savedmodel")]
    gate, broken = GateError("differs"), ArtifactError("broken")
    assert run._export_all(wanted, Failing(), Meter(), None) == [
        "keras",
        "onnx",
        "litert",
        "savedmodel",
    ]
    with pytest.raises(ExportError) as caught:
        run._export_all(wanted, Failing(keras=gate, litert=broken), Meter(), None)
    assert caught.value.written == ("onnx", "savedmodel")
    found = [(one.name, one.error) for one in caught.value.failures]
    assert found == [("keras", gate), ("litert", broken)]
    # The only one's own error.
    with pytest.raises(GateError, match="differs"):
        run._export_all(wanted[:1], Failing(keras=gate), Meter(), None)
    # What is no failure of one artifact ends all.
    with pytest.raises(RunError):
        run._export_all(wanted, Failing(onnx=RunError("no room")), Meter(), None)


def test_what_is_exported_is_said_or_the_configs():
    options = config.ExportConfig(formats=["litert", "c"], quantize=["none"])
    names = [one.name for one in run._wanted(options, None, None)]
    assert names == ["litert", "c"]
    assert [one.name for one in run._wanted(options, ["onnx"], None)] == ["onnx"]
    assert [one.name for one in run._wanted(options, None, ["int8"])] == ["litert-int8", "c"]
    with pytest.raises(ConfigError, match="c: expected quantization int8"):
        run._wanted(options, None, ["none"])
    with pytest.raises(ConfigError, match="nothing to export"):
        run._wanted(options, [], None)
    pruned = config.ExportConfig(formats=["onnx"], prune=config.PruneConfig(sparsity=0.5))
    assert [one.name for one in run._wanted(pruned, None, None)] == ["onnx-pruned"]


def test_a_failed_check_renames_the_folder_and_a_good_one_replaces_it(tmp_path):
    final, failed = tmp_path / "onnx", tmp_path / "onnx.failed"
    message = r"onnx: it differs\. See .*onnx\.failed"
    with pytest.raises(GateError, match=message), run._folder(final) as folder:
        (folder / "model").write_text("1")
        raise GateError("it differs")
    assert [path.name for path in tmp_path.iterdir()] == ["onnx.failed"]
    with pytest.raises(GateError), run._folder(final) as folder:
        (folder / "model").write_text("2")
        raise GateError("it differs")
    assert (failed / "model").read_text() == "2"
    with pytest.raises(ArtifactError), run._folder(final) as folder:
        raise ArtifactError("broken")
    assert [path.name for path in tmp_path.iterdir()] == ["onnx.failed"]
    with run._folder(final) as folder:
        (folder / "model").write_text("3")
    assert [path.name for path in tmp_path.iterdir()] == ["onnx"]
    assert (final / "model").read_text() == "3"


@pytest.mark.parametrize(("count", "expected"), [(40, [4] * 10), (1000, [9] * 10)])
def test_calibration_images_are_of_all_classes_and_no_more_than_there_are(count, expected):
    settings = config.DataConfig(source="synthetic", limit=100, validation_fraction=0.1)
    dataset = data.load(settings, 0)
    chosen = run._calibration(dataset, count, 0)
    label = {
        image.tobytes(): y
        for image, y in zip(dataset.train.pixels, dataset.train.labels, strict=True)
    }
    assert np.bincount([label[image.tobytes()] for image in chosen]).tolist() == expected
