"""Results of a run in a place that cannot be written."""

import json
from pathlib import Path

import pytest
from helpers.commands import cifarnet
from PIL import Image

SMOKE = Path(__file__).parents[2] / "configs" / "smoke.yaml"
TINY = ["-o", "data.limit=300", "-o", "train.epochs=1", "-o", "train.precision=float32"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a run, none of which may be written."""
    folder = tmp_path_factory.mktemp("place")
    cifarnet("train", "--config", SMOKE, *TINY, cwd=folder)
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~0o222)
    yield folder
    for path in paths:
        path.chmod(path.stat().st_mode | 0o200)


def test_evaluate_shows_its_figures_and_writes_elsewhere(place, tmp_path):
    refused = cifarnet("evaluate", "latest", cwd=place, code=1)
    assert "95 % interval" in refused.stdout
    assert "give --output FOLDER" in refused.stderr
    output = tmp_path / "results"
    done = cifarnet("evaluate", "latest", "--output", output, "--json", cwd=place)
    names = ["test", "test-predictions", "test-images"]
    names += ["test-confusion", "test-reliability", "test-mistakes"]
    assert sorted(path.stem for path in output.iterdir()) == sorted(names)
    accuracy = json.loads(done.stdout)["accuracy"]
    assert json.loads((output / "test.json").read_text())["accuracy"] == accuracy
    assert f"{100 * accuracy:.2f} %" in refused.stdout


def test_benchmark_shows_its_figures_and_writes_elsewhere(place, tmp_path):
    command = ["benchmark", "latest", "--batch-size", "4"]
    refused = cifarnet(*command, cwd=place, code=1)
    assert "model.keras" in refused.stdout
    assert "give --output FOLDER" in refused.stderr
    cifarnet(*command, "--output", tmp_path / "results", cwd=place)
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert names == ["benchmark.json", "benchmark.png"]


def test_predict_writes_nothing(place, tmp_path):
    Image.new("RGB", (32, 32)).save(tmp_path / "black.png")
    assert "black.png" in cifarnet("predict", "latest", tmp_path / "black.png", cwd=place).stdout
