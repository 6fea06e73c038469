"""Contenders of `scripts/compare_inference.py` compute one network; its ratios, by hand."""

import importlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from cifarnet import config, data

SMALL = {
    "data": {"source": "synthetic", "limit": 300},
    "train": {"epochs": 1, "learning_rate": 0.01},
    "model": {
        "normalize": "standard",
        "layers": [
            {"Conv2D": {"filters": 8, "kernel_size": 3, "padding": "same", "activation": "relu"}},
            {"MaxPooling2D": {"pool_size": 4}},
            {"BatchNormalization": {"epsilon": 0.001, "momentum": 0.9}},
            "Flatten",
            {"Dense": {"units": 16, "activation": "gelu"}},
            {"Dense": {"units": 10}},
        ],
    },
}


@pytest.fixture(scope="module")
def scripts():
    """Return a function that imports a script."""
    folder = str(Path(__file__).parent.parent / "scripts")
    sys.path.insert(0, folder)
    yield importlib.import_module
    sys.path.remove(folder)


@pytest.fixture(scope="module")
def written(scripts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("contenders")
    settings = config.parse(SMALL)
    scripts("compare_inference").write(settings, folder)
    return settings, folder


def of_process(scripts, name, precision, written):
    """Return what a contender starts with; TensorFlow and PyTorch clash in one process."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    settings, folder = written
    path = folder / "config.yaml"
    path.write_text(config.dump(settings))
    process = scripts("compare_training").Process(
        "inference_contender.py", name, precision, path, folder
    )
    assert process.ask("33 32")["seconds"] > 0
    process.close()
    return np.asarray(process.started["probabilities"])


@pytest.mark.parametrize(
    ("name", "precision", "most"),
    [
        ("cifarnet", "float32", 1e-6),
        ("onnx", "float32", 1e-5),
        ("litert", "float32", 1e-5),
        ("pytorch", "float32", 1e-5),
        pytest.param("pytorch compiled", "float32", 1e-5, marks=pytest.mark.slow),
        ("keras", "bfloat16", 0.02),
        ("cifarnet", "bfloat16", 0.02),
        ("pytorch", "bfloat16", 0.02),
        ("onnx", "int8", 0.05),
        ("litert", "int8", 0.05),
    ],
)
def test_contenders_compute_one_network(name, precision, most, scripts, written):
    settings, folder = written
    pixels = np.asarray(data.load(settings.data, settings.seed).train.pixels[:33])
    contender = scripts("inference_contender").contender
    expected = contender("keras", "float32", settings, folder)(pixels, 32)
    if name.startswith("pytorch"):
        found, expected = of_process(scripts, name, precision, written), expected[:8]
    else:
        found = contender(name, precision, settings, folder)(pixels, 32)
    np.testing.assert_allclose(found, expected, rtol=0, atol=most)
    # Images that differ in what the network says of them, so that a mistake would show.
    assert np.ptp(expected, axis=0).max() > 10 * min(most, 0.01)


def test_ratios_are_formed_turn_by_turn_within_a_precision(scripts):
    found = scripts("compare_inference").figures(
        {
            ("keras", "float32"): [10.0, 10.0, 10.0],
            ("pytorch", "float32"): [100.0, 200.0, 100.0],
            ("pytorch compiled", "float32"): [50.0, 50.0, 50.0],
            ("onnx", "float32"): [300.0, 400.0, 100.0],
            ("pytorch", "bfloat16"): [150.0, 150.0, 150.0],
            ("cifarnet", "bfloat16"): [150.0, 75.0, 300.0],
            ("onnx", "int8"): [600.0, 600.0, 300.0],
        }
    )
    ratios = {
        (row["contender"], row["precision"]): tuple(row["ratio_to_pytorch"].values())
        for row in found["contenders"]
    }
    assert ratios["keras", "float32"] == (0.1, 0.05, 0.1)
    assert ratios["pytorch compiled", "float32"] == (0.5, 0.25, 0.5)
    assert ratios["onnx", "float32"] == (2.0, 1.0, 3.0)
    assert ratios["cifarnet", "bfloat16"] == (1.0, 0.5, 2.0)
    assert ratios["onnx", "int8"] == (4.0, 2.0, 4.0)
    assert (found["fastest"], found["fastest_of_pytorch"]) == ("onnx int8", "pytorch bfloat16")
    assert found["ratio_of_fastest"] == {"median": 4.0, "lowest": 2.0, "highest": 4.0}


def test_a_contender_of_another_network_is_refused(scripts):
    check = scripts("compare_inference").check
    rows = {("keras", "float32"): [[0.9, 0.1]], ("onnx", "float32"): [[0.90001, 0.09999]]}
    check(rows)
    with pytest.raises(Exception, match="litert in float32 is off"):
        check({**rows, ("litert", "float32"): [[0.8, 0.2]]})
