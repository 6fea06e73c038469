"""Converters that crash or refuse, one artifact's failure among others, and what is said of it."""

import json

import keras
import pytest
from helpers.commands import cifarnet
from helpers.networks import CONV, METADATA, pixels, trained

from cifarnet import config, exporters, runs, training
from cifarnet.errors import ArtifactError, ExportError, GateError
from cifarnet.exporters import conversion, messages, parity
from cifarnet.worker import Worker

pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")

STEPS = [{"Conv2D": {**CONV, "strides": 4}}, {"Reshape": {"target_shape": [8, 64]}}]
MAPS = [{"Conv2D": {**CONV, "strides": 4}}, {"Reshape": {"target_shape": [4, 4, 4, 8]}}]
RECURRENT = {
    "LSTM": [*STEPS, {"LSTM": {"units": 4}}],
    "GRU": [*STEPS, {"GRU": {"units": 4}}],
    "SimpleRNN": [*STEPS, {"SimpleRNN": {"units": 4}}],
    "ConvLSTM2D": [*MAPS, {"ConvLSTM2D": {"filters": 2, "kernel_size": 3}}],
}
SETTINGS = {
    "data": {"source": "synthetic", "limit": 300, "validation_fraction": 0.2},
    "model": {"layers": [*RECURRENT["LSTM"], {"Dense": {"units": 10}}]},
    "train": {"epochs": 1, "batch_size": 60, "learning_rate": 0.05},
    "export": {"calibration_images": 10},
}


@pytest.fixture(scope="module")
def lstm(tmp_path_factory) -> runs.Run:
    return training.train(config.parse(SETTINGS), tmp_path_factory.mktemp("runs"), callbacks=[])


def test_a_converter_that_crashes_is_a_stated_failure(lstm):
    with pytest.raises(ArtifactError) as caught:
        exporters.export(lstm, ["litert"], ["int8"], callbacks=[])
    message = str(caught.value)
    assert message.startswith("litert (int8): the converter or the runtime crashed (SIGSEGV).")
    assert "recurrent layers, here lstm" in message
    assert "Leave this format out" in message
    assert list(lstm.exports_folder.glob("*")) == []


def test_the_other_artifacts_are_written_and_all_are_listed(lstm, tmp_path):
    """`litert-int8` crashes the converter, `litert` is refused."""
    arguments = ("--format", "litert,keras", "--quantize", "none,int8", "--json")
    done = cifarnet("export", lstm.path, *arguments, cwd=tmp_path, code=3)
    document = json.loads(done.stdout)
    assert (document["kind"], document["exit_code"]) == ("ExportError", 3)
    assert document["error"] == "2 of 3 artifacts were not written: litert, litert-int8"
    assert [one["name"] for one in document["written"]] == ["keras"]
    refused, crashed = document["failures"]
    assert (refused["name"], refused["kind"]) == ("litert", "ArtifactError")
    assert "'tf.TensorListReserve'" in refused["error"]
    assert "(layer lstm" in refused["error"]
    assert "loc(" not in refused["error"]
    assert (crashed["name"], crashed["kind"]) == ("litert-int8", "ArtifactError")
    assert "SIGSEGV" in crashed["error"]
    shown = " ".join(done.stderr.split())
    assert "keras" in shown and "refused" in shown and "SIGSEGV" in shown
    assert [path.name for path in lstm.exports_folder.iterdir()] == ["keras"]


def test_a_failed_check_does_not_stop_the_other_artifacts(run, with_options, tmp_path):
    other = with_options("export.max_difference=0.0", "export.max_accuracy_loss=0.2")
    with pytest.raises(ExportError) as caught:
        exporters.export(other, ["onnx", "litert"], ["none", "float16"], callbacks=[])
    failed = [(one.name, type(one.error)) for one in caught.value.failures]
    assert failed == [("onnx", GateError), ("litert", GateError)]
    assert [one.name for one in caught.value.written] == ["litert-float16"]
    shown = json.loads(cifarnet("runs", "show", other.path, "--json", cwd=tmp_path).stdout)
    assert [one["name"] for one in shown["exports"]] == ["litert-float16"]
    assert [one["name"] for one in shown["failed_exports"]] == ["litert.failed", "onnx.failed"]


