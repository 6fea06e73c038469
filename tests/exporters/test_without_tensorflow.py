"""Commands on ONNX and LiteRT files run without TensorFlow and Keras, with equal results."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers.pictures import textured

import cifarnet
from cifarnet import artifacts, exporters
from cifarnet.explanations import maps

# Each library that is not there in the commands' processes, also in those that they start.
SITE = "import sys\nsys.modules['tensorflow'] = sys.modules['keras'] = None\n"
COMMANDS = """
import json, sys
from cifarnet.cli import main
try:
    import tensorflow
except ImportError:
    for arguments in json.loads(sys.argv[1]):
        if main(arguments, standalone_mode=False):
            sys.exit(f"{arguments} failed")
else:
    sys.exit("TensorFlow can be imported")
"""


@pytest.fixture(scope="module")
def home(run, tmp_path_factory):
    """A folder with an exported run, the same files alone, and an image."""
    folder = tmp_path_factory.mktemp("light")
    copy = shutil.copytree(run.path, folder / "run")
    exporters.export(copy, ["onnx", "litert"], callbacks=[])
    shutil.copy(copy / "exports" / "onnx" / "model.onnx", folder)
    shutil.copy(copy / "exports" / "litert" / "model.tflite", folder)
    textured(40, 30).save(folder / "photo.png")
    (folder / "sitecustomize.py").write_text(SITE)
    return folder


def commands(home, *lines):
    """Run commands without TensorFlow and Keras; return what they print as one text."""
    environment = {**os.environ, "PYTHONPATH": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(lines)],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "name",
    [
        "run/exports/onnx",
        "model.tflite",
        pytest.param("model.onnx", marks=pytest.mark.slow),
        pytest.param("run/exports/litert/model.tflite", marks=pytest.mark.slow),
    ],
)
def test_commands_need_no_tensorflow(name, home):
    target, output = str(home / name), str(home / "out")
    images = (
        [] if name.startswith("run") else ["-o", "data.source=synthetic", "-o", "data.limit=1000"]
    )
    options = [*images, "--output", output]
    printed = commands(
        home,
        ["evaluate", target, *options],
        ["explain", target, "photo.png", *options],
        ["benchmark", target, "--batch-size", "1", *options],
        ["predict", target, "photo.png", "--json"],
    )

    assert "tensorflow" in sys.modules  # the numbers to compare with are made beside it
    overrides = images[1::2]
    artifact = artifacts.resolve(target, overrides)
    predictor = artifact.load()
    dataset = artifact.dataset(predictor=predictor)
    stored = np.load(home / "out" / "test-predictions.npz")
    np.testing.assert_array_equal(stored["probabilities"], predictor(dataset.test.pixels[:]))
    explained = np.load(home / "out" / "explanations.npz")
    classes = predictor(explained["pixels"]).argmax(axis=1)
    explain = maps.occlusion(predictor, dataset.mean)
    np.testing.assert_array_equal(explained["predicted"], explain(explained["pixels"], classes))
    record = json.loads((home / "out" / "benchmark.json").read_text())
    sample = dataset.sample(record["split"])
    right = (predictor(sample.pixels[:]).argmax(axis=1) == sample.labels).mean()
    assert record["artifacts"][0]["accuracy"] == pytest.approx(right)
    expected = cifarnet.predict(target, [home / "photo.png"]).images[0].classes
    (shown,) = json.loads(printed[printed.rindex('{\n  "images"') :])["images"]
    assert [(one["class"], one["probability"]) for one in shown["classes"]] == list(expected)
