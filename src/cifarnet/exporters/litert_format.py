"""Write LiteRT files (`.tflite`)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cifarnet.backend import keras, tf
from cifarnet.exporters import saved_model
from cifarnet.predictors import Metadata


def write(
    model: keras.Model, quantization: str, calibration: np.ndarray, metadata: Metadata, folder: Path
) -> Path:
    """Write `model.tflite`; int8 has uint8 pixels in, uint8 probabilities out, and a batch of 1.

    See `formats.Writer`.
    """
    saved = folder / "saved"
    # TensorFlow Lite Micro has no open batch dimension.
    saved_model.save(model, 1 if quantization == "int8" else None, saved)
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
    path.write_bytes(_add_metadata(content, json.dumps(metadata)))
    return path


def _add_metadata(content: bytes, metadata: str) -> bytes:
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