def bidirectional() -> keras.Model:
    inputs = keras.Input((32, 32, 3))
    steps = keras.layers.Reshape((32, 96))(inputs / 255.0)
    outputs = keras.layers.Bidirectional(keras.layers.LSTM(4))(steps)
    return keras.Model(inputs, keras.layers.Dense(10)(outputs))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*RECURRENT, "Bidirectional"])
def test_recurrent_layers_in_every_format(kind, tmp_path):
    """ONNX holds them, LiteRT in int8 crashes its converter, which does not end this process."""
    model = bidirectional() if kind == "Bidirectional" else trained(RECURRENT[kind])
    images = parity.images(pixels(5))
    with Worker() as worker:
        for format_ in ("litert", "c"):
            folder = tmp_path / format_
            folder.mkdir()
            target = exporters.Target(format_, "int8")
            with pytest.raises(ArtifactError, match=rf"{format_} \(int8\): .* crashed \(SIGSEGV\)"):
                conversion.convert(worker, target, model, pixels(10), METADATA, images, folder)
        (tmp_path / "onnx").mkdir()
        target = exporters.Target("onnx", "none")
        found = conversion.convert(
            worker, target, model, pixels(10), METADATA, images, tmp_path / "onnx"
        )
    assert found.probabilities.shape == (5 + 66, 10)


# --- what is said ---------------------------------------------------------------------

# As LiteRT's converter raises it, with fewer locations.
MLIR = """\
Could not translate MLIR to FlatBuffer.<unknown>:0: error: loc(callsite(fused["Erfinv:", \
"functional_1_1/erfinv_1/Erfinv@__inference_serve_129"] at fused["StatefulPartitionedCall:", \
"StatefulPartitionedCall"])): 'tf.Erfinv' op is neither a custom op nor a flex op
<unknown>:0: note: loc(fused["StatefulPartitionedCall:", "StatefulPartitionedCall"]): called from
<unknown>:0: error: failed while converting: 'main':
Some ops in the model are custom ops
Details:
\ttf.Erfinv(tensor<1x16x16x8xf32>) -> (tensor<1x16x16x8xf32>) : {device = ""}

<unknown>:0: note: see current operation:
"func.func"() <{sym_name = "main"}> ({
  %9 = "tfl.softmax"(%8) <{beta = 1.000000e+00 : f32}> : (tensor<1x10xf32>) -> tensor<1x10xf32>
}) {tf_saved_model.exported_names = ["serving_default"]} : () -> ()
"""
# As Keras raises it inside a traced function.
KERAS = """\
in user code:

    File "network.py", line 43, in serve  *
        return model(pixels)

    ValueError: Exception encountered when calling Functional.call().

    \x1b[1mInput 0 of layer 'dense_4' is incompatible: expected axis -1 of 512, received 256\x1b[0m

    Arguments received by Functional.call():
      • inputs=tf.Tensor(shape=(1, 32, 32, 3), dtype=float32)
      • training=False
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MLIR, "'tf.Erfinv' op is neither a custom op nor a flex op (layer erfinv)"),
        (
            KERAS,
            "Input 0 of layer 'dense_4' is incompatible: expected axis -1 of 512, received 256",
        ),
        ("converter: no such layer", "converter: no such layer"),
        ("first\n  last  \n\n", "last"),
        ("", "RuntimeError"),
        ("x " * 1000, "x " * 148 + "..."),
    ],
)
def test_a_converters_error_comes_down_to_one_line(text, expected):
    assert messages.last_telling_line(RuntimeError(text), ["conv2d", "erfinv"]) == expected


@pytest.mark.parametrize(
    ("path", "layer"),
    [
        ("functional_1_1/conv2d_1/Relu;functional_1_1/dense/MatMul", "conv2d"),
        ("functional_1/conv2d_2/Relu", "conv2d_2"),
        ("functional_1/other/Relu", None),
    ],
)
def test_a_graphs_names_lead_to_the_layer(path, layer):
    assert messages.layer_in(path, ["conv2d", "conv2d_2", "dense"]) == layer
