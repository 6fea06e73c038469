"""One writer a format. Each fills a folder with one artifact."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet import system
from cifarnet.backend import keras, tf
from cifarnet.errors import ArtifactError
from cifarnet.exporters import c_source, network

# What each format can hold. The first is what it gets when nothing fits it otherwise.
QUANTIZATIONS: dict[str, tuple[str, ...]] = {
    "keras": ("none",),
    "savedmodel": ("none",),
    "onnx": ("none", "int8"),
    "litert": ("none", "float16", "dynamic", "int8"),
    "c": ("int8",),
}
# What a plain installation lacks: packages, and the extra that has them.
NEEDS: dict[str, tuple[tuple[str, ...], str]] = {
    "onnx": (("tf2onnx", "onnxruntime"), "onnx"),
    "litert": (("ai_edge_litert",), "litert"),
    "c": (("ai_edge_litert",), "litert"),
}
# tf2onnx 1.17.0 raises with newer ones.
_OPSET = 18


def write(
    format_: str,
    quantization: str,
    model: keras.Model,
    calibration: np.ndarray,
    metadata: dict[str, Any],
    folder: Path,
) -> Path:
    """Write a network in a format.

    Args:
        format_, quantization: a pair that `QUANTIZATIONS` has.
        model: float32, of Keras' own layers, logits out.
        calibration: uint8 [N, S, S, 3], training images that int8 finds its ranges on.
        metadata: JSON-able, kept inside the artifact.
        folder: an empty folder.

    Returns:
        The file or folder that a predictor loads.

    Raises:
        ArtifactError: the network does not convert.
    """
    text = json.dumps(metadata)
    model = network.build(model, portable=format_ != "keras")
    writer = {"keras": _keras, "savedmodel": _saved_model, "onnx": _onnx}.get(format_, _litert)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with system.quiet(), _temporary_files_in(folder):
                path = writer(quantization, model, calibration, text, folder)
        except Exception as error:  # each converter raises its own
            reason = " ".join(str(error).split())
            raise ArtifactError(f"{format_} ({quantization}): {reason[:500]}") from error
    if format_ == "c":
        c_source.write(path, metadata, folder)
    return path


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Let converters keep their temporary files where they vanish with ours if this is killed."""
    before, own = tempfile.tempdir, folder / ".temporary"
    own.mkdir()
    tempfile.tempdir = str(own)
    try:
        yield
    finally:
        tempfile.tempdir = before
        shutil.rmtree(own, ignore_errors=True)


def _keras(_: str, model: keras.Model, __: np.ndarray, metadata: str, folder: Path) -> Path:
    from cifarnet.predictors import keras_file

    path = folder / "model.keras"
    model.save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(keras_file.METADATA, metadata)
    return path


def _saved_model(_: str, model: keras.Model, __: np.ndarray, metadata: str, folder: Path) -> Path:
    from cifarnet.predictors import saved_model

    path = folder / "model"
    _archive(model, None, path)
    file = path / saved_model.METADATA
    file.parent.mkdir()
    file.write_text(metadata, encoding="utf-8")
    return path


def _archive(model: keras.Model, batch: int | None, path: Path) -> None:
    """Write a SavedModel; Keras' own `ExportArchive` would store every weight twice."""
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    serve = network.endpoint(model, batch)
    module.serve = serve
    tf.saved_model.save(module, str(path), signatures=serve)


# --- ONNX -----------------------------------------------------------------------------


def _onnx(
    quantization: str, model: keras.Model, calibration: np.ndarray, metadata: str, folder: Path
) -> Path:
    import onnx
    import tf2onnx

    from cifarnet.predictors import onnx as onnx_file

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    model(calibration[:1].astype(np.float32))  # tf2onnx wants a model that was called
    spec = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name=network.INPUT)
    proto, _ = tf2onnx.convert.from_keras(
        model,
        input_signature=[spec],
        opset=_OPSET,
        custom_op_handlers={"Erfc": (_erfc, [])},
    )
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "N"
    path = folder / "model.onnx"
    if quantization == "int8":
        proto = _quantized_onnx(proto, calibration)
    entry = proto.metadata_props.add()
    entry.key, entry.value = onnx_file.METADATA, metadata
    onnx.save(proto, str(path))
    return path


def _erfc(context: Any, node: Any, name: str, _: Any) -> None:
    """1 - Erf: ONNX has no Erfc, and tf2onnx would leave it as an unknown operation."""
    node.type = "Erf"
    one = context.make_const(f"{name}_one", np.ones((), np.float32))
    output = node.output[0]
    users = context.find_output_consumers(output)
    difference = context.make_node(
        "Sub",
        [one.output[0], output],
        shapes=[context.get_shape(output)],
        dtypes=[context.get_dtype(output)],
    )
    for user in users:
        context.replace_input(user, output, difference.output[0])


def _quantized_onnx(proto: Any, calibration: np.ndarray) -> Any:
    import onnx
    from onnxruntime import quantization as ort

    class Images(ort.CalibrationDataReader):
        def __init__(self) -> None:
            batches = np.array_split(calibration.astype(np.float32), -(-len(calibration) // 50))
            self._feeds = iter([{network.INPUT: batch} for batch in batches])

        def get_next(self) -> Any:
            return next(self._feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        float_file, int_file = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(proto, str(float_file))
        ort.quant_pre_process(str(float_file), str(float_file), skip_symbolic_shape=True)
        ort.quantize_static(
            str(float_file),
            str(int_file),
            Images(),
            quant_format=ort.QuantFormat.QDQ,
            per_channel=True,
            activation_type=ort.QuantType.QUInt8,
            weight_type=ort.QuantType.QInt8,
        )
        return onnx.load(str(int_file))


# --- LiteRT ---------------------------------------------------------------------------


def _litert(
    quantization: str, model: keras.Model, calibration: np.ndarray, metadata: str, folder: Path
) -> Path:
    saved = folder / "saved"
    # A microcontroller knows no open batch.
    _archive(model, 1 if quantization == "int8" else None, saved)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    if quantization != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantization == "int8":

        def images() -> Iterator[list[np.ndarray]]:
            for image in calibration:
                yield [image[None].astype(np.float32)]

        converter.representative_dataset = images
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.uint8
    content = converter.convert()
    shutil.rmtree(saved)
    path = folder / "model.tflite"
    path.write_bytes(_with_metadata(content, metadata))
    return path


def _with_metadata(content: bytes, metadata: str) -> bytes:
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    from cifarnet.predictors import litert

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    buffer = schema.BufferT()
    buffer.data = list(metadata.encode("utf-8"))
    entry = schema.MetadataT()
    entry.name, entry.buffer = litert.METADATA, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
