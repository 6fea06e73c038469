"""Runs that earlier versions wrote are listed, shown, verified, evaluated, exported and resumed.

`fixtures/format-N` holds a run of the version whose records had `format_version` N (0: none yet),
without its pictures. Its figures are those that this version printed.
"""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers.commands import cifarnet
from packaging.version import Version

from cifarnet import config, runs
from cifarnet.runs import Benchmark, RunRecord, documents

FORMATS = sorted((Path(__file__).parent / "fixtures").glob("format-*"))


@pytest.fixture(params=FORMATS, ids=lambda path: path.name)
def place(request, tmp_path) -> Path:
    """A folder with the run under `runs/`."""
    shutil.copytree(request.param, tmp_path / "runs")
    return tmp_path


@pytest.fixture
def run(place) -> runs.Run:
    return runs.open_run("latest", place / "runs")


@pytest.fixture
def readable(run) -> None:
    """Skip where Keras is older than the one that wrote `model.keras`, which it may not read."""
    wrote = run.read_record().versions["keras"]
    if Version(keras.__version__) < Version(wrote):
        pytest.skip(f"model.keras was written by Keras {wrote}")


def test_its_records_are_upgraded_when_read(run):
    record = run.read_record()
    assert record.format_version == RunRecord.VERSION
    assert (record.status, record.stop_reason) == ("finished", "all epochs done")
    assert (record.selected_epoch, record.epochs_done, record.steps_done) == (14, 15, 150)
    assert record.validation_accuracy == 0.31
    assert set(record.data.digests) == {"train", "validation", "test"}
    by_name = {one.name: one for one in runs.exports(run)}
    assert list(by_name) == ["keras", "litert", "litert-int8"]
    assert by_name["litert"].parity.accuracy == by_name["litert"].parity.reference_accuracy == 0.31
    assert 0 < by_name["litert"].parity.max_difference < 1e-5
    assert by_name["litert-int8"].calibration.images == 400
    benchmark = documents.read(run.path / "benchmark.json", Benchmark)
    names = [one.name for one in benchmark.artifacts]
    assert names == ["model.keras", *by_name]
    assert config.load(run.config_file).model.normalize == "standard"


def test_it_is_listed_shown_and_verified(place, run):
    (listed,) = json.loads(cifarnet("runs", "list", "--json", cwd=place).stdout)
    assert (listed["name"], listed["status"]) == (run.path.name, "finished")
    assert listed["validation_accuracy"] == 0.31
    shown = cifarnet("runs", "show", "latest", cwd=place).stdout
    assert "31.00 %" in shown and "litert-int8" in shown
    verdicts = json.loads(cifarnet("runs", "verify", "latest", "--json", cwd=place).stdout)["files"]
    assert len(verdicts) == 14
    assert all(one["right"] for one in verdicts)


@pytest.mark.usefixtures("readable")
def test_it_is_evaluated_as_then(place, run):
    old = runs.read_arrays(run.evaluation_folder / "validation-predictions.npz")
    cifarnet("evaluate", "latest", "--split", "validation", cwd=place)
    new = runs.read_arrays(run.evaluation_folder / "validation-predictions.npz")
    np.testing.assert_array_equal(new["labels"], old["labels"])
    np.testing.assert_allclose(new["probabilities"], old["probabilities"], atol=1e-5)
    assert all(one.right for one in runs.verify(run))


@pytest.mark.usefixtures("readable")
def test_it_is_exported(place, run):
    options = ["--format", "savedmodel,c", "--quantize", "none,int8"]
    cifarnet("export", "latest", *options, cwd=place)
    names = [one.name for one in runs.exports(run)]
    assert names == ["c", "keras", "litert", "litert-int8", "savedmodel"]


def test_it_is_resumed(place, run):
    before = run.history_file.read_text()
    cifarnet("train", "--resume", "latest", "-o", "train.epochs=17", cwd=place)
    record = run.read_record()
    assert (record.status, record.epochs_done, record.steps_done) == ("finished", 17, 170)
    # What the first 15 epochs took, nobody recorded.
    assert (record.cost.wall_seconds, record.cost.processor_seconds) == (None, None)
    assert record.cost.macs_trained == 170 * 40 * 26_260
    assert record.resumed[0].notes[0] == "train.epochs: 15 -> 17"
    assert run.history_file.read_text().startswith(before)
    written = json.loads(run.record_file.read_text())
    assert written["format_version"] == RunRecord.VERSION
    assert not {"why", "kept_epoch"} & written.keys()
