"""Commands on a folder of 1,000 classes."""

import json
import re

import numpy as np
import pytest
from helpers.commands import cifarnet
from helpers.folders import save

CLASSES, EACH = 1_000, 5
CONFIG = """\
data: {source: directory, path: photos, image_size: 8, validation_fraction: 0.25}
model: {layers: [Flatten, {Dense: {units: 1000}}]}
train: {epochs: 2, batch_size: 50, learning_rate: 0.01, precision: float32, calibrate: true}
"""


@pytest.mark.slow
def test_1000_classes_are_trained_evaluated_shown_and_exported(tmp_path, monkeypatch):
    monkeypatch.setenv("CIFARNET_HOME", str(tmp_path / "home"))
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        color = random.integers(0, 250, 3)
        for i in range(EACH):
            save(tmp_path / f"photos/class {label:03}/{i}.png", tuple((color + i).tolist()))
    (tmp_path / "many.yaml").write_text(CONFIG)
    for epochs in (1, 2):
        cifarnet("train", "--config", "many.yaml", "-o", f"train.epochs={epochs}", cwd=tmp_path)
    runs = sorted(str(path) for path in (tmp_path / "runs").iterdir())
    for run in runs:
        shown = cifarnet("evaluate", run, cwd=tmp_path).stdout
        assert len(re.findall(r"^. class \d+", shown, re.M)) == 30
        assert "the 30 of the lowest recall of 1,000 classes" in shown
    record = json.loads((tmp_path / runs[0] / "evaluation/test.json").read_text())
    assert len(record["per_class"]) == len(record["confusion_matrix"]) == CLASSES
    assert sum(map(sum, record["confusion_matrix"])) == record["count"] >= CLASSES
    right = sum(record["confusion_matrix"][i][i] for i in range(CLASSES))
    assert record["accuracy"] == pytest.approx(right / record["count"])
    shown = cifarnet("data", "info", "--config", "many.yaml", "--json", cwd=tmp_path).stdout
    assert len(json.loads(shown)["splits"]["train"]["per_class"]) == CLASSES
    compared = cifarnet("compare", *runs, cwd=tmp_path).stdout
    assert len(re.findall(r"class \d+", compared)) <= 30
    page = (tmp_path / runs[0] / "report.html").read_text()
    assert len(page) < 1_000_000 and "all are in test.json" in page
    formats = ("--format", "keras,onnx,litert", "--quantize", "none,int8")
    cifarnet("export", runs[0], *formats, cwd=tmp_path)
    exports = list((tmp_path / runs[0] / "exports").glob("*/export.json"))
    assert len(exports) == 5
