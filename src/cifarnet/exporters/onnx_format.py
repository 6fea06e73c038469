"""Write ONNX files, with tf2onnx; quantize them with ONNX Runtime."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet.backend import keras, tf
from cifarnet.exporters import network
from cifarnet.predictors import Metadata

# tf2onnx 1.17.0 raises with newer ones.
_OPSET = 18
_CALIBRATION_BATCH = 50
# Of int8 files, by `reduce_range`: -64 to 64. On x86 processors without VNNI, ONNX Runtime adds two
# products in 16 bits. With weights of 8 bits they overflow (2 x 255 x 127), silently:
# https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
WEIGHT_BITS = 7


def write(
    model: keras.Model,
    quantization: str,
    calibration: np.ndarray,
    metadata: Metadata,
    folder: Path,
    dtype: Any = np.float32,
) -> Path:
    """Write `model.onnx` with an open batch dimension `N`; see `formats.Writer`.

    Args:
        model, quantization, calibration, metadata, folder: as for `formats.Writer`.
        dtype: of the pixels that it takes, float32 or uint8.
    """
    import onnx

    from cifarnet.predictors import onnx as predictor

    calibration = calibration.astype(dtype)
    proto = _convert(model, calibration)
    path = folder / "model.onnx"
    if quantization == "int8":
        proto = _quantize(proto, calibration)
    entry = proto.metadata_props.add()
    entry.key, entry.value = predictor.METADATA, json.dumps(metadata)
    onnx.save(proto, str(path))
    return path


def _convert(model: keras.Model, images: np.ndarray) -> Any:
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    model(images[:1])  # tf2onnx needs a model that was called
    spec = tf.TensorSpec([None, *model.input_shape[1:]], images.dtype, name=network.INPUT)
    proto, _ = tf2onnx.convert.from_keras(
        model,
        input_signature=[spec],
        opset=_OPSET,
        custom_op_handlers={"Erfc": (_convert_erfc, [])},
    )
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    return proto


def _convert_erfc(context: Any, node: Any, name: str, _: Any) -> None:
    """Write Erfc as 1 - Erf: ONNX has no Erfc, and tf2onnx leaves it as an unknown operation."""
    node.type = "Erf"
    one = context.make_const(f"{name}_one", np.ones((), np.float32))
    output = node.output[0]
    consumers = context.find_output_consumers(output)
    difference = context.make_node(
        "Sub",
        [one.output[0], output],
        shapes=[context.get_shape(output)],
        dtypes=[context.get_dtype(output)],
    )
    for consumer in consumers:
        context.replace_input(consumer, output, difference.output[0])


def _quantize(proto: Any, calibration: np.ndarray) -> Any:
    """Quantize weights per output channel to 7 bits in int8, activations per tensor to uint8."""
    import onnx
    from onnxruntime import quantization as ort

    class Images(ort.CalibrationDataReader):
        def __init__(self) -> None:
            parts = -(-len(calibration) // _CALIBRATION_BATCH)
            batches = np.array_split(calibration, parts)
            self._feeds = iter([{network.INPUT: batch} for batch in batches])

        def get_next(self) -> Any:
            return next(self._feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        float_file, int8_file = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(proto, str(float_file))
        ort.quant_pre_process(str(float_file), str(float_file), skip_symbolic_shape=True)
        ort.quantize_static(
            str(float_file),
            str(int8_file),
            Images(),
            quant_format=ort.QuantFormat.QDQ,
            per_channel=True,
            activation_type=ort.QuantType.QUInt8,
            weight_type=ort.QuantType.QInt8,
            reduce_range=True,
        )
        return onnx.load(str(int8_file))
