"""Names of classes and files are text everywhere: in tables, pictures, logs and documents."""

import json

import numpy as np
from helpers.commands import cifarnet
from PIL import Image

from cifarnet import runs

NAMES = ["$1_bill$", "a_$5_$ {x}", "[red]dog [v2]", "\u732b :smile:"]
CONFIG = """
data: {source: directory, path: photos, image_size: 16, validation_fraction: 0.25}
model: {layers: [Flatten, {Dense: {units: 4}}]}
train: {epochs: 1, batch_size: 8, learning_rate: 0.01, precision: float32}
"""


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path):
    random = np.random.default_rng(0)
    for name in NAMES:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(20):
            pixels = random.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    (tmp_path / "own.yaml").write_text(CONFIG)
    picture = tmp_path / "[bold]\x1b[31m.png"
    Image.new("RGB", (16, 16)).save(picture)
    shown = {}
    for command in (
        ["data", "info", "--config", "own.yaml"],
        ["data", "preview", "--config", "own.yaml"],
        ["train", "--config", "own.yaml"],
        ["evaluate", "latest"],
        ["predict", "latest", picture, "--top", "4"],
    ):
        done = cifarnet(*command, cwd=tmp_path)
        assert done.stderr == ""
        shown[command[0] if command[0] != "data" else command[1]] = done.stdout
    for command in ("info", "evaluate", "predict"):
        assert all(name in shown[command] for name in NAMES), command
    assert r"[bold]\x1b[31m.png: " in shown["predict"]
    assert "top-5" not in shown["evaluate"]  # of four classes
    (run,) = runs.all_runs(tmp_path / "runs")
    pictures = {path.name for path in (run.path / "evaluation").glob("*.png")}
    assert pictures == {f"test-{name}.png" for name in ("confusion", "mistakes", "reliability")}
    document = json.loads((run.path / "evaluation" / "test.json").read_text())
    assert document["classes"] == sorted(NAMES)
