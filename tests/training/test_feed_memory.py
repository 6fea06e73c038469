"""Memory of a training whose images do not fit in it."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

CLASSES, PER_CLASS, SIDE = 100, 2_000, 64
LIMIT = 2 << 30

TRAIN = """
import sys
from cifarnet import config, system, training

settings = config.load(sys.argv[1])
training.train(settings, sys.argv[2], callbacks=[])
print(system.peak_memory())
"""
CONFIG = """
name: many
data: {{source: directory, path: {path}, image_size: {side}, memory_share: 0,
       augment: [{{kind: flip}}, {{kind: crop}}]}}
model:
  layers:
    - Conv2D: {{filters: 8, kernel_size: 3, strides: 4}}
    - ReLU
    - MaxPooling2D
    - Flatten
    - Dense: {{units: {classes}}}
train: {{epochs: 1, batch_size: 256, learning_rate: 0.1, precision: float32}}
"""


@pytest.mark.slow
def test_200000_images_of_64_pixels_are_trained_on_within_2_gib(tmp_path):
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        folder = tmp_path / "photos" / f"class {label:03}"
        folder.mkdir(parents=True)
        color = random.integers(40, 215, 3)
        for start in range(10):
            pixels = color + random.integers(-40, 40, (8, 8, 3))
            image = Image.fromarray(pixels.astype(np.uint8)).resize((SIDE, SIDE))
            image.save(folder / f"{start}.jpg")
            content = (folder / f"{start}.jpg").read_bytes()
            for i in range(10 + start, PER_CLASS, 10):
                (folder / f"{i}.jpg").write_bytes(content)
    text = CONFIG.format(path=tmp_path / "photos", side=SIDE, classes=CLASSES)
    (tmp_path / "many.yaml").write_text(text)
    assert CLASSES * PER_CLASS * SIDE * SIDE * 3 > LIMIT
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(tmp_path / "many.yaml"), str(tmp_path / "runs")],
        env={**os.environ, "CIFARNET_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )
    peak = int(done.stdout)
    print(f"peak memory {peak / 2**20:,.0f} MiB")
    assert peak < LIMIT
    pixels = list((tmp_path / "home").rglob("*.pixels"))
    assert sum(file.stat().st_size for file in pixels) == CLASSES * PER_CLASS * SIDE * SIDE * 3
