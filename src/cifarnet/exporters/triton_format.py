"""Write a model repository for NVIDIA Triton: an ONNX file with its configuration and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cifarnet.backend import keras
from cifarnet.choices import MAX_REQUEST
from cifarnet.exporters import network, onnx_format
from cifarnet.predictors import Metadata

# The fields are those of ModelConfig in Triton's model_config.proto. Requests that wait while the
# network computes form the next batch: without `max_queue_delay_microseconds` none waits longer.
_CONFIG = """\
name: "{name}"
backend: "onnxruntime"
max_batch_size: {max_batch_size}
input [
  {{
    name: "{input}"
    data_type: TYPE_UINT8
    dims: [ {size}, {size}, 3 ]
  }}
]
output [
  {{
    name: "{output}"
    data_type: TYPE_FP32
    dims: [ {classes} ]
    label_filename: "labels.txt"
  }}
]
dynamic_batching {{ }}
"""


def write(
    model: keras.Model, quantization: str, calibration: np.ndarray, metadata: Metadata, folder: Path
) -> Path:
    """Write `NAME/config.pbtxt`, `NAME/labels.txt` and `NAME/1/model.onnx`; see `formats.Writer`.

    The input is uint8, so that clients send pixels as they are, a quarter of the bytes of float32.
    """
    name, classes = metadata["model"], metadata["classes"]
    version = folder / name / "1"
    version.mkdir(parents=True, exist_ok=True)
    path = onnx_format.write(model, quantization, calibration, metadata, version, np.uint8)
    text = _CONFIG.format(
        name=name,
        max_batch_size=MAX_REQUEST,
        input=network.INPUT,
        output=network.OUTPUT,
        size=calibration.shape[1],
        classes=len(classes),
    )
    (folder / name / "config.pbtxt").write_text(text, encoding="utf-8")
    # A line per class, by output; a folder's name may have line breaks.
    labels = "".join(f"{' '.join(one.splitlines())}\n" for one in classes)
    (folder / name / "labels.txt").write_text(labels, encoding="utf-8")
    return path
