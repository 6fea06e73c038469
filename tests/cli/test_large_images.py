"""Commands on a folder of images at the largest size, 512 x 512 pixels."""

import json

import numpy as np
import pytest
from helpers.commands import cifarnet
from PIL import Image

CONFIG = """\
data: {source: directory, path: photos, image_size: 512, validation_fraction: 0.25}
model:
  layers:
    - Conv2D: {filters: 8, kernel_size: 5, strides: 8}
    - BatchNormalization
    - ReLU
    - GlobalAveragePooling2D
    - Dense: {units: 3}
train: {epochs: 1, batch_size: 8, learning_rate: 0.05, precision: float32}
"""


@pytest.mark.slow
def test_images_of_512_pixels_are_trained_on_evaluated_explained_and_exported(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("CIFARNET_HOME", str(tmp_path / "home"))
    random = np.random.default_rng(0)
    for label, name in enumerate(("red", "green", "blue")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(14):
            pixels = random.integers(0, 160, (16, 16, 3), np.uint8)
            pixels[:, :, label] += 90
            Image.fromarray(pixels).resize((520, 516)).save(tmp_path / f"photos/{name}/{i}.png")
    (tmp_path / "large.yaml").write_text(CONFIG)
    cifarnet("train", "--config", "large.yaml", cwd=tmp_path)
    (run,) = (tmp_path / "runs").glob("2*")
    cifarnet("evaluate", "latest", cwd=tmp_path)
    record = json.loads((run / "evaluation/test.json").read_text())
    assert record["count"] == sum(map(sum, record["confusion_matrix"])) > 0
    cifarnet("explain", "latest", "photos/red/3.png", "--method", "gradcam", cwd=tmp_path)
    assert (run / "evaluation/explanations/gradcam-images/explain.json").is_file()
    cifarnet("export", "latest", "--format", "onnx", cwd=tmp_path)
    parity = json.loads((run / "exports/onnx/export.json").read_text())["parity"]
    assert parity["agreement"] == 1.0 and parity["images"] > 0
    assert parity["max_difference"] < 1e-4
