"""C files: what TensorFlow Lite Micro runs, in its interpreter and by the list of operations."""

import sys

import keras
import numpy as np
import pytest
from helpers.networks import BODIES, METADATA, pixels, trained

from cifarnet import predictors
from cifarnet.errors import ArtifactError
from cifarnet.exporters import formats, micro

pytest.importorskip("ai_edge_litert")

CONV = {"filters": 4, "kernel_size": 3, "strides": 4}
STEPS = {"Reshape": {"target_shape": [64, 4]}}


def activation(name: str) -> list:
    return [{"Conv2D": {**CONV, "activation": name}}]


def then(*layers) -> list:
    return [{"Conv2D": {**CONV, "padding": "same"}}, *layers]


RUNS = {
    **{name: activation(name) for name in ("elu", "hard_shrink", "hard_sigmoid", "hard_silu")},
    **{name: activation(name) for name in ("hard_tanh", "leaky_relu", "log_softmax", "relu6")},
    **{name: activation(name) for name in ("sigmoid", "softsign", "sparse_sigmoid", "softmax")},
    "prelu": then({"PReLU": {"shared_axes": [1, 2]}}),
    "unit norm": then("UnitNormalization"),
    "layer norm": then("LayerNormalization"),
    "group norm": then({"GroupNormalization": {"groups": 2}}),
    "bilinear": then({"UpSampling2D": {"interpolation": "bilinear"}}),
    "crop, pad": then({"Cropping2D": {"cropping": 1}}, {"ZeroPadding2D": {"padding": 2}}),
    "permute": then({"Permute": {"dims": [3, 1, 2]}}),
    "transposed": then({"Conv2DTranspose": {"filters": 4, "kernel_size": 3, "strides": 2}}),
    "1d": then(STEPS, {"Conv1D": {"filters": 4, "kernel_size": 3}}, "Flatten"),
    "global max": then("GlobalMaxPooling2D", "Flatten"),
    **{name: BODIES[name] for name in ("plain", "strided", "depthwise", "grouped", "residual")},
    **{name: BODIES[name] for name in ("flatten", "silu", "tanh", "leaky", "dilated", "scaled")},
}
# The operations that are missing, and the layer that needs them.
MISSING = {
    "celu": (activation("celu"), "EXP of INT8"),
    "exponential": (activation("exponential"), "EXP of INT8"),
    "gelu": (activation("gelu"), "GELU"),
    "log_sigmoid": (activation("log_sigmoid"), "EXP of INT8"),
    "mish": (activation("mish"), "EXP of INT8"),
    "selu": (activation("selu"), "SELECT"),
    "soft_shrink": (activation("soft_shrink"), "SELECT"),
    "softplus": (activation("softplus"), "EXP of INT8"),
    "squareplus": (activation("squareplus"), "SQRT of INT8"),
    "sparse_plus": (activation("sparse_plus"), "SELECT"),
    "upsampling": (then({"UpSampling2D": {"size": 2}}), "TILE"),
    "upsampling 1d": (then(STEPS, {"UpSampling1D": {"size": 2}}, "Flatten"), "TILE"),
}


def int8(model: keras.Model, folder) -> tuple[bytes, np.ndarray]:
    """Return a network's LiteRT file and what it predicts."""
    path = formats.write("litert", "int8", model, pixels(20), METADATA, folder)
    return path.read_bytes(), predictors.load(path)(pixels(5))


@pytest.fixture
def not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "tflite_micro", None)  # the import statement raises


@pytest.mark.parametrize("name", list(RUNS))
def test_the_interpreter_runs_what_the_list_has(name, tmp_path):
    pytest.importorskip("tflite_micro")
    content, expected = int8(trained(RUNS[name]), tmp_path)
    assert micro.unsupported(content, []) == []
    micro.require_operations(content, [])
    record = micro.check(content, pixels(5), expected)
    assert record.checked_by.startswith("TensorFlow Lite Micro 0.")
    assert record.images == 5
    assert record.mean_difference < 2.1 / 256


@pytest.mark.parametrize("name", list(MISSING))
def test_the_interpreter_refuses_what_the_list_lacks(name, tmp_path, monkeypatch):
    body, operation = MISSING[name]
    model = trained(body)
    content, _ = int8(model, tmp_path)
    layers = [layer.name for layer in model.layers]
    said = rf"^TensorFlow Lite Micro has no (.*, )?{operation} \(layer [a-z0-9_]+\)"
    if micro._runtime() is not None:
        # Without the list, so that the interpreter alone decides.
        with monkeypatch.context() as patch, pytest.raises(ArtifactError, match=r": (TFLM|Inter)"):
            patch.setattr(micro, "unsupported", lambda *_: [])
            micro.require_operations(content, layers)
        with pytest.raises(ArtifactError, match=said):
            micro.require_operations(content, layers)
    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    with pytest.raises(ArtifactError, match=said):
        micro.require_operations(content, layers)


def test_the_refusal_names_the_format_operation_and_layer(tmp_path):
    body = then({"UpSampling2D": {"size": 2, "name": "bigger"}})
    with pytest.raises(ArtifactError) as caught:
        formats.write("c", "int8", trained(body), pixels(20), METADATA, tmp_path)
    assert str(caught.value) == (
        "c (int8): TensorFlow Lite Micro has no TILE (layer bigger). For a microcontroller, train "
        "with another layer or activation there, such as relu or silu."
    )
    assert not list(tmp_path.glob("*.c"))


def test_without_the_interpreter_the_list_decides(tmp_path, not_installed):
    content, expected = int8(trained(RUNS["plain"]), tmp_path)
    micro.require_operations(content, [])
    record = micro.check(content, pixels(5), expected)
    assert (record.checked_by, record.images) == ("list of operations", 0)


def test_other_probabilities_than_litert_gives_are_refused(tmp_path):
    pytest.importorskip("tflite_micro")
    content, expected = int8(trained(RUNS["plain"]), tmp_path)
    with pytest.raises(ArtifactError, match=r"differ from LiteRT's by .* expected at most 0\.05"):
        micro.check(content, pixels(5), np.roll(expected, 1, axis=1))


def test_every_operation_of_the_list_is_one_of_litert():
    from ai_edge_litert import schema_py_generated as schema

    assert set(vars(schema.BuiltinOperator)) >= set(micro.KERNELS)
    assert set(vars(schema.TensorType)) >= set().union(*micro.KERNELS.values())
